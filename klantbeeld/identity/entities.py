"""What companies and households have in common: lasting ids and tables of their own in `identity`.

Here: whether the last outcome still holds, giving ids to clusters, replacing the tables. Not here:
what makes a company (`companies`) or a household (`households`), and the ids themselves
(`profile_ids`).
"""

from collections.abc import Mapping
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.control import ControlPlane
from klantbeeld.identity.id_spaces import IdSpace
from klantbeeld.identity.preparation import ADDRESS_SQL
from klantbeeld.identity.profile_ids import IdCounts, assign_profile_ids, read_history

# Where a record is, as its standardised columns say; null where that is too little to find it.
ADDRESS: Final = f"country_code || '|' || {ADDRESS_SQL}"
DIGEST: Final = "count(*) || ':' || coalesce(bit_xor(digest), 0) || ':' || coalesce(sum(digest), 0)"


def read_kept(
    con: duckdb.DuckDBPyConnection, space: IdSpace, digest: str, state: str
) -> dict[str, Any] | None:
    """The report of the last outcome if nothing that it depends on has changed, else None.

    Args:
        con: The open build.
        space: What it is about.
        digest: Of the input and the method.
        state: The official ids' state.
    """
    report, changes = f"identity.{space.report_table}", f"identity.{space.name}_id_changes"
    try:
        rows = con.execute(f"from {report}").to_arrow_table().to_pylist()
    except duckdb.CatalogException:
        return None
    if not rows or rows[0]["input_digest"] != digest:
        return None
    kept: dict[str, Any] = rows[0]
    if state not in (kept["based_on"], kept["state_after"]):
        return None
    if state == kept["state_after"] and kept["based_on"] != state:
        # The ids of this build are official: there is nothing to tell any more.
        con.execute(f"delete from {changes}")
        con.execute(
            f"update {report} set based_on = state_after, created_ids = 0, retired_ids = 0, "
            "moved_members = 0"
        )
        kept |= {"based_on": state, "created_ids": 0, "retired_ids": 0, "moved_members": 0}
    return kept


def give_ids(
    own: duckdb.DuckDBPyConnection,
    space: IdSpace,
    members: pa.Array | pa.ChunkedArray,
    labels: np.ndarray[Any, Any],
    control: ControlPlane,
    key: bytes,
) -> tuple[IdCounts, str]:
    """Give every cluster its id.

    Makes in the engine what `assign_profile_ids` makes.

    Args:
        own: An engine of one's own.
        space: What the clusters are.
        members: What they are made of, by id.
        labels: Per member its cluster.
        control: The control plane; it is only read.
        key: The home's secret.

    Returns:
        What happened to ids, and the state that they were made from.
    """
    history = read_history(control, space)
    clusters = pa.table({"record_id": members, "cluster": labels})
    return assign_profile_ids(own, clusters, history, key, space), history.state


def replace_tables(
    con: duckdb.DuckDBPyConnection,
    own: duckdb.DuckDBPyConnection,
    space: IdSpace,
    tables: Mapping[str, str],
    report: Mapping[str, Any],
    *,
    digest: str,
    based_on: str,
) -> None:
    """Replace the tables of one kind of thing in schema `identity`, all or none.

    Args:
        con: The open build.
        own: The engine that holds what `give_ids` made.
        space: What the tables are about.
        tables: A query per table.
        report: The figures of the report; whole numbers and text.
        digest: Of the input and the method.
        based_on: The state that the ids were made from.
    """
    name, column, member = space.name, space.id_column, space.member
    row = own.execute(
        "select left(sha256(? || '|' || count(*) || '|' || "
        "coalesce(bit_xor(hash(record_id, profile_id)), 0)), 32) from assigned_records",
        [f"{based_on}|{digest}"],
    ).fetchone()
    state_after = f"{based_on.split(':', 1)[0]}:{row[0] if row else ''}"
    figures = {**report, "input_digest": digest, "based_on": based_on, "state_after": state_after}
    written = {
        **{table: own.execute(query).to_arrow_table() for table, query in tables.items()},
        f"current_{name}_ids": own.execute(
            f"select profile_id as {column}, current_profile_id as current_{column}, number, "
            "status from current_profile_ids"
        ).to_arrow_table(),
        f"{name}_id_changes": own.execute(
            f"select profile_id as {column}, event, other_profile_id as other_{column}, "
            f"record_id as {member} from profile_id_changes"
        ).to_arrow_table(),
        space.report_table: pa.Table.from_pylist([figures]),
    }
    con.execute("begin")
    try:
        con.execute("create schema if not exists identity")
        for table, rows in written.items():
            con.register("identity_table", rows)
            con.execute(f"create or replace table identity.{table} as from identity_table")
            con.unregister("identity_table")
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise
