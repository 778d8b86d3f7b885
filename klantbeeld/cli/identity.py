"""`klantbeeld identity`: who is one person, what people decide, and the models."""

import json
from typing import TYPE_CHECKING, Any

import click

from klantbeeld.cli.explain import how, why
from klantbeeld.cli.groups import Group
from klantbeeld.cli.home import open_home
from klantbeeld.cli.steward import COMMANDS

if TYPE_CHECKING:
    from klantbeeld.identity.registry import ListedVersion


@click.group(cls=Group)
def identity() -> None:
    """Who is one person: explanations, decisions, and the linkage models of this home."""


for _command in (why, how, *COMMANDS):
    identity.add_command(_command)


@identity.command()
@click.argument("model_version", required=False)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="Changes to show."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON; of the list, a line per model.")
def models(model_version: str | None, limit: int, as_json: bool) -> None:
    """List the models with their figures, or show what one of them would change.

    Of a candidate: the profiles that would be others if it were promoted, those that move most
    records first.
    """
    from klantbeeld.identity.registry import list_versions

    if model_version is not None:
        _show_changes(model_version, limit, as_json=as_json)
        return
    _, control = open_home()
    versions = list_versions(control)
    for version in versions:
        click.echo(json.dumps(vars(version), default=str) if as_json else _in_one_line(version))
    if as_json:
        return
    if not versions:
        click.echo("no model made in this home yet: the default that ships is used")
    candidates = [one.model_version for one in versions if one.status == "candidate"]
    if candidates:
        click.echo(f"`klantbeeld identity models {candidates[-1]}` shows what it would change")


@identity.command()
@click.argument("model_version")
def promote(model_version: str) -> None:
    """Make a candidate the model that daily runs use."""
    from klantbeeld.identity import promote as promote_model

    promote_model(*open_home(), model_version)
    click.echo(f"{model_version} is the current model; the next run links everything with it")


def _show_changes(model_version: str, limit: int, *, as_json: bool) -> None:
    from klantbeeld.identity.charts import OVERVIEW, candidate_folder
    from klantbeeld.identity.promotion import read_changes
    from klantbeeld.identity.registry import list_versions, named_version

    settings, control = open_home()
    folder = named_version(settings, control, model_version).folder
    listed = {version.model_version: version for version in list_versions(control)}
    changes = None if folder is None else read_changes(folder)
    shown = [] if changes is None else changes.slice(0, limit).to_pylist()
    total = 0 if changes is None else changes.num_rows
    charts = candidate_folder(settings, model_version) / OVERVIEW
    version = listed.get(model_version)
    if as_json:
        about = vars(version) if version else {"model_version": model_version, "status": "shipped"}
        found = None if changes is None else shown
        answer = {**about, "changes_total": total, "changes": found}
        click.echo(json.dumps(answer, default=str))
        return
    click.echo(_in_one_line(version) if version else f"{model_version} ships with the product")
    if changes is None:
        click.echo("It came without a comparison: it was made by a run, not to be promoted.")
        return
    for change in shown:
        click.echo(_change_in_words(change))
    more = f", {total - limit} more: --limit" if total > limit else ""
    click.echo(f"{total} change(s){more}")
    if total:
        click.echo(
            "The ids are those of the day of the comparison; `klantbeeld identity how PROFILE` "
            "shows what holds one together, --json the records of each part."
        )
    if charts.exists():
        click.echo(f"charts of the candidate: {charts}")


def _in_one_line(version: "ListedVersion") -> str:
    figures = ", ".join(f"{name} {value}" for name, value in sorted(version.metrics.items()))
    return (
        f"{version.model_version}  {version.status}  {version.trained_at:%Y-%m-%d %H:%M}  {figures}"
    )


def _change_in_words(change: dict[str, Any]) -> str:
    now = " + ".join(
        f"{profile_id} ({records})"
        for profile_id, records in zip(
            change["profile_ids"], change["profile_records"], strict=True
        )
    )
    parts = [len(part) for part in change["becomes"]]
    then = "one profile" if len(parts) == 1 else f"{len(parts)} profiles ({_sum(parts)})"
    return f"{change['kind']:<10} {change['moved_records']:>5} record(s) move   {now}  ->  {then}"


def _sum(parts: list[int]) -> str:
    return " + ".join(str(part) for part in parts)
