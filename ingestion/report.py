"""What a load tells: counts that balance, and sentences for the person who has to act."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["loaded", "unchanged", "failed", "disabled"]


class DoesNotBalance(AssertionError):
    """Rows were read and are accounted for nowhere: a defect of ours, never to be passed over."""


@dataclass(frozen=True)
class TableCounts:
    """What became of the rows of one raw table in one load.

    `rows_read = rows_loaded + rows_unchanged + rows_quarantined + rows_deduplicated`, exactly.
    Deduplicated are rows that a later row of the same key, or the deletion of that key, made void.
    Deleted are rows that were in the raw table and are gone at the source; they were not read, so
    they are not in the sum.
    """

    rows_read: int = 0
    rows_loaded: int = 0
    rows_unchanged: int = 0
    rows_quarantined: int = 0
    rows_deduplicated: int = 0
    rows_deleted: int = 0

    def verify(self, table: str) -> "TableCounts":
        """These counts, if they balance.

        Raises:
            DoesNotBalance: They do not.
        """
        accounted = (
            self.rows_loaded + self.rows_unchanged + self.rows_quarantined + self.rows_deduplicated
        )
        if self.rows_read != accounted:
            raise DoesNotBalance(
                f"{table}: {self.rows_read} rows read, {accounted} accounted for ({self})"
            )
        return self


@dataclass(frozen=True)
class LoadReport:
    """What one load of one source did.

    Attributes:
        source: The source.
        status: `loaded`, `unchanged` (nothing new), `failed` (all or part of it) or `disabled`.
        tables: Counts per raw table that was read.
        message: What happened, in one or a few sentences; never a value of a row.
        hint: What to do about a failure.
        notes: Remarks that do not make a failure: a new column, a file that is still being written.
        new_quarantined: Rows in quarantine since this load.
        seconds: Wall-clock time.
    """

    source: str
    status: Status
    tables: Mapping[str, TableCounts] = field(default_factory=dict)
    message: str = ""
    hint: str | None = None
    notes: tuple[str, ...] = ()
    new_quarantined: int = 0
    seconds: float = 0.0

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look: something was not loaded, or is newly in quarantine."""
        return self.status == "failed" or self.new_quarantined > 0

    @property
    def totals(self) -> TableCounts:
        """The counts of all tables together."""
        tables = self.tables.values()
        return TableCounts(
            rows_read=sum(counts.rows_read for counts in tables),
            rows_loaded=sum(counts.rows_loaded for counts in tables),
            rows_unchanged=sum(counts.rows_unchanged for counts in tables),
            rows_quarantined=sum(counts.rows_quarantined for counts in tables),
            rows_deduplicated=sum(counts.rows_deduplicated for counts in tables),
            rows_deleted=sum(counts.rows_deleted for counts in tables),
        )
