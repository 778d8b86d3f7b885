"""Reading the shop's tables through dlt's `sql_database`, and seeing what was deleted.

Every column is asked for as text. The contract gives it its type, so that one value that PostgreSQL
allows and nobody expects (a date `infinity`, a number `NaN`) costs one row and not the table.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from ingestion.contracts import Table
from ingestion.intake import SourceUnavailable, TableLoad
from ingestion.sources.shop.settings import ShopSettings
from klantbeeld.errors import KlantbeeldError

CHUNK_ROWS = 50_000
_CONNECT_ATTEMPTS = 3
_CONNECT_SECONDS = 10


class Shop:
    """The shop's database, open for reading during one load."""

    def __init__(self, config: ShopSettings) -> None:
        self._config = config
        self._engine = _engine(config)
        self._columns: dict[str, list[str]] | None = None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def read(self, load: TableLoad) -> None:
        """Rows changed since the last load, and the keys of those that are gone."""
        with _told(self._config, load.table):
            self._read_changes(load)
            self._read_deletions(load)

    def _read_changes(self, load: TableLoad) -> None:
        from dlt.sources.sql_database import sql_table

        name = load.table.name
        schema = self._config.database_schema
        columns = self._columns_of(name)
        cursor = load.table.cursor
        if cursor not in columns:
            raise KlantbeeldError(
                f"{name}: the source no longer has {cursor}, by which changes are found",
                "If it was renamed, set `cursor` in ingestion/sources/shop/contracts.py.",
            )
        metadata = sa.MetaData(schema=schema)
        sa.Table(name, metadata, *(sa.Column(column, sa.Text) for column in columns))
        pages = sql_table(
            self._engine,
            table=name,
            metadata=metadata,
            backend="pyarrow",
            chunk_size=CHUNK_ROWS,
            query_adapter_callback=_as_text(load),
        )
        for page in pages:
            load.rows.add_rows(page)

    def _read_deletions(self, load: TableLoad) -> None:
        name, (key,) = load.table.name, load.table.key
        table = sa.table(name, sa.column(key), schema=self._config.database_schema)
        column = sa.cast(table.c[key], sa.Numeric)
        with self._engine.connect() as connection:
            count, total, squares = connection.execute(
                sa.select(
                    sa.func.count(),
                    sa.func.coalesce(sa.func.sum(column), 0),
                    sa.func.coalesce(sa.func.sum(column * column), 0),
                ).select_from(table)
            ).one()
            if (int(count), int(total), int(squares)) == load.rows.fingerprint(key):
                return
        import pyarrow as pa
        from dlt.sources.sql_database import sql_table

        metadata = sa.MetaData(schema=self._config.database_schema)
        sa.Table(name, metadata, sa.Column(key, sa.BigInteger))
        pages = list(
            sql_table(
                self._engine,
                table=name,
                metadata=metadata,
                backend="pyarrow",
                chunk_size=CHUNK_ROWS * 10,
            )
        )
        empty = pa.table({key: pa.array([], pa.int64())})
        load.rows.keep_only(pa.concat_tables(pages) if pages else empty)

    def _columns_of(self, name: str) -> list[str]:
        if self._columns is None:
            self._columns = {}
            with self._engine.connect() as connection:
                found = connection.execute(
                    sa.text(
                        "select c.relname, a.attname from pg_class c"
                        " join pg_namespace n on n.oid = c.relnamespace"
                        " join pg_attribute a on a.attrelid = c.oid"
                        " where n.nspname = :schema and c.relkind in ('r', 'v', 'm', 'p', 'f')"
                        " and a.attnum > 0 and not a.attisdropped order by a.attnum"
                    ),
                    {"schema": self._config.database_schema},
                )
                for table, column in found.tuples():
                    self._columns.setdefault(str(table), []).append(str(column))
        if name not in self._columns:
            raise KlantbeeldError(
                f"{name}: there is no such table in schema {self._config.database_schema}",
                "If it was renamed or removed, change ingestion/sources/shop/contracts.py.",
            )
        return self._columns[name]


