"""What a run of a sync or an export says of itself: ids and counts, never a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class SyncReport:
    """What a sync run did; counts only.

    Attributes:
        status: synced, unchanged, held, disabled, failed, or degraded: some rows were rejected
            or have an unknown outcome.
        acknowledged: Rows accepted in this run, or found accepted by an earlier one.
        unknown: Rows whose outcome could not be learnt.
        held: Rows that wait for a person.
        withdrawals: Rows taken away because their person withdrew or was erased; never held.
        cancelled: Rows not sent for the same reason.
        given_up: Rows refused too often to be tried again as they are.
        blocked: Rows that wait for an outcome which cannot be read back.
        skipped: Rows that the mode leaves alone, since the destination does not have them.
        kept: Rows of which nothing had to be written, by what is there and whose it is.
        conflicts: Fields that both sides changed since we last wrote them.
        requests: HTTP requests, retries and reading back included.
        oldest_unacknowledged_at: Since when the row is wanted that waits longest for a yes.
        message: Why, when it is not simply done.
    """

    sync: str
    status: str
    version_id: str
    sync_run_id: str
    creates: int = 0
    updates: int = 0
    deletes: int = 0
    unchanged: int = 0
    acknowledged: int = 0
    rejected: int = 0
    unknown: int = 0
    held: int = 0
    withdrawals: int = 0
    cancelled: int = 0
    given_up: int = 0
    blocked: int = 0
    skipped: int = 0
    kept: int = 0
    conflicts: int = 0
    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    seconds: float = 0.0
    oldest_unacknowledged_at: datetime | None = None
    message: str | None = None

    @property
    def requests_per_second(self) -> float:
        """How fast the destination was asked, over the run as a whole."""
        return self.requests / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for metadata."""
        oldest = self.oldest_unacknowledged_at
        return {
            **asdict(self),
            "oldest_unacknowledged_at": None if oldest is None else oldest.isoformat(),
        }

    def figures(self) -> dict[str, float]:
        """The counts that the table of runs has no column of their own for."""
        return {name: getattr(self, name) for name in _FIGURES}


_FIGURES = (
    "withdrawals", "cancelled", "given_up", "blocked", "skipped", "kept", "conflicts",
    "requests", "retries", "waited_seconds", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class PlanReport:
    """What a run would do; counts and ids only.

    Attributes:
        plan_id: What `apply` takes; None for a plan against what the destination holds.
        status: planned, held (a run would send nothing of it) or approved.
        on_leave: What happens to the rows that are counted as deletes.
        columns: Updates by destination column.
        reasons: Why it is held.
        warnings: What a person should know besides.
        drift: How the destination differs from what we know of it, if it was read.
        rows: Key, operation, columns, lane and fate of each row.
    """

    sync: str
    plan_id: str | None
    version_id: str
    status: str
    creates: int
    updates: int
    deletes: int
    unchanged: int
    withdrawals: int
    cancelled: int
    given_up: int
    blocked: int
    on_leave: str
    columns: Mapping[str, int]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    drift: Mapping[str, Any] | None
    rows: tuple[Mapping[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ExportReport:
    """What an export did; counts only.

    Attributes:
        status: written, unchanged, held, disabled or failed; planned if it is only a plan.
        rows: Rows of the audience's file.
        rows_before: Rows of the file before it, if there is one.
        withheld: Rows left out by the consent check at the moment of writing.
        file: Name of the current file.
        message: Why, when it is not simply done.
    """

    audience: str
    status: str
    version_id: str
    destination: str
    rows: int = 0
    rows_before: int | None = None
    withheld: int = 0
    file: str | None = None
    digest: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    message: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for metadata."""
        return asdict(self)
