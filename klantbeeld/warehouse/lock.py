"""The run lock: an operating-system lock that dies with the process that holds it.

A lock file with a process id would outlive a kill; `flock` does not. Children do not inherit it
(Python opens files close-on-exec), and those that write the build die with their parent
(`klantbeeld.processes`).
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.files import PRIVATE_FILE, private_dir


class RunInProgress(KlantbeeldError):
    """Another process works in this home's build."""

    def __init__(self, holder: dict[str, str]) -> None:
        who = f"process {holder.get('pid', '?')}, {holder.get('purpose', 'unknown')}"
        super().__init__(
            f"another run is in progress in this home ({who}, since {holder.get('since', '?')})",
            "Wait for it to end, or stop that process; its lock ends with it.",
            ExitCode.BUSY,
        )


@contextmanager
def run_lock(path: Path, purpose: str) -> Iterator[None]:
    """Hold the home's run lock.

    Args:
        path: The lock file; it stays, only the lock on it matters.
        purpose: What for, shown to whoever is refused.

    Raises:
        RunInProgress: Another process holds it.
    """
    private_dir(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInProgress(_holder(path)) from None
        holder = {
            "pid": str(os.getpid()),
            "purpose": purpose,
            "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> dict[str, str] | None:
    """Who holds the lock now, or nobody."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(path)
    else:
        return None
    finally:
        os.close(descriptor)


def _holder(path: Path) -> dict[str, str]:
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
