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

    def __str__(self) -> str:
        """The limit in words."""
        return f"more than {self.rows} and more than {self.percent} %"


@dataclass(frozen=True)
class Limits:
    """The limits of one sync.

    Attributes:
        days: Days over which creates, updates and deletes are added up.
        baseline: Rows that a first sync may make.
        emptied: What a column may lose of its values.
        upstream: What a source's table may lose of its rows.
    """

    creates: Limit = Limit(percent=100)
    updates: Limit = Limit(percent=100)
    deletes: Limit = Limit()
    emptied: Limit = Limit(percent=50)
    upstream: Limit = Limit()
    baseline: int = 2_000_000
    days: int = 7


@dataclass(frozen=True)
class PlanCounts:
    """What a plan would do.

    Attributes:
        acknowledged: Rows that the destination holds by our account.
        desired: Rows that the model holds.
        creates: Rows made by this plan and in the days before, each counted once; like updates and
            deletes.
        is_first: Whether nothing was ever acknowledged.
        created_before: How many of the creates were accepted already: they are no part of what the
            percentage is of.
        deleted_before: The same of the deletes: they are.
    """

    acknowledged: int
    desired: int
    creates: int = 0
    updates: int = 0
    deletes: int = 0
    is_first: bool = False
    created_before: int = 0
    deleted_before: int = 0


def reasons_to_hold(counts: PlanCounts, limits: Limits) -> list[str]:
    """Say why a plan needs a person's look, or nothing."""
    if counts.is_first:
        # The baseline: by construction it deletes nothing.
        if counts.creates > limits.baseline:
            return [
                f"the first sync would make {counts.creates} rows (more than {limits.baseline})"
            ]
        return []
    if counts.desired == 0 and counts.acknowledged:
        return [f"the model is empty, while the destination holds {counts.acknowledged} rows"]
    reasons = []
    shrunk_by = counts.acknowledged - counts.desired
    if limits.deletes.is_exceeded(shrunk_by, counts.acknowledged):
        reasons.append(
            f"the model shrank from {counts.acknowledged} to {counts.desired} rows"
            f" ({limits.deletes})"
        )
    judged = (
        ("made", counts.creates, counts.acknowledged - counts.created_before, limits.creates),
        ("changed", counts.updates, counts.acknowledged, limits.updates),
        ("deleted", counts.deletes, counts.acknowledged + counts.deleted_before, limits.deletes),
    )
    for word, count, total, limit in judged:
        if limit.is_exceeded(count, max(total, 0)):
            reasons.append(
                f"{count} of {total} rows would be {word} within {limits.days} days ({limit})"
            )
    return reasons


def emptied_reasons(before: Mapping[str, int], now: Mapping[str, int], limit: Limit) -> list[str]:
    """Say which columns of the model lost their values since something was last sent.

    A join that broke leaves every row in place and a column of nulls.

    Args:
        before: Rows with a value by model column, when something was last sent.
        now: The same now.
        limit: What a column may lose.
    """
    return [
        f"column {column} has a value in {now[column]} rows, and had one in {rows} ({limit})"
        for column, rows in sorted(before.items())
        if column in now and limit.is_exceeded(rows - now[column], rows)
    ]


def upstream_reasons(
    before: Mapping[str, int] | None, now: Mapping[str, int], limit: Limit
) -> list[str]:
    """Say which source tables are empty or shrank since something was last sent.

    A shop that lost its orders leaves every row of the CRM in place and every revenue at zero: the
    plan has only updates, and only the sources show that something is wrong.

    Args:
        before: Rows per table (`schema.table`) of the version that was last sent; None if they
            are not known any more: a limit that cannot be judged holds.
        now: The same of the version that is about to be sent.
        limit: What a table may lose.
    """
    if before is None:
        return ["the sources cannot be compared: the version last sent is not known any more"]
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
