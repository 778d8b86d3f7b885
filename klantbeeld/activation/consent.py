"""Consent and erasure at the moment of writing: what arrived after the version was built.

Belongs here: which rows of an audience may not leave now, and which rows of a sync have to be taken
away. What was known when the version was built is joined in by dbt, so that those rows are not in
the model; here is what was learnt after, from the control plane's own events and tombstones, which
hold contact points as keyed hashes only. That a row left the model because somebody withdrew, and
not by a mistake in a join, is told from the consents of the version itself.

    consent_events, tombstones (control plane) + marts.dim_contact_points, marts.fct_consents
        -> _withheld_points -> rows left out of a file
        -> _refused_subjects -> rows of a sync that leave first and are never held

A row is left out when any contact point that it shows is withdrawn for the audience's purpose, not
only the one it is addressed by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.activation.planning import literal, relation_types
from klantbeeld.activation.specs import CONTACT_COLUMNS, AudienceSpec, PrivacyRule
from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import consent_events, tombstones
from klantbeeld.records import keyed_hash_sql

_POINTS = "marts.dim_contact_points"
_CONSENTS = "marts.fct_consents"


@dataclass(frozen=True)
class Refusals:
    """What the control plane knows against using a contact point.

    Attributes:
        withdrawn: Since when, by channel and keyed hash of the contact point.
        erased: Keyed hashes of the identifiers of erased people.
    """

    withdrawn: Mapping[tuple[str, str], datetime]
    erased: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.withdrawn or self.erased)


def current_refusals(control: ControlPlane, purpose: str, now: datetime) -> Refusals:
    """Read the refusals that hold for a purpose.

    The latest event counts; of events at one time the no does; a consent that ran out is none.
    """
    events = (
        sa.select(consent_events)
        .where(consent_events.c.purpose == purpose, consent_events.c.effective_at <= now)
        # 'granted' before 'denied' at one time: the last one stands.
        .order_by(consent_events.c.effective_at, consent_events.c.status.desc())
    )
    withdrawn: dict[tuple[str, str], datetime] = {}
    with control.read() as connection:
        for event in connection.execute(events):
            point = (event.channel, event.contact_point_hash)
            has_expired = event.expires_at is not None and event.expires_at <= now
            if event.status == "granted" and not has_expired:
                withdrawn.pop(point, None)
            else:
                withdrawn[point] = event.effective_at
        erased = connection.execute(sa.select(tombstones.c.value_hash)).all()
    return Refusals(withdrawn, frozenset(row.value_hash for row in erased))


def withheld_sql(
    connection: duckdb.DuckDBPyConnection,
    spec: AudienceSpec,
    types: Mapping[str, str],
    refusals: Refusals,
    home_key: bytes,
) -> str:
    """SQL that is true for the rows of an audience that may not leave now.

    A withdrawal yields to a consent in the warehouse that was given after it.

    Args:
        connection: A connection to the published version; gets a temporary table.
        spec: The audience.
        types: SQL type by column of the audience.
        refusals: What the control plane knows.
        home_key: The secret of the keyed hashes.
    """
    if not refusals:
        return "false"
    relation_types(connection, _POINTS)
    relation_types(connection, _CONSENTS)
    _load_refused(connection, spec.purpose, refusals, home_key)
    connection.execute(
        f"""
        create or replace temp table _withheld_points as
        with points as (
            select distinct channel, contact_point_key, value_std,
                {_spellings("value_std", home_key)} as point_hash
            from {_POINTS}
        )
        select channel, contact_point_key, value_std
        from points
        where (channel, point_hash) in (select (channel, point_hash) from _refused)
            or point_hash in (select point_hash from _erased)
        """
    )
    shown = [
        f"coalesce({column} in"
        f" (select value_std from _withheld_points where channel = {literal(channel)}), false)"
        for column, channel in CONTACT_COLUMNS.items()
        if column in types
    ]
    addressed = "contact_point_key in (select contact_point_key from _withheld_points)"
    return " or ".join([addressed, *shown])


class RefusedSubjects:
    """Whose rows of a sync have to be taken away, by what is known at each moment.

    That is who was erased; and, for a sync with a purpose, which contact points somebody withdrew:
    in an event that the control plane received, or in one that a source gave to the warehouse.

    Args:
        connection: A connection to the published version; gets a temporary table, `table`.
        control: The home's control plane.
        rule: Whom the sync's rows are about.
        clock: Says what time it is.
        home_key: The secret of the keyed hashes.
    """

    table = "_refused_subjects"

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        control: ControlPlane,
        rule: PrivacyRule,
        clock: Clock,
        home_key: bytes,
    ) -> None:
        self._connection = connection
        self._control = control
        self._rule = rule
        self._clock = clock
        self._home_key = home_key
        self._stamp: tuple[Any, ...] | None = None
        self._count = 0
        _load_denied(connection, rule, home_key)

    @property
    def is_empty(self) -> bool:
        """Whether nobody withdrew or was erased, as of the last refresh."""
        return self._count == 0

    def refresh(self) -> bool:
        """Read the control plane again if anything arrived; returns whether something did."""
        stamp = self._arrived()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        refusals = current_refusals(self._control, self._rule.purpose or "", self._clock.now())
        _load_refused(self._connection, self._rule.purpose or "", refusals, self._home_key)
        channels = sorted(set(self._rule.contact_points.values()))
        self._connection.execute(
            f"""
            create or replace temp table {self.table} as
            select point_hash as subject from _refused where list_contains($channels, channel)
            union
            select point_hash from _denied
            union
            select point_hash from _erased
            """,
            {"channels": channels},
        )
        counted = self._connection.execute(f"select count(*) from {self.table}").fetchall()
        self._count = int(counted[0][0])
        return True

    def _arrived(self) -> tuple[Any, ...]:
        counts = [
            sa.select(sa.func.count(), sa.func.max(column)).select_from(column.table)
            for column in (consent_events.c.received_at, tombstones.c.erased_at)
        ]
        with self._control.read() as connection:
            return tuple(tuple(connection.execute(query).one()) for query in counts)


def _load_denied(connection: duckdb.DuckDBPyConnection, rule: PrivacyRule, home_key: bytes) -> None:
    """Leave the contact points in `_denied` that the version says were withdrawn for the purpose.

    Withdrawn and not merely without a consent: that is an ordinary matter. A mailbox that one
    member of a household may still be written to is not among them.
    """
    connection.execute("create or replace temp table _denied (point_hash varchar)")
    column = f"{rule.purpose}_consent"
    if rule.purpose is None or not _exists(connection, _POINTS, column):
        return
    secret = literal(home_key.hex())
    connection.execute(
        f"""
        insert into _denied
        select {keyed_hash_sql("lower(trim(value_std))", home_key=secret)}
        from {_POINTS}
        where list_contains($channels, channel)
        group by channel, value_std
        having bool_and({column} = 'denied')
        """,
        {"channels": sorted(set(rule.contact_points.values()))},
    )


def _load_refused(
    connection: duckdb.DuckDBPyConnection, purpose: str, refusals: Refusals, home_key: bytes
) -> None:
    """Leave the refusals that stand in `_refused` (channel, point_hash) and `_erased`.

    A withdrawal yields to a consent in the warehouse that was given after it, if there is one.
    """
    connection.register("_withdrawn", _withdrawn_table(refusals))
    connection.register("_erased_now", pa.table({"point_hash": list(refusals.erased)}, _ERASED))
    connection.execute("create or replace temp table _erased as from _erased_now")
    given = "select null::varchar, null::varchar, null::timestamptz where false"
    if _exists(connection, _CONSENTS):
        given = f"""
            select channel, point_hash, max(effective_at)
            from (
                select channel, effective_at,
                    {_spellings("contact_point_std", home_key)} as point_hash
                from {_CONSENTS}
                where purpose = {literal(purpose)} and status = 'granted'
                    and effective_at > (select min(effective_at) from _withdrawn)
            )
            group by all
        """
    connection.execute(
        f"""
        create or replace temp table _refused as
        with given_since(channel, point_hash, effective_at) as ({given})
        select _withdrawn.channel, _withdrawn.point_hash
        from _withdrawn
        left join given_since using (channel, point_hash)
        where given_since.effective_at is null
            or given_since.effective_at <= _withdrawn.effective_at
        """
    )
    connection.unregister("_withdrawn")
    connection.unregister("_erased_now")


def _spellings(value: str, home_key: bytes) -> str:
    """SQL for the hashes of a contact point, a row for each way in which it may be spelled.

    Who sends an event hashes the address himself: the house number's suffix, or the postal code,
    may be in capitals or not. A withdrawal that is not recognised is a letter to somebody who said
    no.
    """
    secret = literal(home_key.hex())
    forms = (value, f"upper({value})", f"lower({value})")
    hashes = ", ".join(keyed_hash_sql(form, home_key=secret) for form in forms)
    return f"unnest(list_distinct([{hashes}]))"


def _exists(
    connection: duckdb.DuckDBPyConnection, relation: str, column: str | None = None
) -> bool:
    schema, _, name = relation.partition(".")
    found = connection.execute(
        "select 1 from information_schema.columns where table_schema = ? and table_name = ?"
        " and column_name = coalesce(?, column_name) limit 1",
        [schema, name, column],
    ).fetchall()
    return bool(found)


_ERASED = pa.schema({"point_hash": pa.string()})
_WITHDRAWN = pa.schema(
    {
        "channel": pa.string(),
        "point_hash": pa.string(),
        "effective_at": pa.timestamp("us", tz="UTC"),
    }
)


def _withdrawn_table(refusals: Refusals) -> pa.Table:
    rows = [
        {"channel": channel, "point_hash": point, "effective_at": at}
        for (channel, point), at in refusals.withdrawn.items()
    ]
    return pa.Table.from_pylist(rows, schema=_WITHDRAWN)
