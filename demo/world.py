"""The demo world as a whole: start it, stop it, let it live, look at it, remove it.

Here: what `klantbeeld demo` calls. `start` makes a world if there is none (`demo.building`), starts
PostgreSQL, the newsletter tool and the CRM as processes of their own on 127.0.0.1 and writes
the settings of the home; `advance` lets days pass (`demo.advance`); `generate_tables` gives the
world as Arrow without starting anything.
Not here: how a system works inside.

Every command holds the world's lock and may be killed at any moment: the next `start` or
`advance` finishes or repeats what was under way.
"""

from __future__ import annotations

import datetime as dt
import http.client
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from pyarrow import parquet

from demo import advance as living
from demo import building, configuration, state
from demo.processes import Process, free_port, start_module, wait_until
from demo.shop import server as shop_server
from demo.shop import store as shop_store
from demo.state import Folder, State, World
from demo.tables import generate_tables
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings

__all__ = ["WorldStatus", "advance", "generate_tables", "reset", "start", "status", "stop"]

Progress = Callable[[str], None]
#: The two systems that are services over HTTP.
SERVICES: Final = ("crm", "newsletter")


def _silent(_: str) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True)
class WorldStatus:
    """What the world is and does.

    Attributes:
        exists: Whether a world has been made.
        persons: How many people it started with.
        seed: What it was drawn from.
        business_date: The world's date.
        running: By system, whether its process runs.
        urls: By system, where it is.
        records: Records of persons by source, from the truth.
        is_interrupted: Whether a day was being applied when `advance` was interrupted.
    """

    exists: bool
    persons: int = 0
    seed: int = 0
    business_date: dt.date | None = None
    running: dict[str, bool] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    is_interrupted: bool = False


def start(settings: Settings, progress: Progress = _silent) -> WorldStatus:
    """Make the world if it is not there, start what does not run, and write the home's settings."""
    folder = Folder(settings.demo.dir)
    with state.locked(folder):
        state.require_own(folder)
        world = World.read(folder)
        if world is None or not world.ready:
            if world is not None:
                progress("a world was half made: it is made again")
                _stop_all(folder, world)
                state.clear(folder)
            world = World(settings.demo.persons, settings.demo.seed)
            world.write(folder)
            progress(f"making a world of {world.persons:,} persons")
            building.build(folder, world, progress)
            world.ready = True
            world.write(folder)
        elif (world.persons, world.seed) != (settings.demo.persons, settings.demo.seed):
            progress(
                f"the world of {world.persons:,} persons (seed {world.seed}) is kept; "
                "`klantbeeld demo reset` removes it"
            )
        _start_all(settings, folder, world)
        if living.finish(folder):
            progress("a day that was interrupted is finished")
        kept = configuration.write_settings(
            settings, folder, world, shop_server.socket_folder(folder.shop)
        )
        for path in kept:
            progress(f"{path} is left alone: it was written or changed by somebody")
        result = _status(folder, world)
    progress(f"the world is at {result.business_date}; the CRM is at {result.urls['crm']}")
    return result


def stop(settings: Settings) -> None:
    """Stop the world's processes, and no others."""
    folder = Folder(settings.demo.dir)
    if not folder.world.exists():
        return
    with state.locked(folder):
        world = World.read(folder)
        if world is not None:
            _stop_all(folder, world)


def reset(settings: Settings) -> None:
    """Stop the world's processes and remove all of it."""
    folder = Folder(settings.demo.dir)
    if not folder.root.exists():
        return
    with state.locked(folder):
        state.require_own(folder)
        try:
            world = World.read(folder)
        except KlantbeeldError:
            world = World(0, 0)
        if world is not None:
            _stop_all(folder, world, keep=False)
        shop_server.remove_socket_folder(folder.shop)
        state.clear(folder)
        folder.lock.unlink()
        folder.root.rmdir()


def advance(settings: Settings, days: int, progress: Progress = _silent) -> WorldStatus:
    """Let days pass in every system, and move the clock."""
    if days < 1:
        raise KlantbeeldError("days: expected 1 or more")
    folder = Folder(settings.demo.dir)
    _require_world(folder)
    with state.locked(folder):
        world = World.read(folder)
        if world is None or not world.ready:
            raise KlantbeeldError(
                "the demo world is not complete", "Run `klantbeeld demo start` first."
            )
        if shop_server.find(folder.shop) is None:
            raise KlantbeeldError(
                "the demo's systems do not run", "Run `klantbeeld demo start` first."
            )
        if living.finish(folder):
            progress("a day that was interrupted is finished")
        for _ in range(days):
            progress(living.live_a_day(folder, world.seed))
        return _status(folder, world)


def status(settings: Settings) -> WorldStatus:
    """Look at the world without changing it."""
    folder = Folder(settings.demo.dir)
    world = World.read(folder)
    return WorldStatus(exists=False) if world is None else _status(folder, world)


