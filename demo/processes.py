"""Processes of the demo world: started detached, recognised again, and stopped by pid.

A process is known by its pid *and* the time it started, so that a pid that the system has given to
somebody else is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Start times are read back within clock ticks; a pid is not reused that fast.
_SAME_START_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """A process that was started for the world."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this pid now."""
        return cls(pid, psutil.Process(pid).create_time())

    def is_running(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < _SAME_START_SECONDS
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    def stop(self, first: signal.Signals = signal.SIGTERM, patience: float = 10.0) -> None:
        """Ask it to end, then make it; nothing happens to another process with its pid."""
        for kind, seconds in ((first, patience), (signal.SIGKILL, 5.0)):
            if not self.is_running():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, kind)
            deadline = time.monotonic() + seconds
            while self.is_running() and time.monotonic() < deadline:
                # A child of ours stays a zombie until it is waited for.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(self.pid, os.WNOHANG)
                time.sleep(0.02)


def start_module(module: str, arguments: Sequence[str], log: Path) -> Process:
    """Start `python -m module` so that it outlives this process and holds nothing of it."""
    root = Path(__file__).resolve().parent.parent
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
        )
    try:
        return Process.of(child.pid)
    finally:
        # It is meant to live on: no warning when the handle goes.
        child.returncode = 0


def free_port(preferred: Sequence[int]) -> int:
    """The first of the preferred ports that nobody listens on, or any free one."""
    for port in (*preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def wait_until(ready: Callable[[], bool], seconds: float) -> bool:
    """Ask until it is so or time is up."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
    return True
