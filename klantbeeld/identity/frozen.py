"""What a model version holds beside its parameters: all that else would depend on every record.

Here: the values that identify nobody, how frequent values are, the largest block of each rule, the
share of matches; counting them, keeping them as files, and giving them to an engine. Not here: the
parameters (`model`), which version is current (`registry`).

Without these, one more record could change the weight of every pair. With them, a pair's weight
depends on its two records, and whether they meet on the records of one block: that is what lets a
few new records be linked without the rest, with the outcome of linking all of them again. The files
hold personal values: they live in the home, 0600, and never ship.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
from pyarrow import parquet

from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import atomic_file, write_atomic
from klantbeeld.identity.model import COMPARISONS

FORMAT: Final = 1
FREQUENCY_COLUMNS: Final = tuple(
    sorted(
        {
            level.term_frequency
            for comparison in COMPARISONS
            for level in comparison.levels
            if level.term_frequency
        }
    )
)
SUPPRESSED_SCHEMA: Final = pa.schema(
    [
        ("kind", pa.string()),
        ("value", pa.string()),
        ("records", pa.int64()),
        ("reason", pa.string()),
    ]
)
FREQUENCY_SCHEMA: Final = pa.schema(
    [("column", pa.string()), ("value", pa.string()), ("records", pa.int64())]
)
# Shares are of at least this many records: a name that both of two records have is not one that
# everybody has.
FEWEST_COUNTED: Final = 200
PARAMETERS: Final = "model.json"
_FIGURES: Final = "frozen.json"
_SUPPRESSED: Final = "suppressed_values.parquet"
_FREQUENCIES: Final = "term_frequencies.parquet"


@dataclass(frozen=True)
class Frequencies:
    """How often values occur, for the columns in which a frequent value says less.

    Attributes:
        totals: Per column, the records that have a value.
        repeated: column, value, records: the values of two records and more. Any other counts as
            the value of one record, so that most names of a home are in no file.
        own: Records that one person has. What makes an agreement weak is how often others have the
            value, so this many are taken off: of a rare name, most.
    """

    totals: Mapping[str, int]
    repeated: pa.Table
    own: float


@dataclass(frozen=True)
class Frozen:
    """What was counted once and holds until it is frozen anew.

    Attributes:
        records: The number of records it was counted on.
        matches_per_record: Other records of the same person that a record has.
        largest_blocks: Per blocking rule, the records in the largest block it may use.
        frequencies: How often values occur.
        suppressed: kind, value, records, reason: the values that identify nobody.
    """

    records: int
    matches_per_record: float
    largest_blocks: Mapping[str, int]
    frequencies: Frequencies
    suppressed: pa.Table

    @property
    def prior(self) -> float:
        """The probability that two records drawn at random are of the same person."""
        return min(0.5, self.matches_per_record / max(self.records, 2))


def count_frequencies(con: duckdb.DuckDBPyConnection, own: float) -> Frequencies:
    """Count the values of `people`.

    Args:
        con: The linkage's own database.
        own: Records that one person has.
    """
    totals = con.execute(
        f"select {', '.join(f'count({column})' for column in FREQUENCY_COLUMNS)} from people"
    ).fetchone()
    counted = " union all ".join(
        f"select '{column}' as \"column\", {column} as value, count(*) as records from people "
        f"where {column} is not null group by {column} having count(*) > 1"
        for column in FREQUENCY_COLUMNS
    )
    repeated = con.execute(f'from ({counted}) order by "column", value').to_arrow_table()
    return Frequencies(
        dict(zip(FREQUENCY_COLUMNS, totals or (), strict=False)),
        repeated.cast(FREQUENCY_SCHEMA),
        own,
    )


def make_frequency_tables(
    con: duckdb.DuckDBPyConnection, frequencies: Frequencies, people: str
) -> Iterable[tuple[str, str]]:
    """Make a table `frequency_<column>` (the column, `tf_<column>`) of the values in `people`.

    Returns:
        Per column, its name and its table's.
    """
    con.register("frequencies", frequencies.repeated)
    made = []
    for column in FREQUENCY_COLUMNS:
        table = f"frequency_{column}"
        con.execute(
            f"""
            create or replace table {table} as
            select
                used.{column},
                greatest(coalesce(known.records, 1) - ?, 1) / ? as tf_{column}
            from (select distinct {column} from {people} where {column} is not null) as used
            left join (from frequencies where "column" = '{column}') as known
                on known.value = used.{column}
            """,
            [
                frequencies.own,
                float(max(frequencies.totals.get(column, 0), FEWEST_COUNTED)),
            ],
        )
        made.append((column, table))
    con.unregister("frequencies")
    return made


def write_frozen(folder: Path, frozen: Frozen) -> None:
    """Keep it in a folder of a model version."""
    for name, table in (
        (_SUPPRESSED, frozen.suppressed),
        (_FREQUENCIES, frozen.frequencies.repeated),
    ):
        with atomic_file(folder / name) as path:
            parquet.write_table(table, path)
    figures = {
        "format": FORMAT,
        "records": frozen.records,
        "matches_per_record": frozen.matches_per_record,
        "largest_blocks": dict(frozen.largest_blocks),
        "totals": dict(frozen.frequencies.totals),
        "own": frozen.frequencies.own,
    }
    write_atomic(folder / _FIGURES, json.dumps(figures, indent=1) + "\n")


def read_frozen(folder: Path) -> Frozen:
    """Read what `write_frozen` kept.

    Raises:
        KlantbeeldError: A file is missing or is not one of this release.
    """
    try:
        figures: dict[str, Any] = json.loads((folder / _FIGURES).read_text())
        if figures["format"] != FORMAT:
            raise ValueError(f"format {figures['format']}, expected {FORMAT}")
        suppressed = parquet.read_table(folder / _SUPPRESSED).cast(SUPPRESSED_SCHEMA)
        repeated = parquet.read_table(folder / _FREQUENCIES).cast(FREQUENCY_SCHEMA)
        return Frozen(
            records=int(figures["records"]),
            matches_per_record=float(figures["matches_per_record"]),
            largest_blocks={str(rule): int(n) for rule, n in figures["largest_blocks"].items()},
            frequencies=Frequencies(
                {str(column): int(n) for column, n in figures["totals"].items()},
                repeated,
                float(figures["own"]),
            ),
            suppressed=suppressed,
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise KlantbeeldError(
            f"the frozen values in {folder} cannot be used ({type(error).__name__})",
            "Restore the folder from a backup, or promote another model.",
        ) from None


def fingerprint(folder: Path) -> str:
    """A digest of all files of a model version; what was linked with another is linked again."""
    digest = hashlib.sha256()
    for name in (PARAMETERS, _FIGURES, _SUPPRESSED, _FREQUENCIES):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:32]
