"""What a run of a sync or an export says of itself: ids and counts, never a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SyncReport:
    """What a sync run did; counts only.

    Attributes:
        status: synced, unchanged, held, disabled, failed, or degraded: some rows were rejected
            or have an unknown outcome.
        acknowledged: Rows accepted in this run, or found accepted by an earlier one.
        unknown: Rows whose outcome could not be learnt.
        held: Rows that wait for a person.
        requests: HTTP requests, retries and reading back included.
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
    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    seconds: float = 0.0
    message: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for metadata."""
        return asdict(self)


@dataclass(frozen=True)
class ExportReport:
    """What an export did; counts only.

    Attributes:
        status: written, unchanged, held, disabled or failed.
        rows: Rows of the audience's file.
        withheld: Rows left out by the consent check at the moment of writing.
        file: Name of the current file.
        message: Why, when it is not simply done.
    """

    audience: str
    status: str
    version_id: str
    destination: str
    rows: int = 0
    withheld: int = 0
    file: str | None = None
    digest: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    message: str | None = None

    def as_dict(self) -> dict[str, object]:
        """The report as plain values, for metadata."""
        return asdict(self)
