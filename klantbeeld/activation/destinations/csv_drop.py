"""A folder where a system picks up CSV files: the newsletter tool, the print house.

activation.audience_* -> approved columns, safe for spreadsheets -> <audience>_<date>_<digest>.csv

A cell that a spreadsheet would run as a formula (it begins with =, +, -, @, a tab or a line
break, also after spaces or in full width) gets an apostrophe in front. That would destroy
telephone numbers, so the rule goes by column: in `phone`, `mobile_phone` and `…_phone`, a value
that is a plus sign and digits alone stays as it is: whatever a spreadsheet makes of it, it is a
number. Columns of other types than text (a negative amount, a date) stay as they are too. Control
characters become spaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from klantbeeld.activation.planning import quoted
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import DestinationSettings, Settings

_CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]+"
_FORMULA = r"^[\s\p{Z}\p{C}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_PHONE_NUMBER = r"\+[0-9]{6,15}"


class CsvDropSettings(DestinationSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["csv_drop"]
    folder: Path
    delimiter: Literal[",", ";", "\t"] = ","


class CsvDrop:
    """One folder, as the destination of audiences."""

    suffix = ".csv"

    def __init__(self, settings: Settings, spec: AudienceSpec) -> None:
        own = settings.destination(spec.destination, CsvDropSettings)
        self.folder = own.folder
        self._delimiter = own.delimiter

    def select(self, spec: AudienceSpec, types: Mapping[str, str]) -> tuple[list[str], str]:
        """The approved columns; see `FileDestination.select`."""
        missing = [column for column in spec.columns if column not in types]
        if missing:
            raise KlantbeeldError(
                f"{spec.relation} has no column {', '.join(missing)}",
                f"Correct meta.columns of seg_{spec.name}, or select the column in it.",
            )
        cells = ", ".join(
            f"{cell_sql(column, types[column])} as {quoted(column)}" for column in spec.columns
        )
        return list(spec.columns), f"select {cells} from audience order by contact_point_key"

    def write(self, reader: Any, path: Path) -> int:
        """Write a CSV file; see `FileDestination.write`."""
        return write_csv(reader, path, self._delimiter)


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
