"""What planning and delivery cost, and how near they come to what a destination allows.

`python -m benchmarks.delivery --rows 1000000` plans and sends a model of that many rows to a
destination inside the process, so that what is measured is ours: the plan, the outbox and the
ledger. Each step is a process of its own, for its CPU time and peak memory, and so is what makes
the model: Linux hands the peak of a process on to those that it starts. The rate is measured
against a server that allows so many requests per second and refuses the rest, with as many rows as
fill it for `--seconds`; the requests per batch against the demo's CRM behind a proxy that harms
35 % of all requests. `--only` measures one of the three.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from klantbeeld.activation import Home, SyncReport, destinations, plan_sync, run_sync
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.control import open_control
from klantbeeld.http import Traffic
from klantbeeld.settings import Settings
from klantbeeld.warehouse import Warehouse
from tests.fixtures import activation as crm
from tests.fixtures.destinations import SYNC, Asked, RowsWorld, Service, Told, settings_with

COLUMNS = {"customer": "id", "name": "name", "city": "city", "stage": "stage"}
COLUMNS |= {"revenue": "revenue", "orders": "orders", "last_order": "last_order"}
FAULTS = 0.35
say = partial(print, flush=True)
FAULT_KINDS = [crm.error_before, crm.error_after, crm.reset_before, crm.reset_after]
FAULT_KINDS += [crm.silent_before, crm.silent_after, crm.too_many_at_once, crm.mixed]
STEPS = {
    "plan": "plan of a first sync",
    "run": "first run, every row sent",
    "idle": "run with nothing to do",
    "plan_changed": "plan with 1 % changed",
    "run_changed": "run with 1 % changed",
}


class Instant:
    """A destination inside the process that accepts everything at once."""

    largest_batch = 1_000
    is_readable = True
    is_idempotent = True
    wants_whole_rows = False

    def __init__(self, settings: Settings, spec: SyncSpec) -> None:
        self.traffic = Traffic()

    def check(self, types: Mapping[str, str]) -> None:
        """Everything fits."""

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as texts."""
        return {name: None if value is None else str(value) for name, value in values.items()}

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Accept all."""
        self.traffic.requests += 1
        return {operation.op_id: Outcome("acknowledged") for operation in operations}

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Nothing is kept."""
        return {}

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Nothing is kept."""
        return False


destinations.RECORDS["instant"] = "benchmarks.delivery:Instant"


def publish(home: Path, rows: int, *, changed: bool) -> None:
    """Publish a version of the model; `changed`: one row in a hundred has another city."""
    world = RowsWorld(home, {"kind": "instant"}, batch_size=1_000)
    sample: dict[str, Any] = {"customer": "c", "name": "n", "city": "c", "stage": "s"}
    sample |= {"revenue": "1.00", "orders": 1, "last_order": "d"}
    world.publish([sample], COLUMNS, on_leave="nothing")
    city = "case when i % 100 = 0 then 'Ede' else 'Tiel' end" if changed else "'Tiel'"
    with world.warehouse.build() as connection:
        connection.execute(f"""
            create or replace table activation.{SYNC} as
            select
                'c' || i as customer, 'Bedacht ' || i as name, {city} as city,
                'Actief' as stage, cast(i * 7 % 10000 / 100 as decimal(14, 2)) as revenue,
                cast(i % 50 as integer) as orders, date '2026-01-01' + cast(i % 300 as int) as
                last_order
            from range({rows}) as numbers (i)
        """)
    world.warehouse.publish(
        run_id="bench",
        as_of=crm.AS_OF,
        counts={},
        on_commit=lambda *_: None,
        manifest=home / "manifest.json",
    )
    world.close()


def step(folder: Path, name: str) -> None:
    """One measured step, in the process that was started for it; prints what came of it."""
    settings = settings_with(
        folder,
        {"kind": "instant"},
        as_of_file=folder / "clock.json",
        activation={"batch_size": 1_000},
    )
    control = open_control(settings)
    home = Home(settings, control, Warehouse(settings, control))
    if name.startswith("plan"):
        plan = plan_sync(SYNC, home, limit=0)
        told = {"creates": plan.creates, "updates": plan.updates, "unchanged": plan.unchanged}
    else:
        report = run_sync(SYNC, home, "bench")
        told = {"status": report.status, "acknowledged": report.acknowledged}
    print(json.dumps(told))


def command(home: Path, name: str, *arguments: str) -> list[str]:
    """What runs a step in a process of its own."""
    own = [sys.executable, "-m", "benchmarks.delivery", "--home", str(home), "--step", name]
    return [*own, *arguments]


def measured(home: Path, name: str) -> str:
    """Run a measured step; returns its line of the table."""
    started = time.monotonic()
    with subprocess.Popen(command(home, name), stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    wall, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    return (
        f"| {STEPS[name]} | {wall:.1f} | {cpu:.1f} | {usage.ru_maxrss / 1024:,.0f}"
        f" | {', '.join(f'{k} {v}' for k, v in json.loads(told).items())} |"
    )


class Limited:
    """Accepts so many batches in any ten seconds; what is above that is refused with 429."""

    def __init__(self, per_second: int) -> None:
        self._allowed = 10 * per_second
        self.times: list[float] = []
        self.refused = 0

    def __call__(self, asked: Asked) -> Told:
        """Answer one batch."""
        now = time.monotonic()
        if sum(then > now - 10 for then in self.times[-self._allowed :]) >= self._allowed:
            self.refused += 1
            return Told(429, headers={"Retry-After": "1"})
        self.times.append(now)
        return Told(200, {"results": [{"id": row["id"]} for row in asked.json["rows"]]})

    @property
    def rate(self) -> float:
        """Requests per second that were accepted, from the first to the last."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


