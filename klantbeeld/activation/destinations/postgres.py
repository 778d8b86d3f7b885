"""A table in PostgreSQL.

    operations -> one transaction: delete, update, insert … on conflict, each one statement over the
    whole batch -> returning the keys -> commit -> outcomes

Rows go as one JSON parameter and are typed by the table's own columns. A statement that fails is
tried again on halves of its rows, each behind a savepoint, until the row that spoils it stands
alone: the others are written in the same transaction. Nothing is acknowledged before the commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import Field, SecretStr

from klantbeeld.activation.destinations import EXISTS, MISSING, NUMBERS, RowRefused, require_fit
from klantbeeld.activation.destinations.answers import as_text, comparable_text
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import AuthenticationFailed, StatusError, Traffic, TransportError
from klantbeeld.settings import DestinationSettings, Settings

_PAGE_ROWS = 5_000
_MOST_DIGITS = 20_000  # on either side of the point, of a number in PostgreSQL
_KEY_NAME = "klantbeeld key"  # beside the table's own columns; none of them has a name like this
_KEY_TEXT = sql.Identifier(_KEY_NAME)
_SOURCE = sql.SQL("jsonb_to_recordset(%(rows)s::jsonb) as source({key_text} text, {columns})")
_DELETE = sql.SQL(
    "delete from {table} as target using {source}"
    " where target.{key} = source.{key} returning source.{key_text} as key"
)
_UPDATE = sql.SQL(
    "update {table} as target set {assigned} from {source}"
    " where target.{key} = source.{key} returning source.{key_text} as key"
)
_INSERT = sql.SQL(
    "with source as materialized (select * from {source}), written as ("
    "insert into {table} ({names}) select {names} from source"
    " on conflict ({key}) do {do} returning {key})"
    " select source.{key_text} as key from source join written using ({key})"
)
_LOGIN_STATES = ("28", "3D")  # refused login, no such database
_LOGIN_WORDS = ("authentication failed", "no password supplied", 'role "', 'database "')
# Rolled back by the server, and not for the rows' sake: deadlock, lock or statement time-out.
_TIMED_OUT = "57014"
_PASSING_STATES = ("40", "55P03", _TIMED_OUT)
# What one row can do to a whole statement.
_SPOILT = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.CardinalityViolation,  # two keys that are one in the column's type
    psycopg.errors.RaiseException,
)
_SCALE = re.compile(r"numeric\([0-9]+,([0-9]+)\)")

# Which SQL types of a model may be written to a column, by its category in pg_type.
_ACCEPTED: dict[str, tuple[str, ...]] = {
    "N": NUMBERS,
    "B": ("BOOLEAN",),
    "D": ("DATE", "TIMESTAMP", "TIME"),
    "S": ("VARCHAR", "UUID", "BOOLEAN", "DATE", "TIMESTAMP", *NUMBERS),
    "A": (),
}
_OTHERWISE = ("VARCHAR", "UUID")


class PostgresSettings(DestinationSettings):
    """A `[destinations.<name>]` section of this kind.

    Attributes:
        host: A host name, or the folder of its socket.
        port: Its port; for a socket it is part of the socket's name.
        database: The database.
        user: A role that may read and write the tables, and nothing else.
        password: Its password; belongs in secrets.toml.
        ssl_mode: How far the server's certificate is trusted, as libpq has it.
        ssl_root_certificate: The file of authorities; `system` for those of the machine.
        timeout_seconds: The longest that one statement may take.
    """

    kind: Literal["postgres"]
    host: str
    port: int = Field(5432, ge=1, le=65535)
    database: str
    user: str
    password: SecretStr = SecretStr("")
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    ssl_root_certificate: str = "system"
    timeout_seconds: int = Field(120, ge=1)


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        type: Its type, as it is written.
        category: The category of its type in pg_type: N is a number, S a text.
        is_writable: Whether it takes a value and we may give one.
        is_unique: Whether a unique index is on it alone.
    """

    type: str
    category: str
    is_writable: bool
    is_unique: bool

    @property
    def scale(self) -> int | None:
        """Digits behind the point that it keeps; None if that is not limited."""
        found = _SCALE.fullmatch(self.type)
        return None if found is None else int(found[1])

    @property
    def is_json(self) -> bool:
        """Whether its values are documents."""
        return self.type in ("json", "jsonb")

    def encoded(self, value: Any) -> Any:
        """A value as the parameter has it.

        Raises:
            RowRefused: It is no document, for a column of documents.
        """
        if value is None:
            return None
        if self.is_json:
            try:
                return json.loads(as_text(value))
            except ValueError:
                raise RowRefused(f"a value is no {self.type}") from None
        if self.scale is not None and isinstance(value, Decimal | float | int):
            # To what the column keeps: rounded there, it would not be what was sent.
            return format(round(Decimal(str(value)), self.scale), "f")
        return as_text(value)

    def comparable(self, value: Any) -> str | None:
        """A value of the parameter, or one read back, as the text in which it is the same."""
        if value is None:
            return None
        if self.is_json:
            document = json.loads(value) if isinstance(value, str) else value
            return json.dumps(document, sort_keys=True)
        text = as_text(value)
        if self.type == "uuid":
            try:
                return str(UUID(text))
            except ValueError:
                return text
        if self.category == "N":
            try:
                number = Decimal(text)
            except ArithmeticError:
                return text
            # A column of numbers keeps neither leading zeros nor exponents; no column has more
            # digits, and an exponent could ask for any number of them.
            is_short = number.is_finite() and abs(number.adjusted()) < _MOST_DIGITS
            return comparable_text(format(number, "f")) if is_short else text
        return text if self.category == "S" else comparable_text(text)


