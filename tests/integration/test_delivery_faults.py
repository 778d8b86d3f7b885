"""Delivery between a destination that fails at random and a process that is killed at random.

What is claimed of the demo's CRM, which has keys: whatever happens on the way, each row is written
exactly once per change, and what was acknowledged is there and stays acknowledged. Of an API that
can only create and cannot be asked: no row is created twice, and every row that may be there
without our knowing is listed as unknown. A few here; the whole matrix, and kills by the hundred, in
`make test-long`.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation.logs import last_results
from tests.fixtures import activation as damage
from tests.fixtures import destinations as api
from tests.fixtures.activation import Crm, Proxy, World, profile_rows
from tests.fixtures.destinations import Asked, RowsWorld, Service, Told
from tests.integration.conftest import CONTACTS

FAULTS = 0.35
KINDS = [
    damage.error_before, damage.error_after, damage.reset_before, damage.reset_after,
    damage.hang_before, damage.hang_after, damage.too_many, damage.half_unanswered, damage.mixed,
    damage.html_page, damage.redirect, damage.cut_off, damage.of_another_batch, damage.slow,
    damage.reordered,
]  # fmt: skip
SIZES = (4, 10, 20)
PLACES = ("first", "middle", "last")
# Each kind of harm that no other test of `make test` does, in each place and size once.
SHORT = {
    (damage.mixed, "first", 20), (damage.of_another_batch, "middle", 10),
    (damage.slow, "last", 4), (damage.hang_after, "last", 20), (damage.reset_after, "first", 10),
}  # fmt: skip
LONG_KILLS = 150


def matrix() -> Iterator[Any]:
    for kind in KINDS:
        for place in PLACES:
            for size in SIZES:
                marks = [] if (kind, place, size) in SHORT else [pytest.mark.long]
                name = f"{kind.__name__}-{place}-{size}"
                yield pytest.param(kind, place, size, id=name, marks=marks)


def assert_crm_has(crm: Crm, rows: list[dict[str, Any]]) -> None:
    held = {key: row["cdp_ordercount"] for key, row in crm.profiles().items()}
    assert held == {row["contact_id"]: row["order_count"] for row in rows}


@pytest.mark.parametrize(("kind", "place", "size"), matrix())
def test_every_fault_in_every_batch_converges_without_a_second_effect(
    world: World,
    crm: Crm,
    proxy: Proxy,
    kind: damage.Damage,
    place: str,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.batch_size = size
    # A busy machine answers late too: only what hangs is to take longer than this.
    monkeypatch.setattr(damage, "HANG_SECONDS", 4.0)
    world.change_destination(timeout_seconds=3.0 if "hang" in kind.__name__ else 60.0)
    rows = profile_rows(CONTACTS)
    batches = CONTACTS // size
    at = {"first": 0, "middle": batches // 2, "last": batches - 1}[place]
    before = crm.last_version()
    proxy.damages = [*[None] * at, kind]
    world.publish(rows)
    created = world.sync()
    assert (created.status, created.acknowledged) == ("synced", CONTACTS)
    assert_crm_has(crm, rows)
    assert crm.last_version() - before == CONTACTS, "each row was made once"
    for row in rows:
        row["order_count"] += 1
    proxy.damages = [*[None] * at, kind]
    world.publish(rows)
    changed = world.sync()
    assert (changed.status, changed.acknowledged, changed.updates) == ("synced", CONTACTS, CONTACTS)
    assert proxy.damages == [], "the damage was done"
    assert_crm_has(crm, rows)
    assert crm.last_version() - before == 2 * CONTACTS, "each row was changed once"


# ---- killed at any moment ------------------------------------------------------------------------


def killed_somewhere(process: BaseProcess, requests: list[Any], rng: random.Random) -> bool:
    """Kill a process after some of its requests; False if it came to its end before."""
    wanted = len(requests) + rng.randint(0, 30)
    while process.is_alive() and len(requests) < wanted:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.03))
    process.kill()
    process.join(30)
    return process.exitcode == -signal.SIGKILL


def acknowledged(world: World) -> set[str]:
    return {row.op_id for row in world.operations() if row.state == "acknowledged"}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [4, pytest.param(LONG_KILLS, marks=pytest.mark.long)])
def test_killed_at_any_moment_under_faults_each_row_is_written_once(
    world: World, crm: Crm, proxy: Proxy, kills: int
) -> None:
    rng = random.Random(kills)
    proxy.rng = random.Random(kills)
    world.batch_size = 5
    world.change_destination(timeout_seconds=60)
    rows = profile_rows(CONTACTS)
    killed = 0
    while killed < kills:
        for row in rows:
            row["order_count"] += 1
        world.publish(rows)
        before = crm.last_version()
        earlier = kept = acknowledged(world)
        proxy.chance = FAULTS
        for _ in range(4):
            killed += killed_somewhere(world.start_sync(), proxy.seen, rng)
            proxy.wait_until_idle()
            now = acknowledged(world)
            assert kept <= now, "what was acknowledged stays acknowledged"
            kept = now
            held = {key: row["cdp_ordercount"] for key, row in crm.profiles().items()}
            behind = {
                r["contact_id"] for r in rows if held.get(r["contact_id"]) != r["order_count"]
            }
            fresh = {op.destination_key for op in world.operations() if op.op_id in now - earlier}
            assert not behind & fresh, "what was acknowledged is there"
        proxy.chance = 0.0
        assert world.sync().status in ("synced", "unchanged")
        assert_crm_has(crm, rows)
        assert crm.last_version() - before == CONTACTS, "each change took effect once"
        assert world.sync().status == "unchanged"
        states = Counter(operation.state for operation in world.operations())
        assert states.keys() <= {"acknowledged", "superseded"}
        assert all(operation.payload is None for operation in world.operations())


# ---- an API that can only create, and cannot be asked --------------------------------------------


class Intake:
    """Takes whatever it is sent, as a new row each time."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Told:
        self.rows[asked.json["customer"]] += 1
        return Told(201, {"accepted": asked.json["customer"]})


