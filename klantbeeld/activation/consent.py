"""Consent and erasure at the moment of writing: what arrived after the version was built.

Belongs here: which rows of an audience may not leave now. What was known when the version was built
is joined into the audience by dbt; this is the second check, on the control plane's own events and
tombstones, which hold contact points as keyed hashes only.

    consent_events, tombstones (control plane) + marts.dim_contact_points, marts.fct_consents
        -> _withheld_points -> rows left out of a file

A row is left out when any contact point that it shows is withdrawn for the audience's purpose, not
only the one it is addressed by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.activation.planning import literal, relation_types
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import consent_events, tombstones
from klantbeeld.records import keyed_hash_sql

_POINTS = "marts.dim_contact_points"
_CONSENTS = "marts.fct_consents"
# Columns that show a contact point in its standard form, and the channel it belongs to.
_CHANNEL_OF = {"email": "email", "phone": "phone", "mobile_phone": "phone"}


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
    secret = literal(home_key.hex())
    connection.register("_withdrawn", _withdrawn_table(refusals))
    connection.register("_erased", pa.table({"point_hash": list(refusals.erased)}, _ERASED))
    connection.execute(
        f"""
        create or replace temp table _withheld_points as
        with given_since as (
            select channel, {keyed_hash_sql("contact_point_std", home_key=secret)} as point_hash,
                max(effective_at) as effective_at
            from {_CONSENTS}
            where purpose = {literal(spec.purpose)} and status = 'granted'
                and effective_at > (select min(effective_at) from _withdrawn)
            group by all
        ),
        refused as (
            select _withdrawn.channel, _withdrawn.point_hash
            from _withdrawn
            left join given_since using (channel, point_hash)
            where given_since.effective_at is null
                or given_since.effective_at <= _withdrawn.effective_at
        ),
        points as (
            select distinct channel, contact_point_key, value_std,
                {keyed_hash_sql("value_std", home_key=secret)} as point_hash
            from {_POINTS}
        )
        select channel, contact_point_key, value_std
        from points
        where (channel, point_hash) in (select (channel, point_hash) from refused)
            or point_hash in (select point_hash from _erased)
        """
    )
    connection.unregister("_withdrawn")
    connection.unregister("_erased")
    shown = [
        f"coalesce({column} in"
        f" (select value_std from _withheld_points where channel = {literal(channel)}), false)"
        for column, channel in _CHANNEL_OF.items()
        if column in types
    ]
    addressed = "contact_point_key in (select contact_point_key from _withheld_points)"
    return " or ".join([addressed, *shown])


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
