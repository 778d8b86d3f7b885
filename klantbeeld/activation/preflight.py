"""What is checked of a sync before its first request, and before its first write.

Belongs here: whether the model can be sent at all (columns, key), and which of its rows the
destination would refuse (labels that are no option). What the destination has is compared by the
destination itself (`RecordDestination.check`); that this home may write to it, when it is opened.

    published model -> check_model -> SQL types -> check_fit (destination.check) -> refused_labels
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from klantbeeld.activation.destinations import (
    InspectableDestination,
    RecordDestination,
    RowRefused,
)
from klantbeeld.activation.planning import key_sql, quoted, relation_types
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash

_SHOWN_KEYS = 20
_MOST_LABELS = 1_000


@dataclass(frozen=True)
class Shown:
    """How keys are shown to people: as they are, or hashed where they are personal data."""

    spec: SyncSpec
    home_key: bytes

    def __call__(self, key: str) -> str:
        """A key as it may be shown."""
        return keyed_hash(key, self.home_key) if self.spec.is_key_personal else key


def check_model(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, shown: Shown | None = None
) -> dict[str, str]:
    """Check that the model has the mapped columns and a key that is unique and never null.

    Args:
        connection: A connection to the published version.
        spec: The sync.
        shown: How keys are shown; as they are if not given.

    Returns:
        SQL type by model column.

    Raises:
        KlantbeeldError: It has not; the keys that occur twice are counted and named.
    """
    types = relation_types(connection, spec.relation)
    needed = [*spec.columns, *(spec.privacy.contact_points if spec.privacy else ())]
    if spec.updated_at is not None:
        needed.append(spec.updated_at)
    missing = [column for column in dict.fromkeys(needed) if column not in types]
    if missing:
        raise KlantbeeldError(
            f"{spec.relation} has no column {', '.join(missing)}",
            f"Correct meta.sync.columns of {spec.name}, or the model.",
        )
    key = key_sql(spec)
    nulls, doubles, rows = connection.execute(
        f"""
        select
            count(*) filter (where {key} is null or {key} = ''),
            count({key}) - count(distinct {key}),
            count(*)
        from {spec.relation}
        """
    ).fetchall()[0]
    if nulls:
        raise KlantbeeldError(
            f"{spec.relation}: {nulls} of {rows} rows have no {spec.key}",
            "The key of a sync is never null; leave those rows out of the model.",
        )
    if doubles:
        twice = connection.execute(
            f"""
            select {key} from {spec.relation} group by all having count(*) > 1
            order by 1 limit {_SHOWN_KEYS}
            """
        ).fetchall()
        told = shown or str
        raise KlantbeeldError(
            f"{spec.relation}: {spec.key} is not unique ({doubles} rows too many), such as"
            f" {', '.join(told(value) for (value,) in twice)}",
            "One row per key of the destination; correct the model.",
        )
    return types


def refuse_rivals(spec: SyncSpec, syncs: Iterable[SyncSpec]) -> None:
    """Refuse a sync to whom all rows of an entity belong, when another one writes there too.

    Raises:
        KlantbeeldError: There is one; its rows would be taken for nobody's, and deleted.
    """
    rivals = sorted(
        other.name
        for other in syncs
        if other.name != spec.name
        and (other.destination, other.entity) == (spec.destination, spec.entity)
    )
    if spec.is_exclusive and rivals:
        raise KlantbeeldError(
            f"{spec.name} is exclusive, and {', '.join(rivals)} write to {spec.entity} of"
            f" {spec.destination} too: it would delete their rows; nothing was sent",
            "Leave out `exclusive`, or send the others elsewhere.",
        )


def check_fit(spec: SyncSpec, destination: RecordDestination, types: dict[str, str]) -> None:
    """Check that the destination can do what the sync asks of it.

    Raises:
        KlantbeeldError: Columns, types, key or permissions do not fit, or it lacks an ability.
    """
    if spec.on_leave == "remove" and not getattr(destination, "can_remove", False):
        raise KlantbeeldError(
            f"{spec.name}: {spec.entity} of {spec.destination} is no list to remove rows from",
            "Name a list as meta.sync.entity where it has any (klaviyo: lists/<id>; rest: an entity"
            " with a remove request), or say with on_leave what leaving means: clear empties the"
            " mapped columns that are ours, delete takes the row away.",
        )
    if spec.mode == "update_only" and not destination.is_readable:
        raise KlantbeeldError(
            f"{spec.name}: mode is update_only, and {spec.destination} cannot say what it holds",
            "Use mode: upsert, or a destination whose rows can be read.",
        )
    if spec.reads_first and not isinstance(destination, InspectableDestination):
        raise KlantbeeldError(
            f"{spec.name}: {spec.destination} cannot compare what it holds, which columns need"
            " whose owner is theirs, fill_empty or newest",
            "Use owner: ours, or a destination that can.",
        )
    destination.check(types)


def refused_labels(
    connection: duckdb.DuckDBPyConnection,
    spec: SyncSpec,
    destination: RecordDestination,
    shown: Shown,
) -> list[str]:
    """Which rows have a label that the destination has no option for: counts and ids.

    They are refused one by one when they are sent; here they are known before.
    """
    found = []
    for column in spec.option_columns:
        name = spec.columns[column]
        labels = connection.execute(
            f"""
            select cast({quoted(column)} as varchar), count(*),
                list({key_sql(spec)} order by {key_sql(spec)})[:{_SHOWN_KEYS}]
            from {spec.relation} where {quoted(column)} is not null
            group by 1 order by 2 desc limit {_MOST_LABELS}
            """
        ).fetchall()
        for label, rows, keys in labels:
            try:
                destination.encode(keys[0], "update", {name: label})
            except RowRefused as error:
                named = ", ".join(shown(key) for key in keys)
                found.append(f"{error.message}: {rows} rows ({named})")
    return found
