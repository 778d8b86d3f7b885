"""The checks that are neither dbt tests nor part of a load: both borders, and the linkage.

Belongs here: running a suite at the right moment and saying what its outcome stops. Does not: what
is expected (`klantbeeld.quality`, `klantbeeld.identity`). The severities are written down in
docs/checks.md.

raw_<source>      -> landing_contract (blocks), landing_plausible (warns)
what leaves       -> egress_contract (blocks the publish and so the sends), egress_plausible (warns)
profile_records   -> linkage_quality (warns)
"""

import time
from collections.abc import Iterator, Sequence

import dagster as dg

from ingestion.contracts import Table
from klantbeeld.errors import SettingsError
from klantbeeld.quality import BorderResult, Finding, Severity
from klantbeeld.quality.egress import LeavingModel, check_egress
from klantbeeld.quality.landing import RawTable, check_landing
from klantbeeld.settings import Settings
from orchestration.assets.link import PROFILE_RECORDS
from orchestration.assets.load import raw_asset_key, source_tables
from orchestration.assets.publish import build_reasons
from orchestration.assets.send import audience_name
from orchestration.manifest import Manifest, Node, asset_path, audiences, meta, record_syncs
from orchestration.progress import progress
from orchestration.resources import Platform

LANDING_CONTRACT = "landing_contract"
LANDING_PLAUSIBLE = "landing_plausible"
EGRESS_CONTRACT = "egress_contract"
EGRESS_PLAUSIBLE = "egress_plausible"

# The linkage of the demo's people scores .95; below this a rule or a model has gone wrong.
LEAST_BCUBED_F1 = 0.85


def build_landing_checks() -> list[dg.AssetChecksDefinition]:
    """Great Expectations on each source's tables, after the loads and before the first model."""
    return [_landing_checks(source, tables) for source, tables in source_tables().items()]


def _landing_checks(source: str, tables: tuple[Table, ...]) -> dg.AssetChecksDefinition:
    main_table, *others = [raw_asset_key(table) for table in tables]

    @dg.multi_asset_check(
        name=f"landing_{source}",
        specs=[
            dg.AssetCheckSpec(
                LANDING_CONTRACT,
                asset=main_table,
                additional_deps=others,
                blocking=True,
                description=(
                    f"All tables of `{source}` have their columns, and each key once. "
                    "Blocks: a model would count such rows twice or lose them."
                ),
            ),
            dg.AssetCheckSpec(
                LANDING_PLAUSIBLE,
                asset=main_table,
                additional_deps=others,
                description=f"No table of `{source}` is empty, every row is stamped. Warns.",
            ),
        ],
    )
    def landing(
        context: dg.AssetCheckExecutionContext, platform: Platform
    ) -> Iterator[dg.AssetCheckResult]:
        is_off = _is_switched_off(platform.settings, source)
        if is_off or not build_reasons(context.run, platform):
            # Great Expectations costs 4-11 s of CPU to import: not for rows checked before, and
            # that a source is empty which nobody reads is nothing to look at.
            for name in (LANDING_CONTRACT, LANDING_PLAUSIBLE):
                yield dg.AssetCheckResult(
                    asset_key=main_table,
                    check_name=name,
                    passed=True,
                    description="The source is switched off."
                    if is_off
                    else "Nothing was loaded since the current version.",
                )
            return
        started = time.monotonic()
        raw = [
            RawTable(t.name, t.key, tuple(column.name for column in t.all_columns)) for t in tables
        ]
        with platform.warehouse.build() as connection:
            result = check_landing(connection, source, raw)
        _tell(f"landing border {source}", len(tables), "tables", result.findings, started)
        yield from _results(context, result, main_table, LANDING_CONTRACT, LANDING_PLAUSIBLE)

    return landing


def _is_switched_off(settings: Settings, source: str) -> bool:
    try:
        return not settings.source_enabled(source)
    except SettingsError:
        return False  # the load has said what is wrong


