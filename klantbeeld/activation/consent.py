"""Consent and erasure at the moment of writing: what arrived after the version was built.

Belongs here: which contact points may not leave now. What was known when the version was built is
joined into the audience by dbt; this is the second check, on the control plane's events and
tombstones.

    consent_events, tombstones (control plane) -> keyed hashes -> rows withheld from a file
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.activation.planning import literal, quoted
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import consent_events, tombstones
from klantbeeld.records import keyed_hash_sql

_FACTS = "marts.fct_consents"


def blocked_points(
    control: ControlPlane, spec: AudienceSpec, now: datetime
) -> tuple[dict[str, datetime], set[str]]:
    """Keyed hashes of contact points that may not be used.

    The latest event counts; of events at one time a refusal does; a consent that ran out is none.

    Returns:
        Effective time by hash of withdrawn contact points, and the hashes of erased identifiers.
    """
    events = (
        sa.select(consent_events)
        .where(
            consent_events.c.channel == spec.channel,
            consent_events.c.purpose == spec.purpose,
            consent_events.c.effective_at <= now,
        )
        .order_by(consent_events.c.effective_at, consent_events.c.status.desc())
    )
    withdrawn: dict[str, datetime] = {}
    with control.read() as connection:
        # In order of time, and 'denied' after 'granted' at one time: the last one stands.
        for event in connection.execute(events):
            is_granted = event.status == "granted" and not (
                event.expires_at and event.expires_at <= now
            )
            if is_granted:
                withdrawn.pop(event.contact_point_hash, None)
            else:
                withdrawn[event.contact_point_hash] = event.effective_at
        erased = {row.value_hash for row in connection.execute(sa.select(tombstones.c.value_hash))}
    return withdrawn, erased


def withheld_sql(
    connection: duckdb.DuckDBPyConnection,
    spec: AudienceSpec,
    types: Mapping[str, str],
    withdrawn: Mapping[str, datetime],
    erased: set[str],
    home_key: bytes,
) -> str:
    """SQL that is true for the rows of an audience that may not leave now.

    A withdrawal yields to a consent in the warehouse that was given after it.
    """
    if not withdrawn and not erased:
        return "false"
    connection.register(
        "_withdrawn_arrow",
        pa.table(
            {
                "point_hash": pa.array(list(withdrawn), pa.string()),
                "effective_at": pa.array(list(withdrawn.values()), pa.timestamp("us", tz="UTC")),
            }
        ),
    )
    connection.register(
        "_erased_arrow", pa.table({"point_hash": pa.array(list(erased), pa.string())})
    )
    secret = literal(home_key.hex())
    newer = ""
    if _has_facts(connection):
        newer = f"""
            where not exists (
                select 1 from {_FACTS} as facts
                where facts.channel = {literal(spec.channel)}
                    and facts.purpose = {literal(spec.purpose)}
                    and facts.status = 'granted'
                    and facts.effective_at > _withdrawn_arrow.effective_at
                    and {keyed_hash_sql("facts.contact_point_std", home_key=secret)}
                        = _withdrawn_arrow.point_hash
            )
        """
    connection.execute(
        f"""
        create or replace temp table _blocked_points as
        select point_hash from _withdrawn_arrow {newer}
        union
        select point_hash from _erased_arrow
        """
    )
    connection.unregister("_withdrawn_arrow")
    connection.unregister("_erased_arrow")
    hashes = [keyed_hash_sql(point, home_key=secret) for point in _contact_points(types)]
    candidates = ", ".join([*hashes, "contact_point_key"])
    return f"list_has_any([{candidates}], (select list(point_hash) from _blocked_points))"


def _contact_points(types: Mapping[str, str]) -> list[str]:
    """SQL for every contact point that a row of the audience shows, in its standard form."""
    points = [f"lower(trim({quoted(column)}))" for column in ("email",) if column in types]
    points += [quoted(column) for column in ("phone", "mobile_phone") if column in types]
    address = ("postal_code", "house_number", "house_number_suffix")
    if {"postal_code", "house_number"} <= set(types):
        parts = [
            f"coalesce(upper(replace(cast({quoted(column)} as varchar), ' ', '')), '')"
            if column in types
            else "''"
            for column in address
        ]
        points.append(" || '|' || ".join(parts))
    points.append("cast(contact_point_key as varchar)")
    return points


def _has_facts(connection: duckdb.DuckDBPyConnection) -> bool:
    schema, _, name = _FACTS.partition(".")
    found = connection.execute(
        "select 1 from information_schema.tables where table_schema = ? and table_name = ?",
        [schema, name],
    ).fetchone()
    return found is not None
