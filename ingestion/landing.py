"""The landing folder: files are copied into the home, with a manifest, before anybody reads them.

Their senders do not keep them, so these copies are what a rebuild reads. The manifest
(`landing_files` in the control plane) says what has been received; which of it a build holds, the
build says itself (`raw_<source>.landed_files`).

    <folder>/<name>  ->  <home>/landing/<source>/<name>.<first digits of its digest>

* A file is known by name, size and time of change; nothing known is opened again.
* The same name with other content is a new version, landed beside the old one and merged by key.
* A file whose last line has no end may still be written: it is left alone until it has not changed
  for `settle_seconds`, and then read whole. A last line that is cut off is then quarantined, and
  superseded as soon as a longer version of the file arrives.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import landing_files
from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import PRIVATE_FILE, private_dir, sync_dir
from klantbeeld.settings import Settings

LANDED, LOADED, QUARANTINED = "landed", "loaded", "quarantined"
_PAGE = 500
_COPY_BYTES = 1024 * 1024
# Unknown files that are named; the others are counted.
_NAMED = 5


@dataclass(frozen=True, order=True)
class LandedFile:
    """One version of a file, as it was received."""

    received_at: datetime
    name: str
    digest: str
    size: int
    path: Path
    status: str = LANDED


class Landing:
    """The landing folder of one source."""

    def __init__(self, settings: Settings, control: ControlPlane, source: str) -> None:
        self._control = control
        self._source = source
        self._folder = settings.paths.landing_dir / source

    def receive(
        self, folder: Path, patterns: Sequence[str], *, settle_seconds: float, at: datetime
    ) -> list[str]:
        """Copy what is new in a folder; remarks about files that were left alone, or are unknown.

        Raises:
            KlantbeeldError: The folder is not there, or cannot be read.
        """
        if not folder.is_dir():
            raise KlantbeeldError(
                f"the folder of source {self._source} does not exist: {folder}",
                f"Create or mount it, or correct `folder` in [sources.{self._source}].",
            )
        known = self._latest()
        notes: list[str] = []
        page: list[dict[str, Any]] = []
        listed = set()
        for name, path in _listing(folder, patterns):
            listed.add(name)
            try:
                landed = self._receive_file(name, path, known.get(name), settle_seconds, at)
            except OSError as error:
                notes.append(f"{name} could not be read ({error.strerror}) and is tried again")
                continue
            if landed == "waiting":
                notes.append(f"{name} is still being written and is read when it has settled")
            elif isinstance(landed, dict):
                page.append(landed)
            if len(page) >= _PAGE:
                self._commit(page)
                page = []
        self._commit(page)
        return notes + _unknown(folder, listed, patterns)

    def versions(self) -> list[LandedFile]:
        """Every version received, oldest first: read in this order, the latest of a row wins."""
        with self._control.read() as connection:
            rows = connection.execute(
                sa.select(landing_files)
                .where(landing_files.c.source == self._source)
                .order_by(landing_files.c.received_at, landing_files.c.name, landing_files.c.digest)
            ).all()
        return [
            LandedFile(
                received_at=row.received_at,
                name=row.name,
                digest=row.digest,
                size=row.bytes,
                path=self.path(row.name, row.digest),
                status=row.status,
            )
            for row in rows
        ]

    def path(self, name: str, digest: str) -> Path:
        """Where a version is kept."""
        place = PurePosixPath(name)
        return self._folder / place.parent / f"{place.name}.{digest[:12]}"

    def settle(self, rows: Sequence[dict[str, Any]], at: datetime) -> None:
        """Say in the manifest what became of files: name, digest, status, rows_read, message."""
        if not rows:
            return
        bound = [
            {
                "b_source": self._source,
                "b_name": row["name"],
                "b_digest": row["digest"],
                "status": row["status"],
                "rows_read": row["rows_read"],
                "message": row["message"],
                "loaded_at": at,
            }
            for row in rows
        ]
        with self._control.begin() as connection:
            connection.execute(
                landing_files.update().where(
                    landing_files.c.source == sa.bindparam("b_source"),
                    landing_files.c.name == sa.bindparam("b_name"),
                    landing_files.c.digest == sa.bindparam("b_digest"),
                ),
                bound,
            )

    def _latest(self) -> dict[str, tuple[str, int]]:
        """Digest and size of the last version of each name."""
        with self._control.read() as connection:
            rows = connection.execute(
                sa.select(landing_files.c.name, landing_files.c.digest, landing_files.c.bytes)
                .where(landing_files.c.source == self._source)
                .order_by(landing_files.c.received_at, landing_files.c.digest)
            ).all()
        return {row.name: (row.digest, row.bytes) for row in rows}

    def _receive_file(
        self,
        name: str,
        path: Path,
        known: tuple[str, int] | None,
        settle_seconds: float,
        at: datetime,
    ) -> dict[str, Any] | str | None:
        """A row for the manifest, `waiting`, or nothing if the file is known."""
        stat = path.stat()
        if known is not None and known[1] == stat.st_size and self._is_same(name, known[0], stat):
            return None
        unsettled = abs(time.time() - stat.st_mtime) < settle_seconds
        if unsettled and not (stat.st_size and _ends_a_line(path, stat.st_size)):
            return "waiting"
        digest, size = self._copy(name, path, stat)
        if known is not None and known[0] == digest:
            return None
        return {
            "source": self._source,
            "name": name,
            "digest": digest,
            "bytes": size,
            "received_at": at,
            "loaded_at": None,
            "status": LANDED,
            "rows_read": None,
            "message": None,
        }

    def _is_same(self, name: str, digest: str, stat: os.stat_result) -> bool:
        # The copy carries the original's time of change; both are looked at, neither is opened.
        try:
            return self.path(name, digest).stat().st_mtime_ns == stat.st_mtime_ns
        except FileNotFoundError:
            return False

    def _copy(self, name: str, path: Path, stat: os.stat_result) -> tuple[str, int]:
        """Copy a file under the name its content gives it; digest and size of the copy."""
        target_folder = private_dir((self._folder / name).parent)
        temporary = target_folder / f".{Path(name).name}.part"
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as original, temporary.open("wb") as copy:
            os.fchmod(copy.fileno(), PRIVATE_FILE)
            while chunk := original.read(_COPY_BYTES):
                digest.update(chunk)
                copy.write(chunk)
                size += len(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        os.utime(temporary, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        target = self.path(name, digest.hexdigest())
        temporary.replace(target)
        return digest.hexdigest(), size

    def _commit(self, page: Sequence[dict[str, Any]]) -> None:
        """Enter copied files in the manifest, once their names are safely on disk."""
        if not page:
            return
        for folder in {self.path(row["name"], row["digest"]).parent for row in page}:
            sync_dir(folder)
        with self._control.begin() as connection:
            # A version that came back (A, B, A again) is the latest once more.
            for row in page:
                connection.execute(
                    landing_files.delete().where(
                        landing_files.c.source == row["source"],
                        landing_files.c.name == row["name"],
                        landing_files.c.digest == row["digest"],
                    )
                )
            connection.execute(landing_files.insert(), list(page))


def _listing(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Names below the folder, and where they are, in a fixed order."""
    from dlt.sources.filesystem import filesystem
    from fsspec.implementations.local import LocalFileSystem

    class Folder(LocalFileSystem):  # type: ignore[misc]
        """A folder in which files come and go while it is listed."""

        def info(self, path: str, **options: Any) -> dict[str, Any]:
            """What is known of a name; one that leads nowhere (any more) is not a file."""
            try:
                found: dict[str, Any] = super().info(path, **options)
            except OSError:
                return {"name": path, "type": "other"}
            return found

    found = {
        item["relative_path"]
        for pattern in patterns
        for item in filesystem(bucket_url=str(folder), file_glob=pattern, credentials=Folder())
    }
    for name in sorted(found):
        yield name, folder / name


def _unknown(folder: Path, listed: Set[str], patterns: Sequence[str]) -> list[str]:
    """A remark about what is in the folder and no table reads; hidden names are nobody's news."""
    expected = [pattern.rpartition("/")[2] for pattern in patterns]
    unknown = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = "" if place == str(folder) else f"{Path(place).relative_to(folder).as_posix()}/"
        unknown += [
            below + name
            for name in files
            if not name.startswith(".") and below + name not in listed
        ]
        unknown += [
            f"{below}{name}/"
            for name in folders
            if any(fnmatchcase(name, pattern) for pattern in expected)
        ]
    if not unknown:
        return []
    named = ", ".join(sorted(unknown)[:_NAMED])
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    return [f"unknown in the folder and not read: {named}{more}; files are {', '.join(expected)}"]


def _ends_a_line(path: Path, size: int) -> bool:
    with path.open("rb") as stream:
        stream.seek(size - 1)
        return stream.read(1) == b"\n"
