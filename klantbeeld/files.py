"""Files of a home: private by default, and never half written."""

import errno
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from klantbeeld.errors import KlantbeeldError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
_FULL = (errno.ENOSPC, errno.EDQUOT)


def private_dir(path: Path) -> Path:
    """Make a folder, and those above it that are missing, readable by its owner alone.

    Raises:
        KlantbeeldError: It cannot be made.
    """
    try:
        for folder in _missing(path):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise KlantbeeldError(
            f"the folder {path} cannot be made: {error.strerror}",
            "Name a place in which the user that runs this may make folders.",
        ) from None
    return path


def require_possible_dir(path: Path) -> None:
    """Refuse a folder that cannot be made; one that can is not there afterwards either.

    Raises:
        KlantbeeldError: It cannot be made.
    """
    missing = _missing(path)
    private_dir(path)
    for folder in reversed(missing):
        folder.rmdir()


def _missing(path: Path) -> list[Path]:
    """The folder and those above it that are not there, the highest first."""
    missing = []
    folder = path
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


def sync_dir(path: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success flush it and rename it into place.

    Readers see the old content or the new one, never a part. The file is private (0600).
    """
    private_dir(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(PRIVATE_FILE)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_dir(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file at once: see `atomic_file`."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def explain_storage(error: BaseException, home: Path) -> KlantbeeldError | None:
    """What a full or unwritable disk means to whoever has to act; None for any other failure."""
    cause: BaseException | None = error
    while cause is not None:
        words = str(cause).lower()
        number = cause.errno if isinstance(cause, OSError) else None
        is_database = isinstance(cause, sqlite3.OperationalError)
        if number in _FULL or (is_database and "disk is full" in words):
            return KlantbeeldError(
                f"the disk of the home {home} is full",
                "Make room (`klantbeeld doctor` says how much) and start again: it converges.",
            )
        if number in (errno.EROFS, errno.EACCES, errno.EPERM) or (
            is_database and ("readonly" in words or "unable to open" in words)
        ):
            place = cause.filename if isinstance(cause, OSError) and cause.filename else home
            return KlantbeeldError(
                f"{place} cannot be written", "Give the user that runs this the right to do so."
            )
        if is_database and "disk i/o error" in words:
            return KlantbeeldError(
                f"a database in the home {home} cannot be read or written (disk I/O error)",
                "The disk may be full or failing: `klantbeeld doctor` says how much is free.",
            )
        cause = cause.__cause__ or cause.__context__
    return None