def _as_text(load: TableLoad) -> Callable[..., Any]:
    """Ask for every column as text, and only for rows that changed since."""

    def adapt(query: Any, table: Any, *_: Any) -> Any:
        del query
        chosen = sa.select(*(sa.cast(column, sa.Text).label(column.name) for column in table.c))
        if load.since is not None and load.table.cursor is not None:
            cursor = sa.type_coerce(table.c[load.table.cursor], sa.DateTime(timezone=True))
            chosen = chosen.where(cursor >= load.since)
        return chosen

    return adapt


def _engine(config: ShopSettings) -> sa.Engine:
    in_folder = config.host.startswith("/")
    url = sa.URL.create(
        "postgresql+psycopg",
        username=config.user,
        password=config.password.get_secret_value() or None,
        host=None if in_folder else config.host,
        port=None if in_folder else config.port,
        database=config.database,
        query={"host": config.host, "port": str(config.port)} if in_folder else {},
    )
    # ISO and UTC whatever the role's own settings are: the contract reads text.
    options = (
        "-c timezone=UTC -c datestyle=ISO,YMD -c default_transaction_read_only=on"
        f" -c statement_timeout={config.statement_seconds * 1000}"
    )
    return sa.create_engine(
        url, connect_args={"connect_timeout": _CONNECT_SECONDS, "options": options}
    )


@contextmanager
def _told(config: ShopSettings, table: Table) -> Iterator[None]:
    """Turn the database's errors into what a person can act on; its own words may hold values."""
    try:
        yield
    except Exception as error:
        found = _database_error(error)
        if found is None:
            raise
        raise _explain(found, config, table) from None


def _database_error(error: BaseException | None) -> sa.exc.DBAPIError | None:
    while error is not None:
        if isinstance(error, sa.exc.DBAPIError):
            return error
        error = error.__cause__
    return None


def _explain(error: sa.exc.DBAPIError, config: ShopSettings, table: Table) -> KlantbeeldError:
    state = getattr(error.orig, "sqlstate", None) or ""
    # A refused connection carries no state, only words.
    words = str(error.orig) if not state else ""
    if state in ("28P01", "28000") or "authentication failed" in words or "no password" in words:
        return SourceUnavailable(
            f"shop: PostgreSQL does not accept the password of user {config.user}",
            "Check `password` in [sources.shop] of secrets.toml.",
        )
    if state == "3D000" or ("database" in words and "does not exist" in words):
        return SourceUnavailable(
            f"shop: there is no database {config.database}", "Check [sources.shop]."
        )
    if state == "42501":
        return KlantbeeldError(
            f"{table.name}: user {config.user} may not read it",
            f"grant select on {config.database_schema}.{table.name} to {config.user};",
        )
    if state == "57014":
        return KlantbeeldError(
            f"{table.name}: a query took longer than {config.statement_seconds} s and was stopped",
            "An index on updated_at helps; or raise statement_seconds in [sources.shop].",
        )
    if isinstance(error, sa.exc.OperationalError):
        return SourceUnavailable(
            f"shop: PostgreSQL cannot be reached at {config.host} ({state or 'no connection'})",
            "Is it running? The next run loads what this one could not.",
        )
    return KlantbeeldError(
        f"{table.name}: PostgreSQL refused the query ({state or type(error.orig).__name__})",
        "Compare the table with ingestion/sources/shop/contracts.py.",
    )


def connect(config: ShopSettings, tables: tuple[Table, ...]) -> Shop:
    """Open the database; a start-up or a short absence is waited for.

    Raises:
        SourceUnavailable: It cannot be reached, or refuses us.
    """
    shop = Shop(config)
    for attempt in range(1, _CONNECT_ATTEMPTS + 1):
        try:
            with _told(config, tables[0]), shop._engine.connect():
                return shop
        except SourceUnavailable as error:
            if attempt == _CONNECT_ATTEMPTS or "cannot be reached" not in error.message:
                shop.close()
                raise
            time.sleep(0.5 * attempt)
    raise AssertionError("unreachable")
