"""Files to tables: every row of a CSV or Parquet file, in its order, under its own columns.

Here: delimiters, headers, rows that do not fit. Rows are accounted for: a row that does not fit its
header is set aside with its line and reason, never dropped. Not here: what a column means
(`columns`).

Flow: path -> `file_<n>` (row_number, c0, c1, …), `rejected_rows`.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.identity.files.encoding import Encoding, detect_encoding, is_parquet

DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_NO_DELIMITER: Final = "\x1f"
_SAMPLE: Final = 1 << 18
_SAMPLE_ROWS: Final = 1_000
# A batch ends at either, so that neither small rows nor 10 MB cells take much memory.
_BATCH_ROWS: Final = 50_000
_BATCH_BYTES: Final = 32 << 20
_STEP: Final = 64
# Beyond this a quotation mark was opened and never closed.
_LONGEST_CELL: Final = 256 << 20
# Lines above a header, and the share of rows that must then be as wide as it.
_MOST_TITLES: Final = 10
_TABLE_SHARE: Final = 0.9
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_LOOKS_LIKE_DATA: Final = re.compile(r"@|\d{6}|\d[-/.]\d")


@dataclass(frozen=True)
class InputFile:
    """A file as a table of the engine.

    Attributes:
        path: The file.
        label: What its records are named after: its name without what is no letter or digit.
        table: The engine's table or view: `row_number` from 1, then `c0`, `c1`, …
        columns: The names of these columns, unlike each other whatever their case.
        types: Their types.
        rows: Rows in the table.
        rejected: Rows set aside.
        remarks: How it was read, in words.
    """

    path: Path
    label: str
    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: int
    rejected: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    delimiter: str
    skipped_lines: int
    header: list[str]


def read_files(
    con: duckdb.DuckDBPyConnection, paths: list[Path], tell: Callable[[float], None]
) -> list[InputFile]:
    """Read files; rows that do not fit go to `rejected_rows` (file, line, reason, row_text).

    Args:
        con: The linkage's own database.
        paths: The files, in the order of their rows.
        tell: Called with the share that is done, from 0 to 1.

    Raises:
        KlantbeeldError: A file is missing, unreadable or no table.
    """
    con.execute(
        "create table rejected_rows (file varchar, line bigint, reason varchar, row_text varchar)"
    )
    for path in paths:
        _require_readable(path)
    labels = _labels(paths)
    files = []
    for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
        table = f"file_{number}"

        def tell_part(share: float, number: int = number) -> None:
            tell((number + share) / len(paths))

        if is_parquet(path):
            files.append(_read_parquet(con, path, label, table))
        else:
            files.append(_read_csv(con, path, label, table, tell_part))
        tell_part(1.0)
    return files


def _require_readable(path: Path) -> None:
    if not path.exists():
        raise KlantbeeldError(
            f"{path} does not exist", "Give the path of a CSV or Parquet file.", ExitCode.USAGE
        )
    if not path.is_file():
        raise KlantbeeldError(
            f"{path} is not a file", "Give CSV or Parquet files, one by one.", ExitCode.USAGE
        )
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise KlantbeeldError(
            f"{path} cannot be read: {error.strerror}",
            "It must be a file that you may read.",
            ExitCode.USAGE,
        ) from None


def _labels(paths: list[Path]) -> list[str]:
    """A name per file, no two the same."""
    labels: list[str] = []
    for path in paths:
        plain = re.sub(r"\W+", "_", path.stem.lower()).strip("_") or "file"
        label, number = plain, 1
        while label in labels:
            number += 1
            label = f"{plain}_{number}"
        labels.append(label)
    return labels


def _read_parquet(con: duckdb.DuckDBPyConnection, path: Path, label: str, table: str) -> InputFile:
    name = str(path).replace("'", "''")
    try:
        described = con.execute(f"describe from read_parquet('{name}')").fetchall()
        columns, remarks = _column_names([str(row[0]) for row in described])
        selected = ", ".join(
            f'"{_quoted(str(row[0]))}" as c{number}' for number, row in enumerate(described)
        )
        # A view: the file's own columns are read again only where they are written.
        con.execute(
            f"create view {table} as select file_row_number + 1 as row_number, {selected} "
            f"from read_parquet('{name}', file_row_number = true)"
        )
        count = con.execute(f"select count(*) from {table}").fetchone()
    except duckdb.Error as error:
        raise KlantbeeldError(
            f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}",
            "Write it again, or give it as CSV.",
            ExitCode.USAGE,
        ) from None
    return InputFile(
        path,
        label,
        table,
        tuple(columns),
        tuple(str(row[1]) for row in described),
        int(count[0]) if count else 0,
        0,
        ("Parquet", *remarks),
    )


def _read_csv(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    label: str,
    table: str,
    tell: Callable[[float], None],
) -> InputFile:
    encoding = detect_encoding(path)
    layout = _layout(path, encoding)
    columns, remarks = _column_names(layout.header)
    names = [f"c{number}" for number in range(len(columns))]
    con.execute(
        f"create table {table} (row_number bigint, {', '.join(f'{n} varchar' for n in names)})"
    )
    size = max(1, path.stat().st_size)
    rows = rejected = 0
    with _long_cells_allowed(), path.open("rb") as stream:
        for batch in _batches(path, stream, encoding, layout):
            good, bad = _fitting(batch, len(columns))
            if bad:
                rejected += len(bad)
                _set_aside(con, path, bad)
            if good:
                arrays = [pa.array(column, pa.string()) for column in zip(*good, strict=True)]
                if encoding.has_nul:
                    arrays = [pc.replace_substring(array, "\0", "") for array in arrays]
                numbers = pa.array(range(rows + 1, rows + len(good) + 1), pa.int64())
                con.register("batch", pa.table([numbers, *arrays], names=["row_number", *names]))
                trimmed = ", ".join(f"nullif({name}, '')" for name in names)
                con.execute(f"insert into {table} select row_number, {trimmed} from batch")
                con.unregister("batch")
                rows += len(good)
            tell(min(1.0, stream.tell() / size))
    if encoding.damaged:
        remarks.append(f"{encoding.damaged:,} characters are no {encoding.label}: read as \ufffd")
    if encoding.has_nul:
        remarks.append("NUL characters left out")
    how = f"CSV, {encoding.label}"
    if len(columns) > 1:
        how += f", separated by {DELIMITERS.get(layout.delimiter, layout.delimiter)}"
    types = ("VARCHAR",) * len(columns)
    return InputFile(path, label, table, tuple(columns), types, rows, rejected, (how, *remarks))


@contextmanager
def _long_cells_allowed() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@dataclass(frozen=True)
class _Batch:
    """Rows as they are parsed, and the line that the first of them begins on."""

    first_line: int
    rows: list[list[str]]


def _batches(path: Path, stream: BinaryIO, encoding: Encoding, layout: _Layout) -> Iterator[_Batch]:
    """The rows below the header, in batches that are small in rows and in bytes.

    Raises:
        KlantbeeldError: A quotation mark is opened and never closed.
    """
    text = io.TextIOWrapper(stream, encoding=encoding.codec, errors="replace", newline="")
    for _ in range(layout.skipped_lines):
        text.readline()
    reader = csv.reader(text, delimiter=layout.delimiter)
    line = 0
    last: _Batch | None = None
    try:
        next(reader)
        while True:
            line = reader.line_num + layout.skipped_lines + 1
            began = stream.tell()
            rows: list[list[str]] = []
            while len(rows) < _BATCH_ROWS and stream.tell() - began < _BATCH_BYTES:
                step = list(islice(reader, _STEP))
                rows += step
                if len(step) < _STEP:
                    break
            if not rows:
                break
            last = _Batch(line, rows)
            yield last
    except csv.Error:
        raise _never_closed(path, line) from None
    finally:
        text.detach()
    if last is not None:
        _require_closed(path, encoding, layout, last)


def _require_closed(path: Path, encoding: Encoding, layout: _Layout, last: _Batch) -> None:
    """Refuse a file whose last row swallowed the rest: read leniently, nobody would know."""
    line = last.first_line + sum(map(_lines_of, last.rows[:-1]))
    with path.open("r", encoding=encoding.codec, errors="replace", newline="") as text:
        rest = islice(text, line - 1, None)
        try:
            for _ in csv.reader(rest, delimiter=layout.delimiter, strict=True):
                pass
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise _never_closed(path, line) from None


def _never_closed(path: Path, line: int) -> KlantbeeldError:
    return KlantbeeldError(
        f"{path}: a quotation mark that is opened on line {line} or after it is never closed",
        'Close it, or write a quotation mark within a quoted cell twice ("").',
        ExitCode.USAGE,
    )


def _lines_of(row: list[str]) -> int:
    return 1 + sum(len(_LINE_END.findall(cell)) for cell in row)


def _fitting(batch: _Batch, width: int) -> tuple[list[list[str]], list[tuple[int, str, list[str]]]]:
    """The rows that fit the header, and the others with line and reason; blank lines are none."""
    if set(map(len, batch.rows)) == {width}:
        return batch.rows, []
    good: list[list[str]] = []
    bad: list[tuple[int, str, list[str]]] = []
    line = batch.first_line
    for row in batch.rows:
        if len(row) > width and not any(row[width:]):
            good.append(row[:width])
        elif len(row) == width:
            good.append(row)
        elif row:
            bad.append((line, f"{len(row)} cells, the header has {width}", row))
        line += _lines_of(row)
    return good, bad


def _set_aside(
    con: duckdb.DuckDBPyConnection, path: Path, bad: list[tuple[int, str, list[str]]]
) -> None:
    table = pa.table(
        {
            "file": [path.name] * len(bad),
            "line": [line for line, _, _ in bad],
            "reason": [reason for _, reason, _ in bad],
            "row_text": [_as_text(row) for _, _, row in bad],
        }
    )
    con.register("batch", table)
    con.execute("insert into rejected_rows from batch")
    con.unregister("batch")


def _as_text(row: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _layout(path: Path, encoding: Encoding) -> _Layout:
    """Delimiter and header, from the beginning of the file.

    Raises:
        KlantbeeldError: It holds no text, or its first line names no columns.
    """
    with path.open("r", encoding=encoding.codec, errors="replace", newline="") as stream:
        sample = stream.read(_SAMPLE)
    sample = sample.replace("\0", "")
    whole = len(sample) < _SAMPLE
    skipped, said = 0, None
    while True:
        first = re.match(r"[^\r\n]*(\r\n|\r|\n)?", sample)
        line = first.group(0).strip() if first else ""
        said_here = re.fullmatch(r'"?sep=(.)"?', line, re.IGNORECASE)
        if not sample or (line and not said_here) or not first or not first.group(0):
            break
        # Blank lines, and the line by which spreadsheets tell each other the delimiter.
        said = said_here.group(1) if said_here else said
        sample = sample[first.end() :]
        skipped += 1
    titles = _title_lines(sample, whole=whole)
    sample = "".join(sample.splitlines(keepends=True)[titles:])
    skipped += titles
    if not sample.strip():
        raise KlantbeeldError(
            f"{path} holds no text",
            "Give a CSV file whose first line names its columns, or Parquet.",
            ExitCode.USAGE,
        )
    fits = {mark: _fit(sample, mark, whole=whole) for mark in DELIMITERS}
    delimiter = said or max(fits, key=lambda mark: fits[mark])
    if said is None and fits[delimiter][1] < 2:
        # One column: a comma in it separates nothing.
        delimiter = _NO_DELIMITER
    header = [name.strip() for name in _parse(sample, delimiter, whole=whole)[0]]
    while len(header) > 1 and not header[-1] and _is_unused(sample, delimiter, len(header)):
        header.pop()
    if any(map(_LOOKS_LIKE_DATA.search, header)):
        raise KlantbeeldError(
            f"{path}: its first line holds values, not the names of columns",
            "Put a first line above it that names them, such as first_name,last_name,email.",
            ExitCode.USAGE,
        )
    return _Layout(delimiter, skipped, header)


def _title_lines(sample: str, *, whole: bool) -> int:
    """Lines above the header that name the file ("Customers, March 2024"), as reports have them.

    A line of one cell at most is one, if what follows is a table of at least three columns whose
    first row can be a header.
    """
    for mark in DELIMITERS:
        rows = _parse(sample, mark, whole=whole)
        filled = [sum(map(bool, map(str.strip, row))) for row in rows[: _MOST_TITLES + 1]]
        first = next((number for number, cells in enumerate(filled) if cells > 1), 0)
        if not first or filled[first] < 3 or len(rows) < first + 2:
            continue
        header, below = rows[first], rows[first + 1 :]
        is_table = sum(len(row) == len(header) for row in below) >= _TABLE_SHARE * len(below)
        is_header = not any(re.search(r"\d{4}|@", name) for name in header)
        if is_table and is_header and all(_lines_of(row) == 1 for row in rows[:first]):
            return first
    return 0


def _parse(sample: str, delimiter: str, *, whole: bool) -> list[list[str]]:
    with _long_cells_allowed():
        rows = list(
            islice(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), _SAMPLE_ROWS)
        )
    # The last one may be cut off.
    return rows if whole or len(rows) in (1, _SAMPLE_ROWS) else rows[:-1]


def _fit(sample: str, delimiter: str, *, whole: bool) -> tuple[float, int]:
    """How well a delimiter explains a sample: most rows as wide as the header, then width."""
    rows = [row for row in _parse(sample, delimiter, whole=whole) if row]
    width = len(rows[0]) if rows else 0
    if width < 2:
        return (0.0, width)
    alike = sum(len(row) == width for row in rows) / len(rows)
    return (round(alike, 1), width)


def _is_unused(sample: str, delimiter: str, width: int) -> bool:
    rows = _parse(sample, delimiter, whole=False)[1:]
    return all(not "".join(row[width - 1 :]) for row in rows)


def _column_names(header: list[str]) -> tuple[list[str], list[str]]:
    """Names that no two columns share, and what was done for it."""
    names: list[str] = []
    remarks: list[str] = []
    taken: set[str] = set()
    for number, given in enumerate(header, 1):
        name = given.strip().replace("\0", "") or f"column_{number}"
        unique, copy = name, 1
        while unique.lower() in taken:
            copy += 1
            unique = f"{name}_{copy}"
        if unique != name:
            remarks.append(f"a second column {name} is called {unique}")
        taken.add(unique.lower())
        names.append(unique)
    return names, remarks


def _quoted(name: str) -> str:
    return name.replace('"', '""')
