"""The landing border: what every raw table must be, and what would be strange, after a load.

raw_<source>.<table> -> figures, one row per table -> suite -> BorderResult
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from klantbeeld.quality.borders import BorderResult, Rule, Severity, check_frame

RULES = (
    Rule("empty_keys", Severity.BLOCKS, "a key in every row", maximum=0),
    Rule("double_keys", Severity.BLOCKS, "each key once", maximum=0),
    Rule("missing_columns", Severity.BLOCKS, "every column of the contract", maximum=0),
    Rule("rows", Severity.WARNS, "at least one row", minimum=1),
    Rule("rows_not_stamped", Severity.WARNS, "the time of loading in every row", maximum=0),
    Rule("share_loaded_later", Severity.WARNS, "no row loaded in the future", maximum=0),
)


@dataclass(frozen=True)
class RawTable:
    """A raw table as the landing suite knows it."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


def check_landing(
    con: duckdb.DuckDBPyConnection, source: str, tables: Sequence[RawTable]
) -> BorderResult:
    """Check the tables of one source.

    Args:
        con: The build.
        source: The source; its tables are in the schema `raw_<source>`.
        tables: The tables.
    """
    schema = f"raw_{source}"
    present = con.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = $schema",
        {"schema": schema},
    ).fetchall()
    columns_of: dict[str, set[str]] = {}
    for table_name, column_name in present:
        columns_of.setdefault(table_name, set()).add(column_name)
    parts = [_figures_sql(schema, table, columns_of.get(table.name, set())) for table in tables]
    frame = con.execute(" union all ".join(parts)).df()
    return check_frame(f"landing_{source}", frame, RULES)


def _figures_sql(schema: str, table: RawTable, present: set[str]) -> str:
    missing = len(set(table.columns) - present)
    subject = f"'{schema}.{table.name}'"
    if not present or not set(table.key) <= present:
        return (
            f"select {subject} as subject, {missing} as missing_columns, 0 as rows, "
            "0 as empty_keys, 0 as double_keys, 0 as rows_not_stamped, 0 as share_loaded_later"
        )
    key = ", ".join(f'"{column}"' for column in table.key)
    is_empty = " or ".join(f'"{column}" is null' for column in table.key)
    stamp = "_loaded_at" if "_loaded_at" in present else "null::timestamptz"
    return f"""
        select
            {subject} as subject,
            {missing} as missing_columns,
            count(*) as rows,
            count(*) filter (where {is_empty}) as empty_keys,
            count(*) - (select count(*) from (select distinct {key} from "{schema}"."{table.name}"))
                as double_keys,
            count(*) filter (where {stamp} is null) as rows_not_stamped,
            coalesce(avg(({stamp} > now() + interval 1 hour)::int), 0) as share_loaded_later
        from "{schema}"."{table.name}"
    """
