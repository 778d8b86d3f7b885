"""The shop's tables: made, loaded through COPY, and changed by a day of business.

Flow: Arrow tables -> CSV bytes -> COPY -> `public.<table>`; changes go through a temporary table.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from demo.shop.server import READER, SUPERUSER

DATABASE = "shop"
#: In the order of their foreign keys.
TABLES = (
    "customers",
    "addresses",
    "categories",
    "products",
    "orders",
    "order_lines",
    "returns",
)
KEYS = {
    "customers": "customer_id",
    "addresses": "address_id",
    "categories": "category_id",
    "products": "product_id",
    "orders": "order_id",
    "order_lines": "order_line_id",
    "returns": "return_id",
}


@contextmanager
def connect(socket_folder: Path, database: str = DATABASE) -> Iterator[psycopg.Connection]:
    """A connection as the superuser; committed when all went well."""
    with psycopg.connect(
        host=str(socket_folder), dbname=database, user=SUPERUSER, connect_timeout=10
    ) as connection:
        yield connection


def create(socket_folder: Path, password: str) -> None:
    """Make the database anew, with empty tables and the pipeline's role."""
    with psycopg.connect(
        host=str(socket_folder), dbname="postgres", user=SUPERUSER, autocommit=True
    ) as server:
        server.execute(f"drop database if exists {DATABASE} with (force)")
        server.execute(f"drop role if exists {READER}")
        server.execute(f"create database {DATABASE} template template0")
        server.execute(sql.SQL("create role {} login").format(sql.Identifier(READER)))
    set_password(socket_folder, password)
    with connect(socket_folder) as connection:
        connection.execute(_script("schema.sql"))
        connection.execute(
            f"""
            revoke all on schema public from public;
            grant usage on schema public to {READER};
            grant select on all tables in schema public to {READER};
            alter default privileges in schema public grant select on tables to {READER};
            """
        )


def set_password(socket_folder: Path, password: str) -> None:
    """Give the pipeline's role its password."""
    with connect(socket_folder, "postgres") as connection:
        connection.execute(
            sql.SQL("alter role {} password {}").format(
                sql.Identifier(READER), sql.Literal(password)
            )
        )


def load(socket_folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """Add rows to empty or growing tables, through COPY."""
    with connect(socket_folder) as connection:
        for name in TABLES:
            if name in tables and tables[name].num_rows:
                _copy(connection, name, tables[name])


def add_constraints(socket_folder: Path) -> None:
    """Keys, foreign keys and indexes: after the first load, when they cost a tenth."""
    with connect(socket_folder) as connection:
        connection.execute(_script("constraints.sql"))


def upsert(connection: psycopg.Connection, name: str, table: pa.Table) -> None:
    """Insert rows, or change the given columns of those that are there."""
    if not table.num_rows:
        return
    _stage(connection, name, table)
    key = KEYS[name]
    columns = [sql.Identifier(column) for column in table.column_names]
    changes = [
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column))
        for column in table.column_names
        if column != key
    ]
    connection.execute(
        sql.SQL("insert into {} ({}) select {} from {} on conflict ({}) do update set {}").format(
            sql.Identifier(name),
            sql.SQL(", ").join(columns),
            sql.SQL(", ").join(columns),
            sql.Identifier(f"staged_{name}"),
            sql.Identifier(key),
            sql.SQL(", ").join(changes),
        )
    )


def update(connection: psycopg.Connection, name: str, table: pa.Table, key: str) -> None:
    """Change the given columns of the rows with these keys (any column may be the key)."""
    if not table.num_rows:
        return
    _stage(connection, name, table)
    connection.execute(
        sql.SQL("update {} as kept set {} from {} as staged where staged.{} = kept.{}").format(
            sql.Identifier(name),
            sql.SQL(", ").join(
                sql.SQL("{0} = staged.{0}").format(sql.Identifier(column))
                for column in table.column_names
                if column != key
            ),
            sql.Identifier(f"staged_{name}"),
            sql.Identifier(key),
            sql.Identifier(key),
        )
    )


def delete_customers(connection: psycopg.Connection, customer_ids: Sequence[int]) -> None:
    """Delete customers with their addresses; those who have ordered stay."""
    connection.execute(
        """
        delete from customers
        where customer_id = any(%s)
            and not exists (select from orders where orders.customer_id = customers.customer_id)
        """,
        [list(customer_ids)],
    )


def fetch(connection: psycopg.Connection, query: str, schema: pa.Schema) -> pa.Table:
    """The rows of a query as Arrow, through COPY."""
    buffer = io.BytesIO()
    with connection.cursor().copy(f"copy ({query}) to stdout (format csv)".encode()) as copy:
        for block in copy:
            buffer.write(block)
    if not buffer.tell():
        return schema.empty_table()
    buffer.seek(0)
    return csv.read_csv(
        buffer,
        read_options=csv.ReadOptions(column_names=schema.names),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )


def _script(name: str) -> bytes:
    return (Path(__file__).parent / name).read_bytes()


def _stage(connection: psycopg.Connection, name: str, table: pa.Table) -> None:
    staged = sql.Identifier(f"staged_{name}")
    connection.execute(sql.SQL("drop table if exists {}").format(staged))
    connection.execute(
        sql.SQL("create temporary table {} on commit drop as select {} from {} limit 0").format(
            staged,
            sql.SQL(", ").join(sql.Identifier(column) for column in table.column_names),
            sql.Identifier(name),
        )
    )
    _copy(connection, f"staged_{name}", table)


def _copy(connection: psycopg.Connection, name: str, table: pa.Table) -> None:
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        sql.Identifier(name),
        sql.SQL(", ").join(sql.Identifier(column) for column in table.column_names),
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in table.to_batches(max_chunksize=50_000):
            buffer = io.BytesIO()
            csv.write_csv(batch, buffer, csv.WriteOptions(include_header=False))
            copy.write(buffer.getbuffer())
