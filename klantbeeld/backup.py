"""Backup and restore: what a home holds that can never be rebuilt, in one file.

In the archive: the control plane, the home's key, its settings and secrets, the linkage models, the
landing folder (its senders do not keep what they sent). Not in it: the warehouse, which the next
run builds again from these and the sources. The build and dlt's cursors are one unit; a restore
removes both, never one.
"""

import io
import json
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.control.store import SCHEMA_REVISION, raise_epoch
from klantbeeld.control.tables import versions
from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    atomic_file,
    file_digest,
    private_dir,
)
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse.lock import run_lock

FORMAT = 1
_MANIFEST = "klantbeeld-backup.json"
_FOLDERS = ("models", "landing")
_FILES = ("home.key", "klantbeeld.toml", "secrets.toml")


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds."""

    path: Path
    files: int
    bytes: int
    created_at: datetime


def write_backup(settings: Settings, control: ControlPlane, target: Path) -> BackupReport:
    """Write a backup; runs may go on meanwhile.

    Raises:
        KlantbeeldError: The target exists, or cannot be written.
    """
    if target.exists():
        raise KlantbeeldError(f"{target} exists", "Give the backup a name of its own.")
    home = settings.paths.home
    settings.home_key()
    created_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(dir=private_dir(home)) as folder:
        copy = Path(folder) / "control.db"
        control.copy_to(copy)
        members = {"control.db": copy}
        members |= {name: home / name for name in _FILES if (home / name).exists()}
        for name in _FOLDERS:
            members |= {
                path.relative_to(home).as_posix(): path
                for path in sorted((home / name).rglob("*"))
                if path.is_file()
            }
        manifest = {
            "format": FORMAT,
            "schema": SCHEMA_REVISION,
            "created_at": created_at.isoformat(),
            "home_id": control.value("home_id"),
            "environment": settings.environment,
            "files": {name: file_digest(path) for name, path in members.items()},
        }
        try:
            with atomic_file(target) as temporary, tarfile.open(temporary, "w:gz") as archive:
                data = json.dumps(manifest, indent=2).encode()
                entry = tarfile.TarInfo(_MANIFEST)
                entry.size, entry.mode = len(data), 0o600
                archive.addfile(entry, io.BytesIO(data))
                for name, path in members.items():
                    archive.add(path, arcname=name)
        except OSError as error:
            raise KlantbeeldError(f"{target} cannot be written: {error.strerror}") from None
    return BackupReport(target, len(members), target.stat().st_size, created_at)


def restore_backup(settings: Settings, source: Path, *, force: bool = False) -> int:
    """Put a backup back into this home.

    Everything is unpacked and verified beside the home before anything in it is replaced.

    Args:
        settings: The home to restore into.
        source: The backup file.
        force: Replace what the home holds now.

    Returns:
        The new epoch of the home.

    Raises:
        KlantbeeldError: The file is no backup, is damaged, or the home is in use or not empty.
    """
    home = settings.paths.home
    if not source.exists():
        raise KlantbeeldError(
            f"{source} does not exist", "Name the file that `klantbeeld backup` wrote."
        )
    if settings.paths.control_db.exists() and not force:
        raise KlantbeeldError(
            f"{home} already holds a home", "Restore into an empty KLANTBEELD_HOME, or add --force."
        )
    with (
        run_lock(settings.paths.lock_file, "restore"),
        tempfile.TemporaryDirectory(dir=private_dir(home)) as folder,
    ):
        unpacked = Path(folder)
        _unpack(source, unpacked)
        epoch = raise_epoch(unpacked / "control.db")
        # Both halves of the unit go: cursors without their rows would skip what lies between.
        shutil.rmtree(settings.paths.build_dir, ignore_errors=True)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{settings.paths.control_db}{suffix}").unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(home / name, ignore_errors=True)
        for path in unpacked.rglob("*"):
            path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
        for child in unpacked.iterdir():
            if child.name != _MANIFEST:
                child.replace(home / child.name)
    control = open_control(load_settings(home=home))
    _retire_missing(settings, control)
    return epoch


def _unpack(source: Path, target: Path) -> None:
    damaged = KlantbeeldError(
        f"{source} is damaged or not a backup of Klantbeeld",
        "Nothing was changed; try an older one.",
    )
    try:
        with tarfile.open(source, "r:*") as archive:
            archive.extractall(target, filter="data")
        manifest = json.loads((target / _MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise KlantbeeldError(
                f"{source} was written by another release (format {manifest['format']})",
                "Restore it with that release.",
            )
        for name, digest in manifest["files"].items():
            if file_digest(target / name) != digest:
                raise damaged
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError):
        raise damaged from None


def _retire_missing(settings: Settings, control: ControlPlane) -> None:
    """Versions whose files are not here any more cannot be read: say so in the control plane."""
    folder = settings.paths.versions_dir
    with control.begin() as connection:
        known: list[str] = list(
            connection.scalars(
                sa.select(versions.c.version_id).where(versions.c.status != "retired")
            )
        )
        missing = [name for name in known if not (folder / name).exists()]
        connection.execute(
            versions.update().where(versions.c.version_id.in_(missing)).values(status="retired")
        )
        control.audit(connection, "restore", str(control.value("home_id")), retired=len(missing))
