"""`klantbeeld status`: what this home holds, for a person or as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from klantbeeld.cli.home import open_home
from klantbeeld.status import ExportStatus, StatusReport, SyncStatus, read_status

# What a person looks for first; the rest is in --json and in the UI.
_HEADLINES = {
    "marts.dim_profiles": "profiles",
    "marts.bridge_profile_records": "records",
    "marts.dim_contact_points": "contact points",
}
_GOOD = {"synced", "unchanged", "written"}
_AUDIENCE = "audience_"
_QUALITY = ("pair_precision", "pair_recall", "pair_f1", "bcubed_f1")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON; schema: docs/status.schema.json.")
def status(as_json: bool) -> None:
    """Show the current version, counts per stage, quarantine and sync results."""
    report = read_status(*open_home())
    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    for line in _lines(report):
        click.echo(line)


def _lines(report: StatusReport) -> Iterable[str]:
    yield f"Home            {report.home}  (environment {report.environment})"
    if report.running is not None:
        yield (
            f"Running         {report.running.get('purpose')}, process {report.running.get('pid')},"
            f" since {report.running.get('since')}"
        )
    if report.version is None:
        yield "Version         nothing published yet: run `klantbeeld run`"
    else:
        yield (
            f"Version         {report.version.version_id}, as of "
            f"{report.version.as_of:%Y-%m-%d %H:%M} UTC"
        )
    yield from _sources(report)
    yield from _profiles(report)
    yield from _audiences(report)
    yield from delivery_lines(report)


def _sources(report: StatusReport) -> Iterable[str]:
    if not report.sources:
        return
    yield ""
    parts = "read = loaded + unchanged + quarantined + deduplicated"
    yield f"Sources          rows now   last load: {parts}"
    rows = {
        source.source: sum(t.rows for t in report.tables if t.stage == f"raw_{source.source}")
        for source in report.sources
    }
    for source in report.sources:
        yield (
            f"  {source.source:<12} {rows[source.source]:>10,}   {source.status:<9} "
            f"{source.rows_read:,} = {source.rows_loaded:,} + {source.rows_unchanged:,} + "
            f"{source.rows_quarantined:,} + {source.rows_deduplicated:,}"
        )
        if source.status == "failed" and source.message:
            yield from (f"    {line}" for line in source.message.splitlines())
    waiting = sum(row.rows for row in report.quarantine)
    if waiting:
        yield f"  {waiting:,} row(s) in quarantine: `klantbeeld quarantine list`"


def _profiles(report: StatusReport) -> Iterable[str]:
    tables = {f"{table.stage}.{table.table}": table.rows for table in report.tables}
    found = [(text, tables[name]) for name, text in _HEADLINES.items() if name in tables]
    if not found:
        return
    yield ""
    yield "Published"
    for text, rows in found:
        yield f"  {text:<14} {rows:>8,}"
    if report.linkage is not None:
        yield from _linkage(report.linkage.figures)
    quality = report.linkage.quality if report.linkage else None
    if quality is not None:
        shown = ", ".join(f"{name.replace('_', ' ')} {quality[name]:.3f}" for name in _QUALITY)
        yield f"  match quality against the known truth: {shown}"


def _linkage(figures: Mapping[str, Any]) -> Iterable[str]:
    if "mode" not in figures:
        return
    yield (
        f"  linkage        {figures['mode']}: {figures['scored_records']:,} of "
        f"{figures['records']:,} records scored, {figures['moved_records']:,} of "
        f"{figures['known_records']:,} known ones moved to another profile "
        f"({figures['moved_share']:.3%}), model {figures['model_version']}"
    )
    if figures["waiting_version"]:
        yield (
            f"  {figures['waiting_version']} waits: it would move too many records; "
            f"`klantbeeld identity models {figures['waiting_version']}` shows which"
        )
    if figures["review_items"]:
        yield (
            f"  {figures['review_items']:,} question(s) for a steward, {figures['held_records']:,} "
            "records wait for an answer: `klantbeeld identity queue`"
        )


def _audiences(report: StatusReport) -> Iterable[str]:
    segments = [table for table in report.tables if table.stage == "segments"]
    shaped = {t.table: t.rows for t in report.tables if t.stage == "activation"}
    if not segments:
        return
    yield ""
    yield "Audiences                              members   may be reached"
    for table in segments:
        name = table.table.removeprefix("seg_")
        allowed = shaped.get(f"audience_{name}")
        yield f"  {name:<34} {table.rows:>9,}   {allowed if allowed is not None else '-':>14}"


def delivery_lines(report: StatusReport) -> Iterable[str]:
    """The last run of every sync and export."""
    if report.syncs:
        yield ""
        yield "Last sent (UTC)"
    files = {export.sync: export for export in report.exports}
    for sync in report.syncs:
        if sync.sync in files:
            yield _export_line(sync, files[sync.sync])
            continue
        planned = {"created": sync.creates, "changed": sync.updates, "removed": sync.deletes}
        if sync.acknowledged < sum(planned.values()):
            # Not all of it was done, and it is not known here which kinds were.
            planned = {f"to be {word}": number for word, number in planned.items()}
            planned["acknowledged"] = sync.acknowledged
        counts = planned | {"unchanged": sync.unchanged}
        counts |= {
            word: number
            for word, number in (
                ("rejected", sync.open_rejected),
                ("unknown", sync.unknown),
                ("held", sync.held),
                ("still to be sent", sync.waiting),
            )
            if number
        }
        told = ", ".join(f"{number:,} {word}" for word, number in counts.items())
        yield f"  {sync.sync:<34} {sync.status:<10} {sync.started_at:%Y-%m-%d %H:%M}: {told}"
        if sync.message and sync.status not in _GOOD:
            yield f"    {sync.message}"


def _export_line(sync: SyncStatus, file: ExportStatus) -> str:
    name = sync.sync.removeprefix(_AUDIENCE)
    line = f"  {name:<34} {sync.status:<10}"
    line += f" {file.written_at:%Y-%m-%d %H:%M}: {file.rows:,} rows"
    return line if sync.status in _GOOD or not sync.message else f"{line}\n    {sync.message}"