def rate(per_second: int, seconds: int, size: int) -> str:
    """How much of a rate limit is used, with batches of `size` rows; a line of the table."""
    limited = Limited(per_second)
    service = Service(limited)
    batch = {"path": "batch", "largest": size, "body": {"rows": "{rows}"}}
    batch |= {"rows": "results", "key": "id"}
    section = {"kind": "rest", "base_url": service.url, "requests_per_second": per_second}
    section["entities"] = {"rows": {"batch": batch}}
    rows = size * per_second * seconds
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        publish(home, rows, changed=False)
        world = RowsWorld(home, section, batch_size=size)
        report = world.sync()
        world.close()
    service.close()
    assert report.acknowledged == rows
    share = limited.rate / per_second
    return (
        f"| {rows:,} | {size} | {per_second} | {limited.rate:.2f} | {share:.1%}"
        f" | {limited.refused} | {report.acknowledged / report.seconds:,.0f} |"
    )


def under_faults(batches: int) -> str:
    """Requests per batch with 35 % of all requests harmed; a line of the table."""
    size = 20
    with tempfile.TemporaryDirectory() as folder:
        system = crm.Crm(Path(folder) / "crm", batches * size).start()
        proxy = crm.Proxy(system, rng=random.Random(1), kinds=FAULT_KINDS)
        world = crm.World(Path(folder) / "home", proxy.url, batch_size=size)
        world.publish(crm.profile_rows(batches * size))
        before = system.last_version()
        proxy.chance = FAULTS
        reports: list[SyncReport] = []
        while not reports or reports[-1].status == "failed":
            reports.append(world.sync())
        effects = system.last_version() - before
        assert len(system.profiles()) == batches * size
        world.close()
        proxy.close()
        system.stop()
    requests = len(proxy.seen)
    return (
        f"| {batches} | {requests} | {requests / batches:.2f} | {len(reports)}"
        f" | {effects - batches * size} |"
    )


def print_steps(rows: int) -> None:
    """The table of what planning and sending a large model costs."""
    say(f"| {rows:,} rows | wall s | CPU s | MB | |\n|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        subprocess.run(command(home, "publish", "--rows", str(rows)), check=True)
        for name in ("plan", "run", "idle"):
            say(measured(home, name))
        subprocess.run(command(home, "publish_changed", "--rows", str(rows)), check=True)
        for name in ("plan_changed", "run_changed"):
            say(measured(home, name))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("steps", "rate", "faults"))
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large model")
    parser.add_argument("--per-second", type=int, default=5, help="requests that are allowed")
    parser.add_argument("--seconds", type=int, default=30, help="for how long they are sent")
    parser.add_argument("--batch-rows", type=int, default=100, help="rows in one of them")
    parser.add_argument("--batches", type=int, default=200, help="batches sent under faults")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.step in ("publish", "publish_changed"):
        publish(arguments.home, arguments.rows, changed=arguments.step == "publish_changed")
        return
    if arguments.step:
        step(arguments.home, arguments.step)
        return
    if arguments.only in (None, "steps"):
        print_steps(arguments.rows)
    if arguments.only in (None, "rate"):
        say("\n| rows | per request | requests/s allowed | used | share | refused (429) | rows/s |")
        say("|---:|---:|---:|---:|---:|---:|---:|")
        say(rate(arguments.per_second, arguments.seconds, arguments.batch_rows))
    if arguments.only in (None, "faults"):
        say("\n| batches | requests at 35 % faults | per batch | runs | rows written twice |")
        say("|---:|---:|---:|---:|---:|")
        say(under_faults(arguments.batches))


if __name__ == "__main__":
    main()
