"""Till files out of receipt lines and members.

Flow: typed Arrow tables -> lines by SQL -> one file per store and day (older: per store and month).
"""

from __future__ import annotations

import datetime as dt
import zlib
from pathlib import Path
from typing import Final

import pyarrow as pa

from demo import names
from demo.files import Writer, slices
from demo.people import HISTORY_DAYS, WORLD_START, connect

#: A file per store and day for this many days; before that a file per store and month.
DAILY_DAYS: Final = 60
OLD_TILLS: Final = "103"

RECEIPT_COLUMNS: Final = (
    "bonnummer",
    "regel",
    "filiaal",
    "kassa",
    "datum",
    "tijd",
    "klantkaart",
    "artikel",
    "omschrijving",
    "aantal",
    "prijs",
    "korting",
    "bedrag",
    "betaalwijze",
    "soort",
)
MEMBER_COLUMNS: Final = (
    "kaartnummer",
    "voorletters",
    "voornaam",
    "tussenvoegsel",
    "achternaam",
    "geslacht",
    "geboortedatum",
    "straat",
    "huisnummer",
    "toevoeging",
    "postcode",
    "plaats",
    "telefoon",
    "email",
    "aanmelddatum",
    "mailing",
    "post",
    "gewijzigd",
)


def write_receipts(folder: Path, lines: pa.Table, today: dt.date, write: Writer) -> int:
    """Write receipt lines to the files they belong in; gives the number of files."""
    return _write(folder, "receipts", lines, RECEIPT_COLUMNS, "filiaal", "datum", today, write)


def write_members(folder: Path, members: pa.Table, today: dt.date, write: Writer) -> int:
    """Write card holders to the file of the day they changed last; gives the number of files."""
    stores = pa.array([code for code, _ in names.STORES])
    store = stores.take(members["store"].combine_chunks())
    return _write(
        folder,
        "members",
        members.append_column("filiaal", store),
        MEMBER_COLUMNS,
        "filiaal",
        "cast(gewijzigd as date)",
        today,
        write,
    )


def is_latin(name: str, store: str) -> bool:
    """Whether a file comes from an old till."""
    return store == OLD_TILLS or zlib.crc32(name.encode()) % 11 == 0


def _write(
    folder: Path,
    kind: str,
    table: pa.Table,
    columns: tuple[str, ...],
    store: str,
    day: str,
    today: dt.date,
    write: Writer,
) -> int:
    con = connect()
    con.register("rows_to_write", table)
    fields = ", ".join(_field(table.schema.field(name)) for name in columns)
    daily_from = (today - dt.timedelta(days=DAILY_DAYS)).isoformat()
    # Cards older than the tills came with the first file.
    first = (WORLD_START - dt.timedelta(days=HISTORY_DAYS)).isoformat()
    drawn = con.execute(
        f"""
        with placed as (
            select
                *,
                row_number() over () as place,
                {store} as file_store,
                if(
                    {day} >= date '{daily_from}',
                    {day},
                    date_trunc('month', greatest({day}, date '{first}'))
                ) as file_day,
            from rows_to_write
        )

        select
            file_store || '/{kind}_' || file_store || '_' || strftime(file_day, '%Y%m%d') || '.csv'
                as file,
            array_to_string([{fields}], ';') || chr(10) as line,
        from placed
        order by file, place
        """
    ).to_arrow_table()
    con.close()
    header = (";".join(columns) + "\n").encode()
    count = 0
    for name, content in slices(drawn["file"].combine_chunks(), drawn["line"].combine_chunks()):
        if is_latin(name, name.split("/")[0]):
            content = content.decode().encode("latin-1", "replace")
        write(folder / name, content, header)
        count += 1
    return count


def _field(column: pa.Field) -> str:
    """SQL of one field as a till writes it; empty when unknown."""
    name = column.name
    if pa.types.is_decimal(column.type):
        text = f"replace(cast({name} as varchar), '.', ',')"
    elif pa.types.is_date(column.type):
        text = f"strftime({name}, '%d-%m-%Y')"
    elif pa.types.is_timestamp(column.type):
        text = f"strftime({name}, '%d-%m-%Y %H:%M')"
    elif pa.types.is_string(column.type):
        quoted = f"""'"' || replace({name}, '"', '""') || '"'"""
        text = f"""if({name} similar to '.*[;"\\n].*', {quoted}, {name})"""
    else:
        text = f"cast({name} as varchar)"
    return f"coalesce({text}, '')"
