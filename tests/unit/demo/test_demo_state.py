"""What the demo keeps between commands: its lock, its processes, and the settings it writes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from demo import configuration, state
from demo.processes import Process, free_port
from demo.shop.server import LONGEST_SOCKET_FOLDER, socket_folder
from demo.state import Folder, World
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import load_settings

WORLD = World(persons=60, seed=1, ready=True, ports={"crm": 20001, "newsletter": 20002})


def test_a_process_is_not_another_with_its_pid() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        process = Process.of(child.pid)
        impostor = Process(child.pid, process.started - 100)
        assert process.is_running()
        assert not impostor.is_running()
        impostor.stop()
        assert process.is_running()
        process.stop()
        assert not process.is_running()
    finally:
        child.kill()
        child.wait()


def test_a_taken_port_is_passed_over() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert free_port([taken]) != taken


def test_settings_are_written_and_read_back(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    folder = Folder(tmp_path / "world")
    assert configuration.write_settings(settings, folder, WORLD, tmp_path / "socket") == []
    read = load_settings(home=tmp_path / "home")
    assert read.environment == "demo"
    assert read.demo.dir == folder.root
    assert read.demo.crm_port == 20001
    assert read.sources["shop"]["host"] == str(tmp_path / "socket")
    assert read.sources["shop"]["password"] == folder.secret("shop_password").read_text()
    assert read.destinations["crm"]["environment"] == "demo"
    for path in (read.paths.config, read.paths.secrets, folder.secret("newsletter_token")):
        assert path.stat().st_mode & 0o777 == 0o600
    secret = folder.secret("crm_client_secret").read_text()
    assert secret not in read.paths.config.read_text()


def test_settings_that_somebody_changed_are_left_alone(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    folder = Folder(tmp_path / "world")
    configuration.write_settings(settings, folder, WORLD, tmp_path / "socket")
    config = settings.paths.config
    config.write_text(config.read_text() + "\n[warehouse]\nthreads = 1\n")
    changed = config.read_text()
    assert configuration.write_settings(settings, folder, WORLD, tmp_path) == [config]
    assert config.read_text() == changed


def test_one_command_at_a_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "world")
    order: list[str] = []

    def second() -> None:
        with state.locked(folder):
            order.append("second")

    with state.locked(folder):
        thread = threading.Thread(target=second)
        thread.start()
        with pytest.raises(KlantbeeldError) as refused, state.locked(folder, wait_seconds=0.2):
            pass
        assert refused.value.exit_code == 4
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(KlantbeeldError, match="something else"):
        state.require_own(Folder(tmp_path))


def test_the_socket_moves_when_the_path_is_too_long(tmp_path: Path) -> None:
    assert socket_folder(Path("/srv/shop")) == Path("/srv/shop/socket")
    long = socket_folder(tmp_path / ("x" * 120))
    assert len(os.fsencode(long)) <= LONGEST_SOCKET_FOLDER
    assert long != socket_folder(tmp_path / ("y" * 120))
