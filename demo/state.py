"""What the demo world remembers between commands: where things are, who lives there, the date.

Here: the layout of `demo.dir`, the lock that lets one command change it at a time, `world.json`
(what was made, which processes run) and `state/` (the people and the numbers given out: what
tomorrow is drawn from). The pipeline reads nothing of it but `clock.json`,
and `truth.parquet` to measure itself.

    <demo.dir>/world.json  clock.json  truth.parquet  state/  next/ (a day being applied)
               crm/crm.db  shop/  pos/  newsletter/newsletter.db  web/  print_house/  advertising/
               secrets/  logs/
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from demo.processes import Process
from demo.records import Counters
from demo.tables import end_of_day
from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.files import private_dir, write_atomic

FORMAT = 1


class Folder:
    """The layout of `demo.dir`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.world = self.root / "world.json"
        self.lock = self.root / ".lock"
        self.clock = self.root / "clock.json"
        self.truth = self.root / "truth.parquet"
        self.state = self.root / "state"
        self.state_file = self.state / "state.json"
        self.people = self.state / "people.parquet"
        self.members = self.state / "members.parquet"
        self.next = self.root / "next"
        self.crm = self.root / "crm" / "crm.db"
        self.shop = self.root / "shop"
        self.pos = self.root / "pos"
        self.newsletter = self.root / "newsletter" / "newsletter.db"
        self.web = self.root / "web"
        self.inboxes = {
            "newsletter": self.root / "newsletter" / "inbox",
            "print_house": self.root / "print_house" / "inbox",
            "advertising": self.root / "advertising" / "inbox",
        }
        self.secrets = self.root / "secrets"
        self.logs = self.root / "logs"

    def secret(self, name: str) -> Path:
        """The file of a secret (0600), made at first use."""
        path = self.secrets / name
        if not path.exists():
            private_dir(self.secrets)
            write_atomic(path, secrets.token_urlsafe(24))
        return path


@dataclass
class World:
    """What `world.json` says."""

    persons: int
    seed: int
    ready: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Folder) -> World | None:
        """The world in this folder, or None when there is none."""
        try:
            content: dict[str, Any] = json.loads(folder.world.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise KlantbeeldError(
                f"{folder.world} cannot be read", "Start over with `klantbeeld demo reset`."
            ) from None
        if content.get("format") != FORMAT:
            raise KlantbeeldError(
                f"{folder.world} was made by another version",
                "Start over with `klantbeeld demo reset` and `klantbeeld demo start`.",
            )
        return cls(
            persons=int(content["persons"]),
            seed=int(content["seed"]),
            ready=bool(content["ready"]),
            ports={name: int(port) for name, port in content["ports"].items()},
            processes={
                name: Process(int(each["pid"]), float(each["started"]))
                for name, each in content["processes"].items()
            },
        )

    def write(self, folder: Folder) -> None:
        """Keep it; the file is replaced at once."""
        content = {
            "format": FORMAT,
            "persons": self.persons,
            "seed": self.seed,
            "ready": self.ready,
            "ports": self.ports,
            "processes": {
                name: {"pid": process.pid, "started": process.started}
                for name, process in self.processes.items()
            },
        }
        write_atomic(folder.world, json.dumps(content, indent=2) + "\n")


@dataclass
class State:
    """What tomorrow is drawn from."""

    day: dt.date
    counters: Counters

    @classmethod
    def read(cls, path: Path) -> State:
        """Read `state.json`."""
        content = json.loads(path.read_text())
        return cls(dt.date.fromisoformat(content["day"]), Counters(content["counters"]))

    def write(self, path: Path) -> None:
        """Keep it; the file is replaced at once."""
        content = {"day": self.day.isoformat(), "counters": self.counters.values}
        write_atomic(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def locked(folder: Folder, wait_seconds: float = 180.0) -> Iterator[None]:
    """Let one command at a time change the world; the lock goes when its process does."""
    deadline = time.monotonic() + wait_seconds
    while True:
        private_dir(folder.root)
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait_for(descriptor, folder, deadline)
            if not _is_same_file(descriptor, folder.lock):
                # Somebody removed the world while we waited: lock the new one.
                continue
            yield
            return
        finally:
            os.close(descriptor)


def _wait_for(descriptor: int, folder: Folder, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise KlantbeeldError(
                    f"another command is working on the demo world in {folder.root}",
                    "Wait until it is ready, and try again.",
                    ExitCode.BUSY,
                ) from None
            time.sleep(0.1)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_ino, held.st_dev) == (now.st_ino, now.st_dev)


def require_own(folder: Folder) -> None:
    """Refuse to work in a folder that holds something else."""
    entries = {entry.name for entry in folder.root.iterdir()} - {folder.lock.name}
    if entries and not folder.world.exists():
        raise KlantbeeldError(
            f"{folder.root} holds something else than a demo world",
            "Set demo.dir to an empty or new folder.",
        )


def clear(folder: Folder) -> None:
    """Remove the world but for its lock; `world.json` goes last, so that a repetition goes on."""
    for entry in folder.root.iterdir():
        if entry in (folder.lock, folder.world):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    folder.world.unlink(missing_ok=True)


def write_clock(folder: Folder, day: dt.date) -> None:
    """Move the world's clock to the end of a business date."""
    write_atomic(folder.clock, json.dumps({"as_of": end_of_day(day).isoformat()}) + "\n")


def write_parquet(path: Path, table: pa.Table) -> None:
    """Replace a Parquet file at once."""
    temporary = path.with_name(f".{path.name}.part")
    parquet.write_table(table, temporary, compression="zstd")
    temporary.chmod(0o600)
    temporary.replace(path)
