"""When a sync is held for review instead of sent.

Belongs here: the limits and the arithmetic, on counts alone, in integers: a percentage rounded
the wrong way is how an audience gets deleted. Who approves what is held is in the ledger.

    counts of a plan -> reasons to hold it (none: it may be sent)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Written by the load itself: which files a build holds. Names with a line in front are dlt's.
_NOT_OF_A_SOURCE = frozenset({"landed_files"})


@dataclass(frozen=True)
class Limit:
    """A number of rows that may always go, and a percentage that may go beyond it.

    Attributes:
        rows: Up to this many is never too many.
        percent: Above `rows`, more than this share of what is there is too many.
    """

    rows: int = 50
    percent: int = 1

    def is_exceeded(self, count: int, total: int) -> bool:
        """Whether `count` of `total` is more than max(rows, percent)."""
        return count > self.rows and count * 100 > self.percent * total


@dataclass(frozen=True)
class PlanCounts:
    """What a plan would do.

    Attributes:
        acknowledged: Rows that the destination holds by our account.
        desired: Rows that the model holds.
        deletes: Rows that would be deleted.
    """

    acknowledged: int
    desired: int
    deletes: int


def reasons_to_hold(counts: PlanCounts, limit: Limit) -> list[str]:
    """Say why a plan needs a person's look, or nothing.

    A first sync has nothing acknowledged: it is the baseline, and by construction deletes nothing.
    """
    if counts.acknowledged == 0:
        return []
    if counts.desired == 0:
        return [f"the model is empty, while the destination holds {counts.acknowledged} rows"]
    reasons = []
    shrunk_by = counts.acknowledged - counts.desired
    if limit.is_exceeded(shrunk_by, counts.acknowledged):
        reasons.append(
            f"the model shrank from {counts.acknowledged} to {counts.desired} rows"
            f" (more than {limit.rows} and more than {limit.percent} %)"
        )
    if limit.is_exceeded(counts.deletes, counts.acknowledged):
        reasons.append(
            f"{counts.deletes} of {counts.acknowledged} rows would be deleted"
            f" (more than {limit.rows} and more than {limit.percent} %)"
        )
    return reasons


def upstream_reasons(before: Mapping[str, int], now: Mapping[str, int], limit: Limit) -> list[str]:
    """Say which source tables are empty or shrank since something was last sent.

    A shop that lost its orders leaves every row of the CRM in place and every revenue at zero: the
    plan has only updates, and only the sources show that something is wrong.

    Args:
        before: Rows per table (`schema.table`) of the version that was last sent.
        now: The same of the version that is about to be sent.
        limit: What a table may lose.
    """
    reasons = []
    for table, rows in sorted(before.items()):
        schema, _, name = table.partition(".")
        is_own = name in _NOT_OF_A_SOURCE or name.startswith("_")
        if not schema.startswith("raw_") or schema.endswith("_staging") or is_own:
            continue
        left = now.get(table, 0)
        if rows and not left:
            reasons.append(f"{table} is empty, and held {rows} rows when it was last sent")
        elif limit.is_exceeded(rows - left, rows):
            reasons.append(f"{table} shrank from {rows} to {left} rows since it was last sent")
    return reasons


def reasons_to_hold_export(rows: int, previous: int | None, percent: int) -> list[str]:
    """Say why an audience file needs a person's look before it replaces the previous one.

    An audience breathes: people lapse and return, so the limit of a record sync would stop it every
    day. What is stopped is the file that lost most of its people overnight.

    Args:
        rows: Rows of the new file.
        previous: Rows of the file before it; None for the first.
        percent: The largest part that may go missing at once.
    """
    if not previous:
        return []
    if rows == 0:
        return [f"the audience is empty; the file before held {previous} rows"]
    if (previous - rows) * 100 > percent * previous:
        return [f"the audience shrank from {previous} to {rows} rows (more than {percent} %)"]
    return []
