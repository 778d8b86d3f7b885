"""Any order of changes, faults, kills, restores and meddling ends in what the model wants.

The engine is the real one, and so are the requests; the model of it is a dictionary.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from klantbeeld.activation import plan_sync
from klantbeeld.control import open_control
from klantbeeld.control.store import raise_epoch
from klantbeeld.warehouse import Warehouse
from tests.fixtures import destinations as harm
from tests.fixtures.destinations import SYNC, Asked, RowsWorld, Service, Told

COLUMNS = {"customer": "external_id", "city": "city", "points": "points"}
KEYS = ["k0", "k1", "k2", "k3", "k4"]
CITIES = st.sampled_from(["Ede", "Goes", "Urk", None])
FAILPOINTS = [
    "sync.after_plan", "sync.before_send", "sync.after_send", "sync.before_ack", "sync.after_ack",
]  # fmt: skip
# Of every kind one before and one after it took effect; those that make a test wait are left out.
DAMAGES = [
    None, harm.error_before, harm.error_after, harm.reset_before, harm.reset_after, harm.truncated,
    harm.html_page,
]  # fmt: skip

PROOF = {"key": "external_id"}
ENTITY: dict[str, Any] = {
    "find": {
        "path": "members", "query": {"external_id": "{key}"}, "rows": "rows",
        "key": "external_id", "id": "id",
    },
    "list": {"path": "members", "rows": "rows", "key": "external_id"},
    "create": {"method": "POST", "path": "members", "body": "{row}", "answer": PROOF},
    "update": {"method": "PATCH", "path": "members/{id}", "body": "{values}", "answer": PROOF},
    "delete": {"method": "DELETE", "path": "members/{id}"},
}  # fmt: skip


class Members:
    """An API with ids of its own, that would make a row twice if it were asked to."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.issued = 0

    def __call__(self, asked: Asked) -> Told:
        *_, last = asked.path.split("/")
        if asked.method == "GET":
            wanted = asked.query.get("external_id")
            found = [
                {"id": number, **row}
                for number, row in self.rows.items()
                if wanted is None or row["external_id"] == wanted[0]
            ]
            return Told(200, {"rows": found})
        if asked.method == "POST":
            self.issued += 1
            self.rows[self.issued] = dict(asked.json)
            return Told(201, asked.json)
        number = int(last)
        if number not in self.rows:
            return Told(404)
        if asked.method == "DELETE":
            del self.rows[number]
            return Told(204)
        self.rows[number] |= asked.json
        return Told(200, {"external_id": self.rows[number]["external_id"]})

    def held(self) -> list[tuple[str, str | None, int]]:
        return sorted(
            (row["external_id"], row.get("city"), row["points"]) for row in self.rows.values()
        )


class Killed(BaseException):
    """The process ends here, with all that was committed on disk and nothing else."""


@contextmanager
def killed_at(name: str, count: int) -> Iterator[None]:
    passed = 0

    def failpoint(point: str) -> None:
        nonlocal passed
        passed += point == name
        if point == name and passed == count:
            raise Killed

    with (
        mock.patch("klantbeeld.activation.delivery.failpoint", failpoint),
        mock.patch("klantbeeld.activation.syncs.failpoint", failpoint),
        suppress(Killed),
    ):
        yield


class History(RuleBasedStateMachine):
    """What may happen to a sync."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.members = Members()
        self.service = Service(self.members)
        section = {
            "kind": "rest",
            "base_url": self.service.url + "/",
            "timeout_seconds": 5,
            "entities": {"rows": ENTITY},
        }
        self.world = RowsWorld(self.folder / "home", section, batch_size=2)
        self.wanted: dict[str, tuple[str | None, int]] = {"k0": ("Ede", 0)}
        self.is_published = False
        self.was_meddled = False
        self.backup: Path | None = None

    def publish(self) -> None:
        if not self.is_published:
            rows = [
                {"customer": key, "city": city, "points": points}
                for key, (city, points) in self.wanted.items()
            ]
            self.world.publish(rows, COLUMNS, mode="mirror", exclusive=True)
            self.is_published = True

    @rule(key=st.sampled_from(KEYS), city=CITIES, points=st.integers(0, 3))
    def change(self, key: str, city: str | None, points: int) -> None:
        self.wanted[key] = (city, points)
        self.is_published = False

    @rule(key=st.sampled_from(KEYS[1:]))
    def leave(self, key: str) -> None:
        self.is_published &= self.wanted.pop(key, None) is None

    @rule(damages=st.lists(st.sampled_from(DAMAGES), max_size=6))
    def sync(self, damages: list[Any]) -> None:
        self.publish()
        self.service.damages = damages
        self.world.sync()
        self.service.damages = []

    @rule(name=st.sampled_from(FAILPOINTS), count=st.integers(1, 3))
    def kill(self, name: str, count: int) -> None:
        self.publish()
        with killed_at(name, count):
            self.world.sync()

    @rule()
    def back_up(self) -> None:
        self.backup = self.folder / "backup.db"
        self.world.control.copy_to(self.backup)

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        raise_epoch(self.backup)
        self.world.control.close()
        database = self.world.settings.paths.control_db
        for suffix in ("-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        shutil.copy(self.backup, database)
        self.world.control = open_control(self.world.settings)
        self.world.warehouse = Warehouse(self.world.settings, self.world.control)
        self.is_published = False

    @rule(city=CITIES, is_deleted=st.booleans())
    def meddle(self, city: str | None, is_deleted: bool) -> None:
        """Somebody else changes or deletes a row of the destination."""
        for number in list(self.members.rows)[:1]:
            self.was_meddled = True
            if is_deleted:
                del self.members.rows[number]
            else:
                self.members.rows[number]["city"] = city

    @rule()
    def settle(self) -> None:
        """Undisturbed, it ends in what the model wants, and then has nothing to do."""
        self.publish()
        if self.was_meddled:
            self.world.reconcile(repair=True)
            self.was_meddled = False
        report = self.world.sync()
        if report.status == "held":  # a first sync in a home that was restored to before it
            raise AssertionError(report.message)
        self.world.sync()  # what a first sync may not delete, the second does
        expected = sorted((key, city, points) for key, (city, points) in self.wanted.items())
        assert self.members.held() == expected
        self.service.seen.clear()
        assert self.world.sync().status == "unchanged"
        assert self.service.seen == []
        assert all(operation.payload is None for operation in self.world.operations())

    @invariant()
    def nothing_is_there_twice(self) -> None:
        keys = [row["external_id"] for row in self.members.rows.values()]
        assert len(keys) == len(set(keys))

    def teardown(self) -> None:
        try:
            self.settle()
            plan = plan_sync(SYNC, self.world.place, against_destination=True)
            assert (plan.creates, plan.updates, plan.deletes) == (0, 0, 0)
        finally:
            self.world.close()
            self.service.close()
            shutil.rmtree(self.folder)


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("klantbeeld.activation.delivery._BASE_SECONDS", 0.001)
    monkeypatch.setattr("klantbeeld.http.GuardedSession._back_off", lambda *_: 0.001)


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_history_ends_in_what_is_wanted() -> None:
    run(3, 10)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_any_long_history_ends_in_what_is_wanted() -> None:
    run(100, 30)