def _require_world(folder: Folder) -> None:
    if not folder.world.exists():
        raise KlantbeeldError(
            f"there is no demo world in {folder.root}", "Run `klantbeeld demo start` first."
        )


def _status(folder: Folder, world: World) -> WorldStatus:
    running = {
        name: name in world.processes and world.processes[name].is_running() for name in SERVICES
    }
    running["shop"] = shop_server.find(folder.shop) is not None
    urls = {"shop": str(shop_server.socket_folder(folder.shop))}
    if "crm" in world.ports:
        urls["crm"] = f"http://127.0.0.1:{world.ports['crm']}/"
    if "newsletter" in world.ports:
        urls["newsletter"] = configuration.newsletter_url(world)
    records: dict[str, int] = {}
    day = None
    if world.ready:
        day = State.read(folder.state_file).day
        sources = parquet.read_table(folder.truth, columns=["source"])
        counted = sources.group_by("source").aggregate([("source", "count")])
        records = dict(
            sorted(
                zip(counted["source"].to_pylist(), counted["source_count"].to_pylist(), strict=True)
            )
        )
    return WorldStatus(
        exists=True,
        persons=world.persons,
        seed=world.seed,
        business_date=day,
        running=running,
        urls=urls,
        records=records,
        is_interrupted=folder.next.exists(),
    )


# --------------------------------------------------------------------------------------------
# Processes
# --------------------------------------------------------------------------------------------


def _start_all(settings: Settings, folder: Folder, world: World) -> None:
    shop = shop_server.start(folder.shop)
    world.processes["shop"] = shop.process
    world.write(folder)
    shop_store.set_password(shop.socket_folder, folder.secret("shop_password").read_text())
    defaults = {"crm": settings.demo.crm_port, "newsletter": settings.demo.newsletter_port}
    missing = [name for name in SERVICES if not _is_serving(world, name)]
    for attempt in (1, 2):
        # All of them first, then wait: most of a start is Python's own.
        taken = {world.ports[name] for name in SERVICES if name not in missing}
        for name in missing:
            wanted = [p for p in (world.ports.get(name), defaults[name]) if p and p not in taken]
            port = free_port(wanted)
            taken.add(port)
            _stop_service(folder, world, name)
            world.ports[name] = port
            world.processes[name] = _spawn(folder, name, port)
            world.write(folder)
        for name in missing:
            process = world.processes[name]
            wait_until(
                lambda name=name, process=process: (  # type: ignore[misc]
                    _is_serving(world, name) or not process.is_running()
                ),
                seconds=30,
            )
        missing = [name for name in missing if not _is_serving(world, name)]
        if not missing:
            return
        if attempt == 2:
            for name in missing:
                _stop_service(folder, world, name)
            raise KlantbeeldError(
                f"the demo's {missing[0]} does not answer on port {world.ports[missing[0]]}",
                f"See {folder.logs / (missing[0] + '.log')}.",
            )


def _spawn(folder: Folder, name: str, port: int) -> Process:
    common = ["--db", str(_database(folder, name)), "--port", str(port)]
    if name == "crm":
        specific = [
            "--client-id", configuration.CRM_CLIENT,
            "--client-secret-file", str(folder.secret("crm_client_secret")),
            "--clock-file", str(folder.clock),
        ]  # fmt: skip
    else:
        specific = ["--token-file", str(folder.secret("newsletter_token"))]
    return start_module(f"demo.{name}", [*common, *specific], folder.logs / f"{name}.log")


def _database(folder: Folder, name: str) -> Path:
    return folder.crm if name == "crm" else folder.newsletter


def _is_serving(world: World, name: str) -> bool:
    """Whether the world's own process listens on its port and says that it is well."""
    process, port = world.processes.get(name), world.ports.get(name)
    if process is None or port is None or not process.is_running():
        return False
    try:
        connections = psutil.Process(process.pid).net_connections(kind="tcp4")
    except psutil.Error:
        return False
    if not any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
        return False
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        client.request("GET", "/health")
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def _stop_service(folder: Folder, world: World, name: str) -> None:
    for process in (world.processes.pop(name, None), *_left_behind(folder, name)):
        if process is not None:
            process.stop()


def _left_behind(folder: Folder, name: str) -> Iterable[Process]:
    """Services on this world's own file that a killed command did not live to write down."""
    database = str(_database(folder, name))
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if f"demo.{name}" in command and database in command:
            try:
                yield Process.of(process.pid)
            except psutil.Error:
                continue


def _stop_all(folder: Folder, world: World, keep: bool = True) -> None:
    for name in SERVICES:
        _stop_service(folder, world, name)
    shop_server.stop(folder.shop)
    world.processes.pop("shop", None)
    if keep:
        world.write(folder)