class Postgres:
    """One table, as the destination of one sync. Its entity is `table` or `schema.table`."""

    settings_type = PostgresSettings
    largest_batch = 1_000
    is_readable = True
    is_idempotent = True
    wants_whole_rows = False
    refuses_existing = True

    def __init__(self, settings: Settings, spec: SyncSpec) -> None:
        self._own = settings.destination(spec.destination, self.settings_type)
        self._spec = spec
        schema, _, table = spec.entity.rpartition(".")
        self._schema, self._name = schema or "public", table
        self._table = sql.Identifier(self._schema, self._name)
        self._key = sql.Identifier(spec.key_column)
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._columns: dict[str, Column] = {}
        self.traffic = Traffic()

    # ---- what the database has -----------------------------------------------------------------

    def check(self, types: Mapping[str, str]) -> None:
        """Compare the sync with the table; see `RecordDestination.check`."""
        self._describe()
        require_fit(self._spec, self._problems(types), "the table")

    def _problems(self, types: Mapping[str, str]) -> Iterator[str]:
        key = self._columns.get(self._spec.key_column)
        if key is not None and not key.is_unique:
            yield f"{self._spec.key_column} has no unique index of its own"
        for model, column in self._spec.columns.items():
            found = self._columns.get(column)
            if found is None:
                yield f"it has no column {column}"
                continue
            if not found.is_writable:
                yield f"{column} cannot be written by {self._own.user}"
            if model == self._spec.key:
                continue  # keys travel as text: one that does not fit is refused by itself
            if not types[model].startswith(_ACCEPTED.get(found.category, _OTHERWISE)):
                yield f"{column} is {found.type}, {model} is {types[model]}"
        connection = self._connected()
        row = connection.execute(
            "select has_table_privilege(%(t)s::regclass, 'select') as may_read,"
            " has_table_privilege(%(t)s::regclass, 'delete') as may_delete",
            {"t": self._table.as_string(connection)},
        ).fetchone()
        if row is not None and not row["may_read"]:
            yield f"{self._own.user} may not read it"
        if row is not None and self._spec.deletes_rows and not row["may_delete"]:
            yield f"{self._own.user} may not delete from it (grant it, or set on_leave: clear)"

    def _describe(self) -> None:
        """Read the table's columns, once."""
        if self._columns:
            return
        connection = self._connected()
        rows = connection.execute(
            """
            select
                a.attname as name,
                format_type(a.atttypid, a.atttypmod) as type,
                t.typcategory::text as category,
                a.attgenerated = '' and a.attidentity <> 'a'
                    and has_column_privilege(c.oid, a.attnum, 'insert')
                    and has_column_privilege(c.oid, a.attnum, 'update') as is_writable,
                exists (
                    select from pg_index as i
                    where i.indrelid = c.oid and i.indisunique and i.indpred is null
                        and i.indisvalid and i.indkey::text = a.attnum::text
                ) as is_unique
            from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            join pg_attribute as a on a.attrelid = c.oid
            join pg_type as t on t.oid = a.atttypid
            where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped
            """,
            (self._schema, self._name),
        ).fetchall()
        if not rows:
            raise KlantbeeldError(
                f"{self._spec.name}: there is no table {self._schema}.{self._name}",
                "Make it, or correct meta.sync.entity; nothing was sent.",
            )
        self._columns = {row.pop("name"): Column(**row) for row in rows}

    # ---- rows out ------------------------------------------------------------------------------

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values as texts, to which the table gives their type; see `RecordDestination.encode`."""
        self._describe()
        return {column: self._columns[column].encoded(value) for column, value in values.items()}

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Write a batch in one transaction; see `RecordDestination.write`."""
        self._describe()
        outcomes: dict[str, Outcome] = {}
        is_committing = False
        try:
            connection = self._connected()
            with connection.transaction():
                for run in self._runs(operations):
                    outcomes |= self._attempt(connection, *run)
                is_committing = True
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if (error.sqlstate or "").startswith(_PASSING_STATES):
                return {op.op_id: Outcome("pending", error.sqlstate) for op in operations}
            raise self._lost(was_sent=is_committing) from None
        except psycopg.IntegrityError as error:
            raise StatusError(  # of a deferred constraint: the engine looks for the row
                f"PostgreSQL refused a batch for {self._spec.entity} ({_reason(error)}).",
                status=422,
            ) from None
        except psycopg.ProgrammingError as error:
            raise AuthenticationFailed(
                f"PostgreSQL does not let {self._own.user} write {self._spec.entity}"
                f" ({_reason(error)}).",
                hint="Compare the table and its grants with meta.sync of the model.",
            ) from None
        return outcomes

    def _runs(self, operations: Sequence[Operation]) -> Iterator[tuple[Any, list[Operation]]]:
        """Operations that one statement can do, deletes first: they may free a unique value."""
        groups: dict[tuple[str, bool, tuple[str, ...]], list[Operation]] = {}
        for operation in operations:
            name = (operation.kind, operation.must_be_new, tuple(sorted(operation.body)))
            groups.setdefault(name, []).append(operation)
        for name in sorted(groups, key=lambda name: (name[0] != "delete", name[0] != "update")):
            kind, must_be_new, columns = name
            yield self._statement(kind, must_be_new, columns), groups[name]

    def _attempt(
        self, connection: psycopg.Connection[Any], statement: sql.Composed, rows: list[Operation]
    ) -> dict[str, Outcome]:
        """Run a statement on rows; on their halves if it cannot be done for all of them."""
        records = [{_KEY_NAME: row.key, self._spec.key_column: row.key, **row.body} for row in rows]
        try:
            with connection.transaction():
                self.traffic.requests += 1
                found = connection.execute(statement, {"rows": json.dumps(records)}).fetchall()
        except _SPOILT as error:
            is_double = isinstance(error, psycopg.errors.CardinalityViolation) and len(rows) == 2
            if (
                len(rows) == 1 or is_double
            ):  # neither of two rows that are one here is the right one
                return {row.op_id: Outcome("rejected", _reason(error)) for row in rows}
            middle = len(rows) // 2
            halves = (rows[:middle], rows[middle:])
            first, second = (self._attempt(connection, statement, half) for half in halves)
            return first | second
        done = {row["key"] for row in found}
        return {row.op_id: self._outcome(row, row.key in done) for row in rows}

    def _outcome(self, operation: Operation, is_done: bool) -> Outcome:
        if is_done:
            return Outcome("acknowledged")
        if operation.kind == "delete":
            return Outcome("acknowledged", "was gone already")
        if operation.kind == "update":
            return Outcome(MISSING)
        # A trigger can take a row away without an error.
        return Outcome(EXISTS) if operation.must_be_new else Outcome("rejected", "not inserted")

    def _statement(self, kind: str, must_be_new: bool, columns: Sequence[str]) -> sql.Composed:
        names = [sql.Identifier(column) for column in columns]
        record = [
            sql.SQL("{} {}").format(sql.Identifier(column), self._type(column))
            for column in (self._spec.key_column, *columns)
        ]
        template = {"delete": _DELETE, "update": _UPDATE, "create": _INSERT}[kind]
        newest = "excluded" if kind == "create" else "source"
        # A row with a key alone is assigned its key: the statement must assign something.
        assigned = sql.SQL(", ").join(
            sql.SQL("{0} = {1}.{0}").format(name, sql.SQL(newest)) for name in names or [self._key]
        )
        return template.format(
            table=self._table,
            source=_SOURCE.format(key_text=_KEY_TEXT, columns=sql.SQL(", ").join(record)),
            names=sql.SQL(", ").join([self._key, *names]),
            key=self._key,
            key_text=_KEY_TEXT,
            assigned=assigned,
            do=sql.SQL("nothing") if must_be_new else sql.SQL("update set {}").format(assigned),
        )

    # ---- rows back -----------------------------------------------------------------------------

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the table holds, as texts by key; see `RecordDestination.read`."""
        self._describe()
        key_type = self._type(self._spec.key_column)
        asked = list(keys)
        query = sql.SQL(
            "select source.key as {}, {} from unnest(%(keys)s::text[]) as source(key)"
            " join {} as target on target.{} = source.key::{}"
        ).format(_KEY_TEXT, self._selected(columns), self._table, self._key, key_type)
        try:
            return self._rows(query, {"keys": asked})
        except psycopg.DataError:
            # A key that cannot be of the column's type: the table does not hold it, nor do the
            # other keys wait for it.
            if len(asked) < 2:
                return {}
            middle = len(asked) // 2
            return self.read(asked[:middle], columns) | self.read(asked[middle:], columns)

    def read_all(self, columns: Iterable[str]) -> Iterator[dict[str, dict[str, Any]]]:
        """Every row, in pages in order of the key; see `InspectableDestination.read_all`."""
        self._describe()
        query = sql.SQL(
            "select target.{key}::text as {name}, {selected} from {table} as target"
            " where target.{key} is not null and (%(after)s::text is null"
            " or target.{key} > (%(after)s::text)::{type}) order by target.{key} limit %(rows)s"
        ).format(
            key=self._key,
            name=_KEY_TEXT,
            selected=self._selected(columns),
            table=self._table,
            type=self._type(self._spec.key_column),
        )
        after: str | None = None
        while page := self._rows(query, {"after": after, "rows": _PAGE_ROWS}):
            yield page
            after = next(reversed(page))

    def _type(self, column: str) -> sql.SQL:
        """A column's type: text of the catalogue, quoted there as needed."""
        return sql.SQL(self._columns[column].type)

    def _selected(self, columns: Iterable[str]) -> sql.Composed:
        # A column that the table has lost since it was sent cannot be read, and proves nothing.
        names = {self._spec.key_column, *columns} & set(self._columns)
        return sql.SQL(", ").join(
            sql.SQL("target.{0}::text as {0}").format(sql.Identifier(name))
            for name in sorted(names)
        )

    def _rows(
        self, query: sql.Composed, parameters: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        self.traffic.requests += 1
        try:
            rows = self._connected().execute(query, parameters).fetchall()
        except psycopg.DataError:
            raise
        except psycopg.Error as error:
            raise self._lost(was_sent=True, state=error.sqlstate) from None
        return {row.pop(_KEY_NAME): row for row in rows}

    def comparable(self, values: Mapping[str, Any]) -> dict[str, str | None]:
        """Values as texts by column, where empty is not null; see `InspectableDestination`."""
        self._describe()
        return {
            column: self._columns[column].comparable(value)
            for column, value in values.items()
            if column in self._columns
        }

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Whether the table holds what an operation sent; see `RecordDestination.holds`."""
        if operation.kind == "delete":
            return found is None
        return found is not None and (
            self.comparable(operation.body).items() <= self.comparable(found).items()
        )

    # ---- the connection ------------------------------------------------------------------------

    def _connected(self) -> psycopg.Connection[dict[str, Any]]:
        """The connection; another one when it broke."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> psycopg.Connection[dict[str, Any]]:
        own = self._own
        in_folder = own.host.startswith("/")
        try:
            return psycopg.connect(
                host=own.host,
                port=own.port,
                dbname=own.database,
                user=own.user,
                password=own.password.get_secret_value() or None,
                sslmode="disable" if in_folder else own.ssl_mode,
                sslrootcert=None if in_folder else own.ssl_root_certificate,
                connect_timeout=10,
                application_name="klantbeeld",
                options=(
                    "-c timezone=UTC -c datestyle=ISO,YMD"
                    f" -c statement_timeout={own.timeout_seconds * 1000}"
                ),
                autocommit=True,
                row_factory=dict_row,
            )
        except psycopg.OperationalError as error:
            # A refused connection carries no state, only words.
            if (error.sqlstate or "").startswith(_LOGIN_STATES) or any(
                word in str(error) for word in _LOGIN_WORDS
            ):
                raise AuthenticationFailed(
                    f"PostgreSQL at {own.host} does not accept {own.user} for {own.database}.",
                    hint=f"Check user, password and database of destinations"
                    f".{self._spec.destination}.",
                ) from None
            raise self._lost(was_sent=False) from None

    def _lost(self, *, was_sent: bool, state: str | None = None) -> TransportError:
        if state == _TIMED_OUT:
            return TransportError(
                f"PostgreSQL at {self._own.host} did not answer within {self._own.timeout_seconds}"
                " s.",
                hint="Does somebody lock the table? Else raise timeout_seconds of the destination.",
                was_sent=was_sent,
            )
        what = "broke before it answered" if was_sent else "could not be used"
        return TransportError(
            f"The connection to PostgreSQL at {self._own.host} {what}.",
            hint="Check that the database runs; the next run tries again.",
            was_sent=was_sent,
        )


def _reason(error: psycopg.Error) -> str:
    """The error's state and the names it is about: its text repeats values."""
    told = error.diag
    parts = (error.sqlstate, told.constraint_name, told.column_name)
    return " ".join(part for part in parts if part)