def build_egress_checks(manifest: Manifest) -> dg.AssetChecksDefinition:
    """Great Expectations on every model that leaves, before the publish."""
    leaving = [*record_syncs(manifest), *audiences(manifest)]

    @dg.multi_asset_check(
        name="egress_checks",
        specs=[
            spec
            for node in leaving
            for spec in (
                dg.AssetCheckSpec(
                    EGRESS_CONTRACT,
                    asset=dg.AssetKey(asset_path(node)),
                    blocking=True,
                    description=(
                        "Only approved columns, each key once, consent in every row, no control "
                        "characters. Blocks the publish, so nothing of it is sent."
                    ),
                ),
                dg.AssetCheckSpec(
                    EGRESS_PLAUSIBLE,
                    asset=dg.AssetKey(asset_path(node)),
                    description="It is not empty. Warns.",
                ),
            )
        ],
        can_subset=True,
    )
    def egress_checks(
        context: dg.AssetCheckExecutionContext, platform: Platform
    ) -> Iterator[dg.AssetCheckResult]:
        started = time.monotonic()
        findings: list[Finding] = []
        chosen = {key.asset_key for key in context.selected_asset_check_keys}
        for node in leaving:
            key = dg.AssetKey(asset_path(node))
            if key not in chosen:
                continue
            with platform.warehouse.build() as connection:
                result = check_egress(connection, f"egress_{node['name']}", [_leaving(node)])
            findings += result.findings
            yield from _results(context, result, key, EGRESS_CONTRACT, EGRESS_PLAUSIBLE)
        _tell("egress border", len(chosen), "models", findings, started)

    return egress_checks


@dg.asset_check(
    asset=PROFILE_RECORDS,
    description=(
        "Pair precision and recall, pair F1 and B-cubed against the people who are known, where "
        f"a truth is known. Warns below a B-cubed F1 of {LEAST_BCUBED_F1}."
    ),
)
def linkage_quality(platform: Platform) -> dg.AssetCheckResult:
    """How good the linkage is."""
    from klantbeeld.identity import evaluate

    with platform.warehouse.build() as connection:
        quality = evaluate(connection, platform.settings)
    if quality is None:
        return dg.AssetCheckResult(passed=True, description="No truth is known to compare with.")
    figures = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in quality.as_dict().items()
    }
    shown = {name: figures[name] for name in ("pair_precision", "pair_recall", "bcubed_f1")}
    progress().done("link", "against the truth", shown)
    return dg.AssetCheckResult(
        passed=quality.bcubed_f1 >= LEAST_BCUBED_F1,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=figures,
    )


def _leaving(node: Node) -> LeavingModel:
    """What may leave of a sync's or an audience's model, as its `meta` declares it."""
    about = meta(node)
    if not node["name"].startswith("seg_"):
        sync = about["sync"]
        privacy = sync.get("privacy") or {}
        # Needed to send the others, and not sent: whom a row is about, and when it changed.
        unsent = {*(privacy.get("contact_points") or ()), sync.get("updated_at")} - {None}
        return LeavingModel(
            schema=node["schema"],
            name=node["name"],
            key=sync["key"],
            approved=frozenset(sync["columns"]),
            internal=frozenset(unsent) - frozenset(sync["columns"]),
        )
    return LeavingModel(
        schema="activation",
        name="audience_" + audience_name(node),
        key="contact_point_key",
        approved=frozenset(about["columns"]),
        internal=frozenset({"profile_id"}),
        channel=about["channel"],
        purpose=about["purpose"],
    )


def _results(
    context: dg.AssetCheckExecutionContext,
    result: BorderResult,
    key: dg.AssetKey,
    contract: str,
    plausible: str,
) -> Iterator[dg.AssetCheckResult]:
    parts = (
        (contract, Severity.BLOCKS, dg.AssetCheckSeverity.ERROR),
        (plausible, Severity.WARNS, dg.AssetCheckSeverity.WARN),
    )
    for name, severity, shown_as in parts:
        if dg.AssetCheckKey(key, name) not in context.selected_asset_check_keys:
            continue
        found = result.of(severity)
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=not found,
            severity=shown_as,
            description="; ".join(str(finding) for finding in found) or None,
            metadata={"suite": result.suite, "tables": result.subjects, "broken": len(found)},
        )


def _tell(
    border: str, subjects: int, what: str, findings: Sequence[Finding], started: float
) -> None:
    counts = {what: subjects, "broken_expectations": len(findings)}
    seconds = time.monotonic() - started
    progress().done("check", border, counts, seconds, "attention" if findings else "done")
    for finding in findings:
        # What blocks is told at the end of the run.
        if finding.rule.severity is Severity.WARNS:
            progress().warn(str(finding))
