"""What people decide about records: same, different, or passed through; data that binds every run.

Here: keeping, revoking, importing and exporting decisions, finding those that contradict each
other, and summing the others up for a linkage. Not here: how a clustering obeys them
(`clustering`), what waits for a decision (`review`), commands.

Decisions name records, and hold for the person behind them: same(a, b) and same(b, c) make a and c
the same, also where b is gone. Where decisions contradict each other none of them binds, and their
records keep the profile they have, until one is revoked.
"""

import csv
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import steward_decisions as table
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.clustering import connected_components
from klantbeeld.records import typed_record_id

Ints = NDArray[np.int64]

SAME: Final = "same"
DIFFERENT: Final = "different"
PASS_THROUGH: Final = "pass_through"  # noqa: S105 - no password
VERDICTS: Final = (SAME, DIFFERENT, PASS_THROUGH)
CSV_COLUMNS: Final = (
    "decision_id",
    "action_id",
    "verdict",
    "record_id_l",
    "record_id_r",
    "decided_by",
    "decided_at",
    "why",
    "revoked_at",
    "revoked_by",
    "revoked_why",
)
# Two sides of a split are a decision for every pair between them.
MOST_AT_ONCE: Final = 20_000
_SHOWN: Final = 5
# In source:entity:key.
_COLONS: Final = 2
_CHUNK: Final = 10_000


@dataclass(frozen=True)
class Decision:
    """What somebody decided about a record or two.

    Attributes:
        decision_id: Its name, for ever.
        action_id: What was decided together has this in common.
        verdict: `same`, `different` or `pass_through`.
        record_id_l: A record.
        record_id_r: The other; none for `pass_through`.
        decided_by: Who.
        decided_at: When.
        why: The reason given.
        revoked_at: When it was revoked; until then it binds.
        revoked_by: By whom.
        revoked_why: The reason given for that.
    """

    decision_id: str
    action_id: str
    verdict: str
    record_id_l: str
    record_id_r: str | None
    decided_by: str
    decided_at: datetime
    why: str | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    revoked_why: str | None = None

    @property
    def about(self) -> tuple[str, str, str | None]:
        """What is said, without who, when and why."""
        return self.verdict, self.record_id_l, self.record_id_r


