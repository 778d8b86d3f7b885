"""`klantbeeld ui` with Dagster's own web server, daemon and code server."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.long
def test_what_dagsters_processes_write_is_the_owners_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = tmp_path / "home"
    before = os.umask(0o022)
    try:
        ui = subprocess.Popen(
            [sys.executable, "-m", "orchestration.ui", "--port", str(port)],
            env={**os.environ, "KLANTBEELD_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.umask(before)
    try:
        deadline = time.monotonic() + 240
        while not _answers(port):
            assert ui.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        ui.send_signal(signal.SIGTERM)
        ui.wait(60)
    made = [path for path in home.rglob("*") if not path.is_symlink()]
    assert any("dagster" in path.parts for path in made)
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
