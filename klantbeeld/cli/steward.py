"""`klantbeeld identity merge|split|...`: what a steward decides about records, and what waits.

Commands of the group `identity`; each says what will change, and the next run does it.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from klantbeeld.cli.groups import Group
from klantbeeld.cli.home import open_home
from klantbeeld.control import ControlPlane
from klantbeeld.control.store import current_user
from klantbeeld.errors import ExitCode, KlantbeeldError

_SHOWN = 6
_NOT_BOUND = (
    "None of these binds, and their records stay where they are, until one is undone: "
    "`klantbeeld identity undo DECISION --why TEXT`."
)

_by = click.option(
    "--by", default=current_user, help="Who decides.  [default: the name you are logged in with]"
)


def _reason(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise click.BadParameter("give a reason")
    return text


_why = click.option(
    "--why", required=True, callback=_reason, help="The reason, for whoever comes after you."
)
_file = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@click.argument("names", nargs=-1, required=True)
@_by
@_why
def merge(names: tuple[str, ...], by: str, why: str) -> None:
    """Decide that profiles, or records, are one person.

    Of a profile, all records are meant; of a record, only that one.
    """
    from klantbeeld.identity.decisions import SAME, decide
    from klantbeeld.identity.membership import find

    if len(set(names)) < 2:
        raise click.UsageError("Name at least two profiles or records, each once.")
    settings, control = open_home()
    key = settings.home_key()
    found = [find(control, name, key) for name in names]
    records = sorted({record for named in found for record in named.records})
    if len(records) < 2:
        raise KlantbeeldError("there is nothing to merge", "Name at least two profiles or records.")
    action, new = decide(
        control, SAME, [(records[0], record) for record in records[1:]], by=by, why=why
    )
    profiles = {n.profile.profile_id: n.profile for n in found if n.profile is not None}
    click.echo(f"{action}: {_list(records)} are one person ({new} decision(s))")
    unknown = _tell_unknown(control, records, action)
    if len(profiles) < 2:
        if len(profiles) == 1 and not unknown:
            click.echo("They are in one profile already; from now on nothing takes them apart.")
        return
    kept = min(profiles.values(), key=lambda profile: (-len(profile.records), profile.number))
    sizes = ", ".join(f"{p.profile_id} ({len(p.records)} records)" for p in profiles.values())
    click.echo(f"At the next run {sizes} become one profile, {kept.profile_id}.")
    if not all(named.is_profile for named in found):
        click.echo("Their other records come along, unless another decision forbids it.")


@click.command()
@click.argument("names", nargs=-1, required=True)
@_by
@_why
def split(names: tuple[str, ...], by: str, why: str) -> None:
    """Decide that records are not one person.

    Either a profile and its records that go, or two records.
    """
    from klantbeeld.identity.decisions import DIFFERENT, decide
    from klantbeeld.identity.membership import find

    settings, control = open_home()
    found = [find(control, name, settings.home_key()) for name in names]
    first, others = found[0], found[1:]
    if not first.is_profile:
        if len(others) != 1 or others[0].is_profile or others[0].name == first.name:
            raise KlantbeeldError(
                "name a profile and the records that go, or two different records",
                "klantbeeld identity split PROFILE RECORD… --why TEXT",
                ExitCode.USAGE,
            )
        going, staying = [others[0].name], [first.name]
    else:
        assert first.profile is not None  # noqa: S101 - narrows the type: a profile was named
        going = sorted({other.name for other in others})
        strangers = [record for record in going if record not in first.records]
        staying = [record for record in first.records if record not in going]
        if strangers or not going or not staying:
            problem = (
                f"{_list(strangers)} not in {first.profile.profile_id}"
                if strangers
                else "some records must go and some must stay"
            )
            raise KlantbeeldError(problem, f"It has {_list(first.records, most=20)}.")
    action, new = decide(
        control, DIFFERENT, [(one, other) for one in staying for other in going], by=by, why=why
    )
    click.echo(
        f"{action}: {_list(going)} and {_list(staying)} are not one person ({new} decision(s))"
    )
    unknown = _tell_unknown(control, [*going, *staying], action)
    profiles = [first.profile] if first.profile else []
    if not first.is_profile:
        other = others[0].profile
        if unknown or not profiles or other is None:
            return
        if other.profile_id != profiles[0].profile_id:
            click.echo("They are in different profiles already; from now on nothing joins them.")
            return
        click.echo(
            f"At the next run one of them leaves {profiles[0].profile_id}; the evidence says who "
            "goes along."
        )
        return
    larger = "those that stay" if len(staying) > len(going) else "those that go"
    if len(staying) == len(going):
        larger = "one half"
    click.echo(
        f"At the next run they are apart; {profiles[0].profile_id} remains with {larger}, the "
        "others get another id."
    )


@click.command("pass-through")
@click.argument("records", nargs=-1, required=True)
@_by
@_why
def pass_through(records: tuple[str, ...], by: str, why: str) -> None:
    """Decide that records are never matched: each is a profile of its own."""
    from klantbeeld.identity.decisions import PASS_THROUGH, decide
    from klantbeeld.identity.membership import find

    settings, control = open_home()
    found = [find(control, record, settings.home_key()) for record in records]
    for named in found:
        if named.is_profile:
            raise KlantbeeldError(
                f"{named.name} is a profile", "Name the record that stands alone."
            )
    names = list(dict.fromkeys(named.name for named in found))
    action, new = decide(control, PASS_THROUGH, [(name, None) for name in names], by=by, why=why)
    click.echo(f"{action}: {_list(names)} matched with nothing ({new} decision(s))")
    if len(_tell_unknown(control, names, action)) < len(names):
        click.echo("At the next run each of them is a profile of its own.")


@click.command()
@click.argument("decisions", nargs=-1, required=True)
@_by
@_why
def undo(decisions: tuple[str, ...], by: str, why: str) -> None:
    """Revoke decisions; orders and events go back with their records."""
    from klantbeeld.identity.decisions import SAME, revoke
    from klantbeeld.identity.membership import former_ids, profiles_of

    _, control = open_home()
    for name in decisions:
        revoked = revoke(control, name, by=by, why=why)
        records = {record for one in revoked for record in (one.record_id_l, one.record_id_r or "")}
        profiles = profiles_of(control, records)
        now = _list([profile.profile_id for profile in profiles]) or "no profile"
        click.echo(
            f"{name}: {len(revoked)} decision(s) revoked. At the next run evidence decides about "
            f"their {len(records - {''})} records, now in {now}."
        )
        if any(one.verdict == SAME for one in revoked):
            back = [old for p in profiles for old in former_ids(control, p.profile_id)]
            if back:
                click.echo(
                    f"If it takes a merge back, these return to the records they had: {_list(back)}"
                )


@click.group(cls=Group)
def decisions() -> None:
    """Decisions of stewards: list them, keep them as a file, take them from one."""


@decisions.command("list")
@click.option("--all", "with_revoked", is_flag=True, help="Revoked ones too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_decisions(with_revoked: bool, as_json: bool) -> int:
    """List who decided what and why, and what contradicts itself (exit code 3)."""
    from klantbeeld.identity.decisions import as_table, find_contradictions, read_decisions

    _, control = open_home()
    found = read_decisions(control, with_revoked=with_revoked)
    for one in found:
        if as_json:
            click.echo(json.dumps(vars(one), default=str))
            continue
        about = one.record_id_l + (f"  {one.record_id_r}" if one.record_id_r else "")
        ended = f", revoked {one.revoked_at:%Y-%m-%d}" if one.revoked_at else ""
        click.echo(
            f"{one.decision_id}  {one.verdict:<12}  {about}  ({one.decided_by}, "
            f"{one.decided_at:%Y-%m-%d}{ended}: {one.why or 'no reason given'})"
        )
    in_force = [one for one in found if one.revoked_at is None]
    contradictions = find_contradictions(as_table(in_force))
    for contradiction in contradictions:
        click.echo(f"contradiction: {contradiction.words}", err=as_json)
    if not as_json:
        click.echo(f"{len(in_force)} decision(s) in force, {len(contradictions)} contradiction(s)")
        if contradictions:
            click.echo(_NOT_BOUND)
    return ExitCode.ATTENTION if contradictions else ExitCode.OK


@decisions.command("import")
@_file
@_by
def import_decisions(file: Path, by: str) -> int:
    """Take decisions from a CSV file, all of them or none.

    Columns: verdict (same, different, pass_through), record_id_l, record_id_r; optional: why,
    decided_by, decided_at and the others of an export. What is known already is left as it is.
    """
    from klantbeeld.identity.decisions import active_decisions, find_contradictions, import_csv

    settings, control = open_home()
    done = import_csv(control, file, by=by, home_key=settings.home_key())
    click.echo(f"{done.added} decision(s) added, {done.known} known already")
    _tell_unknown(control, done.records)
    contradictions = find_contradictions(active_decisions(control))
    for contradiction in contradictions:
        click.echo(f"contradiction: {contradiction.words}")
    if contradictions:
        click.echo(_NOT_BOUND)
    return ExitCode.ATTENTION if contradictions else ExitCode.OK


@decisions.command("export")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def export_decisions(file: Path | None) -> None:
    """Write every decision, revoked ones too, as CSV to FILE or to the screen."""
    import io

    from klantbeeld.files import write_atomic
    from klantbeeld.identity.decisions import export_csv

    _, control = open_home()
    if file is None:
        export_csv(control, sys.stdout)
        return
    text = io.StringIO(newline="")
    rows = export_csv(control, text)
    write_atomic(file, text.getvalue())
    click.echo(f"{rows} decision(s) in {file}")


@click.command()
@click.option("--kind", type=click.Choice(["pair", "bridge", "large_cluster"]), help="Only these.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def queue(kind: str | None, limit: int, as_json: bool) -> None:
    """Show what waits for a decision, most valuable first: revenue touched, then records."""
    from klantbeeld.identity.decisions import active_decisions
    from klantbeeld.identity.review import read_queue
    from klantbeeld.warehouse import Warehouse

    settings, control = open_home()
    warehouse = Warehouse(settings, control)
    if warehouse.current() is None:
        raise KlantbeeldError("nothing is published yet", "Run `klantbeeld run` first.")
    with warehouse.read() as connection:
        items = read_queue(connection, active_decisions(control), kind)
    for item in items[:limit]:
        click.echo(json.dumps(item, default=str) if as_json else _question(item))
    if not as_json:
        more = f", {len(items) - limit} more: --limit" if len(items) > limit else ""
        click.echo(f"{len(items)} question(s){more}")
        if items:
            click.echo(
                "`klantbeeld identity why RECORD RECORD` shows what is known; answer with `merge A "
                "B` or `split A B`, and --why."
            )


@click.command()
@_file
@click.option("--remove", is_flag=True, help="Take these back instead.")
@_by
@click.option("--why", callback=_reason, help="The reason.")
def rekey(file: Path, remove: bool, by: str, why: str | None) -> None:
    """Say which records a source gave another key, so that they keep their profiles.

    FILE is CSV with the columns old_record_id and new_record_id (source:entity:key).
    """
    from klantbeeld.identity.aliases import add_aliases, remove_aliases

    settings, control = open_home()
    key = settings.home_key()
    done = (
        remove_aliases(control, file, home_key=key)
        if remove
        else add_aliases(control, file, by=by, why=why, home_key=key)
    )
    click.echo(
        f"{done.changed} alias(es) {'removed' if remove else 'added'}, {done.unchanged} as asked "
        f"already; {done.unknown} old record(s) are not in the last published version"
    )


COMMANDS = (merge, split, pass_through, undo, decisions, queue, rekey)


def _question(item: dict[str, Any]) -> str:
    revenue = "" if item["revenue_eur"] is None else f", revenue {item['revenue_eur']:,.2f} EUR"
    head = f"{item['kind']:<14} {item['review_id']} {item['records']:>4} records{revenue}"
    if item["weight"] is not None:
        head += f", weight {item['weight']:+.1f} bits ({item['match_probability']:.2f})"
    now = "together" if len(item["profile_ids"]) == 1 else "apart"
    records, profiles = _list(item["record_ids"]), _list(item["profile_ids"])
    return f"{head}\n  records   {records}\n  {now:<9} {profiles}"


def _list(names: Sequence[str], most: int = _SHOWN) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _tell_unknown(
    control: ControlPlane, records: Iterable[str], action: str | None = None
) -> list[str]:
    """Say which records no published version holds: the decision is kept for when they come.

    Args:
        control: The control plane; it is only read.
        records: The records that were decided about.
        action: What takes it back if it was a slip.

    Returns:
        The records.
    """
    from klantbeeld.identity.membership import unpublished

    unknown = unpublished(control, records)
    if unknown:
        slip = f" (a slip? klantbeeld identity undo {action} --why TEXT)" if action else ""
        click.secho(
            f"{len(unknown)} record(s) are not in the last published version; the decision binds "
            f"when they are there: {_list(unknown)}{slip}",
            fg="yellow",
        )
    return unknown
