"""Audiences as files, for whoever picks them up: the newsletter tool, the print house.

    activation.audience_* -> approved columns -> CSV, JSON lines or Parquet -> a place of `stores`

In CSV a cell that a spreadsheet would run as a formula (it begins with =, +, -, @, a tab or a line
break, also after spaces or in full width) gets an apostrophe in front. That would destroy
telephone numbers, so the rule goes by column: in `phone`, `mobile_phone` and `…_phone`, a value
that is a plus sign and digits alone stays as it is: whatever a spreadsheet makes of it, it is a
number. Columns of other types than text (a negative amount, a date) stay as they are too. Control
characters become spaces. JSON lines and Parquet are for programs: their values are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from klantbeeld.activation.destinations.stores import PlaceSettings, open_store
from klantbeeld.activation.planning import literal, quoted
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings

Format = Literal["csv", "jsonl", "parquet"]

_CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]+"
_FORMULA = r"^[\s\p{Z}\p{C}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_PHONE_NUMBER = r"\+[0-9]{6,15}"


class FilesSettings(PlaceSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["files"]
    format: Format = "csv"
    delimiter: Literal[",", ";", "\t"] = ","


class Files:
    """One place, as the destination of audiences."""

    settings_type = FilesSettings

    def __init__(self, settings: Settings, spec: AudienceSpec) -> None:
        own = settings.destination(spec.destination, self.settings_type)
        self.store = open_store(settings, own)
        self.suffix = f".{own.format}"
        self._format: Format = own.format
        self._delimiter = own.delimiter

    def select(self, spec: AudienceSpec, types: Mapping[str, str]) -> tuple[list[str], str]:
        """The approved columns; see `FileDestination.select`."""
        missing = [column for column in spec.columns if column not in types]
        if missing:
            raise KlantbeeldError(
                f"{spec.relation} has no column {', '.join(missing)}",
                f"Correct meta.columns of seg_{spec.name}, or select the column in it.",
            )
        match self._format:
            case "csv":
                cells = ", ".join(
                    f"{cell_sql(column, types[column])} as {quoted(column)}"
                    for column in spec.columns
                )
            case "jsonl":
                members = ", ".join(
                    f"{literal(column)}, {quoted(column)}" for column in spec.columns
                )
                cells = f"json_object({members})::varchar as line"
            case "parquet":
                cells = ", ".join(map(quoted, spec.columns))
        return list(spec.columns), f"select {cells} from audience order by contact_point_key"

    def write(self, reader: Any, path: Path) -> int:
        """Write the file; see `FileDestination.write`."""
        match self._format:
            case "csv":
                return write_csv(reader, path, self._delimiter)
            case "jsonl":
                return _write_lines(reader, path)
            case "parquet":
                return _write_parquet(reader, path)


def cell_sql(column: str, sql_type: str) -> str:
    """SQL for a column's cells as text that a spreadsheet shows and never runs."""
    name = quoted(column)
    if not sql_type.startswith("VARCHAR"):
        return f"cast({name} as varchar)"
    plain = f"regexp_replace({name}, '{_CONTROL_CHARACTERS}', ' ', 'g')"
    safe = f"case when regexp_matches({name}, '{_FORMULA}') then '''' || {plain} else {plain} end"
    if column in ("phone", "mobile_phone") or column.endswith("_phone"):
        return f"case when regexp_full_match({name}, '{_PHONE_NUMBER}') then {name} else {safe} end"
    return safe


def write_csv(reader: Any, path: Path, delimiter: str) -> int:
    """Write Arrow record batches of texts as CSV, batch by batch.

    Returns:
        The number of rows, without the header.
    """
    import pyarrow.csv as arrow_csv

    rows = 0
    options = arrow_csv.WriteOptions(include_header=True, delimiter=delimiter)
    with arrow_csv.CSVWriter(str(path), reader.schema, write_options=options) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _write_lines(reader: Any, path: Path) -> int:
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as stream:
        for batch in reader:
            if batch.num_rows:
                stream.write("\n".join(batch.column(0).to_pylist()) + "\n")
                rows += batch.num_rows
    return rows


def _write_parquet(reader: Any, path: Path) -> int:
    import pyarrow.parquet as parquet

    rows = 0
    with parquet.ParquetWriter(str(path), reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
