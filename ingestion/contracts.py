"""How a raw table is described: keys, types, and what happens when the source changes.

A contract is data. Validation makes its SQL from it, dlt gets its hints from it, and the empty raw
tables that dbt may count on are made from it, so the three cannot disagree.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

DIGEST = "_row_digest"
LOADED_AT = "_loaded_at"
DELETED = "_is_deleted"
FILE = "_file"
LINE = "_line"

# What may stand between the fields of a line, and what such a file is called.
DELIMITERS = {
    ";": "semicolon-separated",
    ",": "comma-separated",
    "\t": "tab-separated",
    "|": "pipe-separated",
}
# Longest text of a column unless it says otherwise; far above any honest name or address.
MAX_BYTES = 4_000


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"
    MOMENT = "moment"  # a point in time, kept in UTC
    LOCAL_TIME = "local_time"  # date and time as on the wall of the shop; staging knows the zone
    DECIMAL = "decimal"


class Notation(StrEnum):
    """How a source writes dates and numbers as text."""

    ISO = "iso"  # 2026-03-01, 12.50
    DUTCH = "dutch"  # 01-03-2026, 12,50


class NewColumns(StrEnum):
    """What happens to a column that the contract does not know."""

    KEEP_OUT = "keep_out"  # not loaded; the report names it
    EVOLVE = "evolve"  # loaded as text under its own name; the report names it


@dataclass(frozen=True)
class Column:
    """One column of a raw table.

    Attributes:
        name: Its name in the raw table.
        kind: What it holds.
        origin: Its name at the source, if that is another.
        is_required: A row without it is quarantined.
        allowed: The only values a row may have, if they decide how the row is read.
        max_bytes: A longer value is quarantined.
        digits: Of a decimal: all digits, and those behind the point.
        not_in_future: A row in which it lies more than a day ahead is quarantined.
        derived: SQL over the other columns, for a value that the source does not send.
    """

    name: str
    kind: Kind = Kind.TEXT
    origin: str | None = None
    is_required: bool = False
    allowed: tuple[str, ...] = ()
    max_bytes: int = MAX_BYTES
    digits: tuple[int, int] = (12, 2)
    not_in_future: bool = False
    derived: str | None = None

    @property
    def source_name(self) -> str:
        """Its name at the source."""
        return self.origin or self.name

    @property
    def sql_type(self) -> str:
        """Its type in the warehouse."""
        return {
            Kind.TEXT: "varchar",
            Kind.INTEGER: "bigint",
            Kind.BOOLEAN: "boolean",
            Kind.DATE: "date",
            Kind.MOMENT: "timestamp with time zone",
            Kind.LOCAL_TIME: "timestamp",
            Kind.DECIMAL: f"decimal({self.digits[0]},{self.digits[1]})",
        }[self.kind]

    @property
    def hint(self) -> dict[str, Any]:
        """The same, as dlt wants to hear it."""
        hints: dict[Kind, dict[str, Any]] = {
            Kind.TEXT: {"data_type": "text"},
            Kind.INTEGER: {"data_type": "bigint"},
            Kind.BOOLEAN: {"data_type": "bool"},
            Kind.DATE: {"data_type": "date"},
            Kind.MOMENT: {"data_type": "timestamp", "timezone": True},
            Kind.LOCAL_TIME: {"data_type": "timestamp", "timezone": False},
            Kind.DECIMAL: {
                "data_type": "decimal",
                "precision": self.digits[0],
                "scale": self.digits[1],
            },
        }
        return {"name": self.name, **hints[self.kind]}


@dataclass(frozen=True)
class Table:
    """One raw table.

    Attributes:
        source: The source it comes from; its schema is `raw_<source>`.
        name: Its name.
        columns: What the source says of a row.
        key: The columns that make a row; without one of them a row is quarantined.
        cursor: The column that says when a row changed last: the latest of two rows wins, and an
            incremental reader asks the source for what came after.
        is_incremental: Whether the reader asks the source by that cursor.
        notation: How dates and numbers are written, where they come as text.
        delimiter: What stands between the fields of a line, if the files are lines of fields.
        new_columns: What happens to columns that are not in this contract.
        ignored: Columns of the source that are known and not wanted.
        is_sparse: Rows leave out what they have no value for, so an absent column says nothing.
        from_files: Rows carry the file and line they were read from (`_file`, `_line`).
        newest_wins: A row older than the one already loaded is dropped. Right for files, which may
            arrive in any order; wrong for a database, whose present state is the truth.
    """

    source: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    cursor: str | None = None
    is_incremental: bool = False
    notation: Notation = Notation.ISO
    delimiter: str = ";"
    new_columns: NewColumns = NewColumns.KEEP_OUT
    ignored: tuple[str, ...] = ()
    is_sparse: bool = False
    from_files: bool = False
    newest_wins: bool = False

    def __post_init__(self) -> None:
        names = {column.name for column in self.columns}
        unknown = ({*self.key} | ({self.cursor} if self.cursor else set())) - names
        if unknown or (self.is_incremental and not self.cursor):
            raise ValueError(f"{self.source}.{self.name}: no such column: {sorted(unknown)}")
        if self.delimiter not in DELIMITERS:
            raise ValueError(f"{self.source}.{self.name}: the delimiter is none of ; , | or a tab")

    @property
    def schema(self) -> str:
        """The schema in the warehouse."""
        return f"raw_{self.source}"

    @property
    def origin_columns(self) -> tuple[Column, ...]:
        """The columns that the source itself sends."""
        return tuple(column for column in self.columns if column.derived is None)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column of the raw table: the source's, and ours."""
        place = (Column(FILE), Column(LINE, Kind.INTEGER)) if self.from_files else ()
        ours = (
            Column(DIGEST),
            Column(LOADED_AT, Kind.MOMENT),
            Column(DELETED, Kind.BOOLEAN),
        )
        return (*self.columns, *place, *ours)

    @property
    def hints(self) -> dict[str, dict[str, Any]]:
        """Dlt's column hints."""
        hints = {column.name: column.hint for column in self.all_columns}
        for name in self.key:
            hints[name]["nullable"] = False
        hints[DELETED]["hard_delete"] = True
        return hints

    @property
    def ddl(self) -> str:
        """SQL that makes the raw table, empty."""
        columns = ", ".join(
            f'"{column.name}" {column.sql_type}{" not null" if column.name in self.key else ""}'
            for column in self.all_columns
        )
        return f'create table if not exists "{self.schema}"."{self.name}" ({columns})'


def landed_files(source: str) -> Table:
    """The table that says which landed files this build holds.

    It is loaded in the same package as their rows. The manifest in the control plane outlives the
    build, so it cannot say this: after the build is made anew, all landed files are to be read
    again.
    """
    return Table(
        source=source,
        name="landed_files",
        columns=(
            Column("name"),
            Column("digest"),
            Column("rows_read", Kind.INTEGER),
            Column("received_at", Kind.MOMENT),
        ),
        key=("name", "digest"),
    )
