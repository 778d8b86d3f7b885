"""Delimited files: lines of fields under a header, UTF-8 or Latin-1.

Here: what every source of such files shares. Not here: which files belong to which table (the
source), what stands between fields (the contract), what makes a line good (`validation`).
"""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from itertools import groupby

from ingestion.contracts import DELIMITERS, Table
from ingestion.intake import Intake, TableLoad
from ingestion.landing import LandedFile
from ingestion.lines import Lines, batches, read_lines

_HEADER_BYTES = 4_096


class WrongHeader(ValueError):
    """The first line is not what the contract needs; the message quotes nothing of the file."""


def read_files(intake: Intake, files: list[LandedFile], max_bytes: int, load: TableLoad) -> None:
    """Hand all lines of landed files to validation; what is no such file is quarantined whole."""
    readable = _readable(intake, load, files, max_bytes)
    # Files come in order of arrival, and the header of nearly all of them is the same.
    for header, run in groupby(readable, key=lambda found: found[0]):
        for batch in batches((file, lines) for _, file, lines in run):
            load.rows.add_lines(header, batch.text, batch.files, batch.numbers, batch.raw)


def _readable(
    intake: Intake, load: TableLoad, files: list[LandedFile], max_bytes: int
) -> Iterator[tuple[tuple[str, ...], LandedFile, Lines]]:
    for file in files:
        try:
            header, lines = _read(file, load.table, max_bytes)
        except WrongHeader as error:
            load.rows.reject(file.name, str(error), payload=file.digest)
            intake.settle_file(load.table, file, 1, quarantined_because=str(error))
            continue
        except FileNotFoundError:
            # The retention of the landing folder removed it: what it held is no longer to be had.
            intake.settle_file(load.table, file, 0)
            continue
        intake.settle_file(load.table, file, len(lines.text))
        yield header, file, lines


def _read(file: LandedFile, table: Table, max_bytes: int) -> tuple[tuple[str, ...], Lines]:
    if file.size > max_bytes:
        raise WrongHeader(f"oversized file: more than {max_bytes // 2**20} MB")
    data = file.path.read_bytes()
    if not data.strip():
        raise WrongHeader("empty file: not even a header")
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise WrongHeader("undecodable file: UTF-16; save it as UTF-8")
    first = data[:_HEADER_BYTES].removeprefix(BOM_UTF8).split(b"\n", 1)[0]
    header = _header(first, table)
    lines = read_lines(data)
    return header, Lines(lines.text[1:], lines.numbers[1:], lines.raw[1:])


def _header(line: bytes, table: Table) -> tuple[str, ...]:
    text = line.rstrip(b"\r").decode("ascii", "replace")
    names = _names(text, table.delimiter)
    known = {column.source_name for column in table.origin_columns}
    if not known.intersection(names):
        for delimiter, kind in DELIMITERS.items():
            if len(known.intersection(_names(text, delimiter))) > 1:
                raise WrongHeader(
                    f"wrong header: it looks {kind}, the contract says"
                    f" {DELIMITERS[table.delimiter]} (`delimiter` in"
                    f" ingestion/sources/{table.source}/contracts.py)"
                )
        raise WrongHeader("wrong header: the first line names none of the columns expected")
    if len(set(names)) != len(names) or not all(names):
        raise WrongHeader("wrong header: a column is named twice, or has no name")
    missing = [
        column.source_name
        for column in table.origin_columns
        if (column.is_required or column.name in table.key) and column.source_name not in names
    ]
    if missing:
        raise WrongHeader(f"wrong header: no column {', '.join(missing)}")
    return names


def _names(header: str, delimiter: str) -> tuple[str, ...]:
    return tuple(name.strip().strip('"').lower() for name in header.split(delimiter))
