"""Making a new world: drawn block by block, loaded into each system the way that system loads.

Flow: `draw_blocks()` -> CRM file, PostgreSQL (COPY), till files, newsletter file, click stream; and
people, members, truth and the numbers given out -> `state/`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from demo.crm import store as crm_store
from demo.files import append
from demo.newsletter import store as newsletter_store
from demo.people import WORLD_START
from demo.pos.files import write_members, write_receipts
from demo.records import Counters
from demo.shop import server as shop_server
from demo.shop import store as shop_store
from demo.state import Folder, State, World, write_clock
from demo.tables import draw_blocks, without_person
from demo.web.files import write_events
from klantbeeld.failpoints import failpoint
from klantbeeld.files import private_dir

Progress = Callable[[str], None]


def build(folder: Folder, world: World, progress: Progress) -> None:
    """Make the world's systems and fill them; leaves the shop's PostgreSQL running."""
    for path in (folder.state, folder.logs, *folder.inboxes.values(), folder.pos, folder.web):
        private_dir(path)
    private_dir(folder.crm.parent)
    crm_store.create(folder.crm)
    folder.crm.chmod(0o600)
    newsletter_store.create(folder.newsletter)
    counters = Counters()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))
        # PostgreSQL makes its data folder while the first people are drawn.
        starting = pool.submit(_start_shop, folder, world)
        writers = _ParquetWriters(stack, folder)
        made = 0
        for tables in draw_blocks(world.persons, world.seed, counters):
            socket_folder = starting.result()
            loads = [
                pool.submit(shop_store.load, socket_folder, _of("shop", tables)),
                pool.submit(_load_files_and_services, folder, tables),
            ]
            writers.write(tables)
            for load in loads:
                load.result()
            failpoint("demo.build.drawn")
            made += tables["people"].num_rows
            progress(f"{made:,} of {world.persons:,} persons are in the systems")
        newsletter_store.add_indexes(folder.newsletter)
        shop_store.add_constraints(socket_folder)
    State(WORLD_START, counters).write(folder.state_file)
    write_clock(folder, WORLD_START)


def _start_shop(folder: Folder, world: World) -> Path:
    server = shop_server.start(folder.shop)
    world.processes["shop"] = server.process
    world.write(folder)
    shop_store.create(server.socket_folder, folder.secret("shop_password").read_text())
    return server.socket_folder


def _of(system: str, tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    prefix = f"{system}."
    return {
        name.removeprefix(prefix): without_person(name, table)
        for name, table in tables.items()
        if name.startswith(prefix)
    }


def _load_files_and_services(folder: Folder, tables: dict[str, pa.Table]) -> None:
    crm_store.load(folder.crm, _of("crm", tables))
    newsletter_store.load(folder.newsletter, _of("newsletter", tables))
    write_receipts(folder.pos, tables["pos.receipt_lines"], WORLD_START, append)
    write_members(folder.pos, tables["pos.members"], WORLD_START, append)
    write_events(folder.web, tables["web.events"], append)


class _ParquetWriters:
    """Files that grow by a block at a time."""

    def __init__(self, stack: ExitStack, folder: Folder) -> None:
        self._stack = stack
        self._paths = {
            "people": folder.people,
            "pos.members": folder.members,
            "truth": folder.truth,
        }
        self._writers: dict[str, parquet.ParquetWriter] = {}

    def write(self, tables: dict[str, pa.Table]) -> None:
        for name, path in self._paths.items():
            if name not in self._writers:
                writer = parquet.ParquetWriter(path, tables[name].schema, compression="zstd")
                path.chmod(0o600)
                self._writers[name] = self._stack.enter_context(writer)
            self._writers[name].write_table(tables[name])