@dataclass(frozen=True)
class Contradiction:
    """Decisions that cannot all be true.

    Attributes:
        decision_ids: The smallest set that shows it, the one that the others speak against first.
        words: The same for people; ids only.
    """

    decision_ids: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Resolution:
    """Decisions summed up for a linkage.

    Attributes:
        records: The records that decisions speak of, sorted.
        group: Per record, the number in `records` of the first that is the same person.
        apart_l: Groups that are not the same person as
        apart_r: these groups.
        alone: Per record, whether it is never matched.
        disputed: Per record, a number shared by those of one contradiction; -1 for none.
        contradictions: What contradicts what.
    """

    records: NDArray[np.object_]
    group: Ints
    apart_l: Ints
    apart_r: Ints
    alone: NDArray[np.bool_]
    disputed: Ints
    contradictions: tuple[Contradiction, ...]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        added: Decisions that are new here.
        known: Decisions that were here already.
        records: The record ids that the file names.
    """

    added: int
    known: int
    records: frozenset[str]


def decide(
    control: ControlPlane,
    verdict: str,
    pairs: Iterable[tuple[str, str | None]],
    *,
    by: str,
    why: str,
) -> tuple[str, int]:
    """Keep one verdict about some records or pairs, as one action.

    Args:
        control: The control plane.
        verdict: `same`, `different` or `pass_through`.
        pairs: Two record ids each; the second is None for `pass_through`.
        by: Who decides.
        why: The reason.

    Returns:
        The id of the action, and how many of its decisions were not in force yet.

    Raises:
        KlantbeeldError: It contradicts decisions in force, there is nothing new in it, or it is
            too much for one action.
    """
    now = datetime.now(UTC)
    action = f"D{uuid.uuid4().hex[:12]}"
    wanted: dict[tuple[str, str, str | None], Decision] = {}
    for left, right in pairs:
        decision = _ordered(Decision("", action, verdict, left, right, by, now, why))
        wanted.setdefault(decision.about, decision)
    if len(wanted) > MOST_AT_ONCE:
        raise KlantbeeldError(
            f"this would be {len(wanted):,} decisions at once; {MOST_AT_ONCE:,} is the most",
            "Decide about fewer records at a time, or import a file of decisions.",
        )
    with control.begin() as connection:
        active = _active_rows(connection)
        known = {decision.about for decision in active}
        new = [decision for about, decision in wanted.items() if about not in known]
        if not new:
            raise KlantbeeldError("that is decided already", "klantbeeld identity decisions list")
        new = [replace(one, decision_id=f"{action}.{n}") for n, one in enumerate(new, 1)]
        before = {found.decision_ids for found in find_contradictions(as_table(active))}
        against = [
            found
            for found in find_contradictions(as_table([*active, *new]))
            if found.decision_ids not in before
        ]
        if against:
            ours = {decision.decision_id for decision in new}
            others = sorted({d.rsplit(".", 1)[0] for d in against[0].decision_ids if d not in ours})
            words = against[0].words
            for name in ours:  # of no use to anybody: it was never kept
                words = words.replace(f"{name} ", "this decision ")
            raise KlantbeeldError(
                f"this contradicts what is decided: {words}",
                f"Undo that first if it is wrong: klantbeeld identity undo {' '.join(others)}",
            )
        connection.execute(table.insert(), [vars(decision) for decision in new])
        control.audit(connection, "decide", action, verdict=verdict, decisions=len(new))
    return action, len(new)


def revoke(control: ControlPlane, name: str, *, by: str, why: str) -> list[Decision]:
    """Revoke a decision, or all of an action; it stays on record and binds no more.

    Args:
        control: The control plane.
        name: A decision id or an action id.
        by: Who revokes.
        why: The reason.

    Returns:
        What is revoked.

    Raises:
        KlantbeeldError: There is no such decision, or it is revoked already.
    """
    named = sa.or_(table.c.decision_id == name, table.c.action_id == name)
    with control.begin() as connection:
        rows = connection.execute(sa.select(table).where(named)).mappings().all()
        found = [Decision(**row) for row in rows]
        if not found:
            raise KlantbeeldError(
                f"there is no decision {name}", "klantbeeld identity decisions list"
            )
        found = [decision for decision in found if decision.revoked_at is None]
        if not found:
            raise KlantbeeldError(f"{name} is revoked already")
        connection.execute(
            table.update()
            .where(named, table.c.revoked_at.is_(None))
            .values(revoked_at=datetime.now(UTC), revoked_by=by, revoked_why=why)
        )
        control.audit(connection, "revoke", name, decisions=len(found))
    return found


def read_decisions(control: ControlPlane, *, with_revoked: bool = False) -> list[Decision]:
    """The decisions in the order in which they were made."""
    query = sa.select(table).order_by(table.c.decided_at, table.c.decision_id)
    if not with_revoked:
        query = query.where(table.c.revoked_at.is_(None))
    with control.read() as connection:
        return [Decision(**row) for row in connection.execute(query).mappings()]


def active_decisions(control: ControlPlane) -> pa.Table:
    """The decisions in force, for a linkage: see `as_table`."""
    with control.read() as connection:
        return as_table(_active_rows(connection))


def as_table(decisions: Sequence[Decision]) -> pa.Table:
    """Decisions as columns: decision_id, verdict, record_id_l, record_id_r; sorted by id."""
    ordered = sorted(decisions, key=lambda decision: decision.decision_id)
    names = ("decision_id", "verdict", "record_id_l", "record_id_r")
    return pa.table(
        {name: pa.array([getattr(one, name) for one in ordered], pa.string()) for name in names}
    )


def export_csv(control: ControlPlane, target: TextIO) -> int:
    """Write every decision, revoked ones too; `import_csv` takes it back in. Returns the rows."""
    writer = csv.DictWriter(target, CSV_COLUMNS)
    writer.writeheader()
    decisions = read_decisions(control, with_revoked=True)
    for decision in decisions:
        row = dict(vars(decision))
        for name in ("decided_at", "revoked_at"):
            row[name] = row[name].isoformat() if row[name] else None
        writer.writerow(row)
    return len(decisions)


def import_csv(control: ControlPlane, path: Path, *, by: str, home_key: bytes) -> Imported:
    """Take decisions from a file: all of its rows, or none if one is unusable.

    Needed are `verdict`, `record_id_l` and (but for `pass_through`) `record_id_r`; the other
    columns of an export are optional. What is here already is left as it is, so that a file can be
    imported twice. Contradictions are no reason to refuse: they are kept, reported, and bind
    nobody.

    Args:
        control: The control plane.
        path: A CSV file in UTF-8, separated by commas or semicolons.
        by: Who decided, where the file does not say.
        home_key: The home's secret: an e-mail address in a record id stands for its keyed hash.

    Raises:
        KlantbeeldError: The file or a row of it is unusable.
    """
    now = datetime.now(UTC)
    action = f"D{uuid.uuid4().hex[:12]}"
    given: list[Decision] = []
    wrong: list[str] = []
    for line, row in read_csv(path, ("verdict", "record_id_l")):
        for name in ("record_id_l", "record_id_r"):
            row[name] = typed_record_id(row.get(name, ""), home_key)
        decision = _from_row(row, by, now)
        if isinstance(decision, str):
            wrong.append(f"line {line}: {decision}")
        else:
            given.append(decision)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise KlantbeeldError(
            f"{path}: {'; '.join(wrong[:_SHOWN])}{more}", "Nothing was imported; mend the file."
        )
    with control.begin() as connection:
        held = [Decision(**row) for row in connection.execute(sa.select(table)).mappings()]
        by_id = {decision.decision_id: decision for decision in held}
        in_force = {decision.about for decision in held if decision.revoked_at is None}
        new: dict[str, Decision] = {}
        known = 0
        for number, decision in enumerate(given, 1):
            name = decision.decision_id or f"{action}.{number}"
            other = by_id.get(name) or new.get(name)
            if other is not None and other.about != decision.about:
                raise KlantbeeldError(
                    f"{path}: decision {name} is here already and says something else",
                    "Nothing was imported; give the row another decision_id, or none.",
                )
            is_said = decision.revoked_at is None and decision.about in in_force
            if other is not None or is_said:
                known += 1
                continue
            new[name] = replace(
                decision, decision_id=name, action_id=decision.action_id or name.rsplit(".", 1)[0]
            )
            if decision.revoked_at is None:
                in_force.add(decision.about)
        rows = [vars(decision) for decision in new.values()]
        for start in range(0, len(rows), _CHUNK):
            connection.execute(table.insert(), rows[start : start + _CHUNK])
        control.audit(connection, "import_decisions", action, decisions=len(new), known=known)
    names = {name for one in given for name in (one.record_id_l, one.record_id_r) if name}
    return Imported(len(new), known, frozenset(names))


def read_csv(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a small CSV file with their line numbers; commas or semicolons.

    Raises:
        KlantbeeldError: It cannot be read, is not UTF-8, or a needed column is missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
            lines.seek(0)
            delimiter = ";" if header.count(";") > header.count(",") else ","
            reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
            rows = [
                (reader.line_num, {k: (v or "").strip() for k, v in row.items() if k is not None})
                for row in reader
            ]
            columns = reader.fieldnames or []
    except FileNotFoundError:
        raise KlantbeeldError(f"there is no file {path}", "It must be a CSV file.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KlantbeeldError(
            f"{path} cannot be read as CSV: {error}", "It must be a CSV file in UTF-8."
        ) from None
    missing = [name for name in needed if name not in columns]
    if missing:
        raise KlantbeeldError(
            f"{path} has no column {', '.join(missing)}",
            f"Its first line must name the columns; needed: {', '.join(needed)}"
            + (f"; it names {', '.join(columns)}." if columns else "; it is empty."),
        )
    return rows


def find_contradictions(decisions: pa.Table) -> tuple[Contradiction, ...]:
    """The contradictions among decisions; see `as_table` for their columns."""
    return resolve(decisions).contradictions


def resolve(decisions: pa.Table) -> Resolution:
    """Sum decisions up: who is the same, who is not, who is left alone, and what is in dispute.

    Args:
        decisions: decision_id, verdict, record_id_l, record_id_r. Records with one id are one.
    """
    verdict, left, right = (
        np.asarray(decisions.column(name).to_pylist(), dtype=object)
        for name in ("verdict", "record_id_l", "record_id_r")
    )
    is_single = verdict == PASS_THROUGH
    right = np.where(is_single, left, right)
    records, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
    count = len(records)
    a, b = numbers[: len(left)].astype(np.int64), numbers[len(left) :].astype(np.int64)
    is_same, is_apart = verdict == SAME, verdict == DIFFERENT
    group = connected_components(count, a[is_same], b[is_same])
    size = np.bincount(group, minlength=count)
    against = (is_apart & (group[a] == group[b])) | (is_single & (size[group[a]] > 1))

    is_disputed = np.zeros(count, dtype=bool)
    is_disputed[group[a[against]]] = True
    disputed = np.where(is_disputed[group], group, -1)
    contradictions = _explain(decisions, np.flatnonzero(against), a, b, is_same, records)
    free = disputed[a] < 0
    kept = np.where(disputed >= 0, np.arange(count), group)
    bound = is_apart & ~against
    alone = np.zeros(count, dtype=bool)
    alone[a[is_single & free]] = True
    return Resolution(
        records=records,
        group=kept,
        apart_l=kept[a[bound]],
        apart_r=kept[b[bound]],
        alone=alone,
        disputed=disputed,
        contradictions=contradictions,
    )


def _explain(
    decisions: pa.Table,
    against: Ints,
    a: Ints,
    b: Ints,
    is_same: NDArray[np.bool_],
    records: NDArray[np.object_],
) -> tuple[Contradiction, ...]:
    """For each decision that others speak against, the shortest chain of those."""
    if not len(against):
        return ()
    names = decisions.column("decision_id").to_pylist()
    beside: dict[int, list[tuple[int, int]]] = {}
    for row in np.flatnonzero(is_same):
        one, other = int(a[row]), int(b[row])
        beside.setdefault(one, []).append((other, int(row)))
        beside.setdefault(other, []).append((one, int(row)))
    found = []
    for row in against.tolist():
        one, other = int(a[row]), int(b[row])
        if one == other:
            chain = [beside[one][0][1]]
            words = f"{names[row]} says that {records[one]} is never matched"
        else:
            chain = _shortest_chain(beside, one, other)
            words = f"{names[row]} says that {records[one]} and {records[other]} are two people"
        said = ", ".join(
            f"{names[n]} that {records[a[n]]} and {records[b[n]]} are one person" for n in chain
        )
        found.append(Contradiction((names[row], *(names[n] for n in chain)), f"{words}; {said}"))
    return tuple(found)


def _shortest_chain(beside: dict[int, list[tuple[int, int]]], start: int, end: int) -> list[int]:
    came: dict[int, tuple[int, int]] = {start: (start, -1)}
    waiting = deque([start])
    while end not in came:
        here = waiting.popleft()
        for there, row in beside[here]:
            if there not in came:
                came[there] = (here, row)
                waiting.append(there)
    chain, here = [], end
    while here != start:
        here, row = came[here]
        chain.append(row)
    return chain[::-1]


def _ordered(decision: Decision) -> Decision:
    left, right = decision.record_id_l, decision.record_id_r
    if right is not None and right < left:
        return replace(decision, record_id_l=right, record_id_r=left)
    return decision


def _active_rows(connection: sa.Connection) -> list[Decision]:
    query = sa.select(table).where(table.c.revoked_at.is_(None))
    return [Decision(**row) for row in connection.execute(query).mappings()]


def _from_row(row: dict[str, str], by: str, now: datetime) -> Decision | str:
    """A decision from a row of a file, or what is wrong with it."""
    verdict = row["verdict"].lower()
    left, right = row["record_id_l"], row.get("record_id_r") or None
    if verdict not in VERDICTS:
        return f"the verdict must be one of {', '.join(VERDICTS)}"
    if not left or (right is None) != (verdict == PASS_THROUGH):
        needed = "one record id" if verdict == PASS_THROUGH else "two record ids"
        return f"{verdict} needs {needed}"
    if left == right:
        return "the two record ids are the same"
    strange = [name for name in (left, right) if name and name.count(":") < _COLONS]
    if strange:
        return f"{strange[0]} is not a record id (source:entity:key)"
    moments: dict[str, datetime | None] = {}
    for name in ("decided_at", "revoked_at"):
        text = row.get(name)
        try:
            moments[name] = datetime.fromisoformat(text) if text else None
        except ValueError:
            return f"{name} is not a moment as 2026-03-01T12:00:00+00:00"
        moment = moments[name]
        if moment is not None and moment.tzinfo is None:
            return f"{name} has no time zone"
    plain: dict[str, Any] = {
        name: row.get(name) or None for name in ("why", "revoked_by", "revoked_why")
    }
    return _ordered(
        Decision(
            decision_id=row.get("decision_id", ""),
            action_id=row.get("action_id", ""),
            verdict=verdict,
            record_id_l=left,
            record_id_r=right,
            decided_by=row.get("decided_by") or by,
            decided_at=moments["decided_at"] or now,
            revoked_at=moments["revoked_at"],
            **plain,
        )
    )
