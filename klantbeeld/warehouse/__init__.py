"""The data plane: build, lock, publish, read. DuckDB is the default engine.

One run at a time works in the build file; when its checks pass, a checkpointed copy becomes an
immutable version, and a row in the control plane, committed last, makes it current. Readers open
the current version read-only and never meet a lock.
"""

from klantbeeld.warehouse.lock import RunInProgress
from klantbeeld.warehouse.warehouse import (
    NothingPublished,
    Version,
    VersionGone,
    Warehouse,
    row_counts,
)

__all__ = [
    "NothingPublished",
    "RunInProgress",
    "Version",
    "VersionGone",
    "Warehouse",
    "row_counts",
]