CREATE_ONLY = {
    "create": {
        "method": "POST",
        "path": "intake",
        "body": "{row}",
        "answer": {"key": "accepted"},
    },
    "update": {"method": "PUT", "path": "intake/{key}", "body": "{row}"},
}
HARMS = [
    api.error_before, api.error_after, api.reset_before, api.reset_after, api.html_page,
    api.truncated,
]  # fmt: skip


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [3, pytest.param(LONG_KILLS, marks=pytest.mark.long)])
def test_of_a_create_only_api_every_possible_double_is_listed_and_none_is_made(
    tmp_path: Path, kills: int
) -> None:
    rng = random.Random(kills)
    intake = Intake()
    service = Service(intake)
    section = {
        "kind": "rest",
        "base_url": service.url,
        "timeout_seconds": 60,
        "entities": {"rows": CREATE_ONLY},
    }
    world = RowsWorld(tmp_path / "home", section, batch_size=5)
    rows: list[dict[str, Any]] = []
    killed = 0
    while killed < kills:
        rows += [{"customer": f"c{len(rows) + n}", "points": n} for n in range(30)]
        world.publish(
            rows,
            {"customer": "customer", "points": "points"},
            mode="create_only",
            on_leave="nothing",
            limits={"creates": {"rows": 100_000, "percent": 100}},
        )
        for _ in range(3):
            service.damages = [
                rng.choice(HARMS) if rng.random() < FAULTS else None for _ in range(200)
            ]
            killed += killed_somewhere(world.start_sync(), service.seen, rng)
        service.damages = []
        report = world.sync()
        assert report.status in ("synced", "degraded", "unchanged")
        assert set(intake.rows.values()) <= {1}, "no row was made twice"
        by_state: dict[str, set[str]] = {}
        for row in last_results(api.SYNC, world.place):
            by_state.setdefault(row["state"], set()).add(row["key"])
        unknown = by_state.pop("unknown", set())
        assert by_state == {"acknowledged": {row["customer"] for row in rows} - unknown}
        assert by_state["acknowledged"] <= intake.rows.keys()
        assert report.blocked + report.unknown == len(unknown)
    assert unknown & intake.rows.keys(), "some had arrived, and nobody could know"
    world.close()
    service.close()
