"""Rows about contacts that were merged at the destination: sent for the one that is left.

Belongs here: which keys were merged into which, and the model with its keys replaced accordingly.
Finding out is `reconcile`'s. Nothing is linked in the warehouse: there both contacts are records,
and their profile is the link stage's matter.

    sync_links (control plane) + model -> <sync>_relinked, what is planned instead of the model

Of two rows for one key the one that the model has under that key stands; of several that were
merged into one that the model does not have, the first by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.activation.planning import key_sql, load, quoted, relation_types
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import sync_links


class Links:
    """What one sync knows of merged keys."""

    def __init__(self, control: ControlPlane, sync: str, clock: Clock) -> None:
        self._control = control
        self._sync = sync
        self._clock = clock

    def masters(self) -> dict[str, str]:
        """The key that is left, by the key that was merged into it."""
        query = sa.select(sync_links.c.destination_key, sync_links.c.master_key).where(
            sync_links.c.sync == self._sync
        )
        with self._control.read() as connection:
            return dict(connection.execute(query).tuples().all())

    def replace(self, masters: Mapping[str, str]) -> None:
        """Know these and no others; one that was known keeps the time when it was found."""
        known = self.masters()
        gone = sorted(key for key in known if masters.get(key) != known[key])
        new = sorted(key for key in masters if masters[key] != known.get(key))
        with self._control.begin() as connection:
            for key in gone:
                connection.execute(
                    sync_links.delete().where(
                        sync_links.c.sync == self._sync, sync_links.c.destination_key == key
                    )
                )
            if new:
                connection.execute(
                    sync_links.insert(),
                    [
                        {
                            "sync": self._sync,
                            "destination_key": key,
                            "master_key": masters[key],
                            "found_at": self._clock.now(),
                        }
                        for key in new
                    ],
                )


def relinked(
    connection: duckdb.DuckDBPyConnection, spec: SyncSpec, masters: Mapping[str, str]
) -> SyncSpec:
    """The sync on its model with merged keys replaced; itself if there are none.

    Leaves the links in `_sync_links`.

    Args:
        connection: A connection to the published version.
        spec: The sync as it is declared.
        masters: The key that is left, by the key that was merged into it.
    """
    table = pa.table(
        {
            "destination_key": pa.array(list(masters), pa.string()),
            "master_key": pa.array(list(masters.values()), pa.string()),
        }
    )
    load(connection, "_sync_links", table)
    if not masters:
        return spec
    name = f"{spec.name}_relinked"
    key_type = relation_types(connection, spec.relation).get(spec.key)
    if key_type is None:
        return spec  # what is wrong with the model is told by the preflight
    connection.execute(
        f"""
        create or replace temp view {name} as
        select model.* replace (
            cast(coalesce(links.master_key, {key_sql(spec, "model.")}) as {key_type})
                as {quoted(spec.key)}
        )
        from {spec.relation} as model
        left join _sync_links as links on links.destination_key = {key_sql(spec, "model.")}
        where links.master_key is null or links.master_key not in (
            select {key_sql(spec)} from {spec.relation} where {quoted(spec.key)} is not null
        )
        qualify links.master_key is null or row_number() over (
            partition by links.master_key order by links.destination_key
        ) = 1
        """
    )
    return replace(spec, relation=name)
