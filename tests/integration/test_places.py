"""A ledger is of one place: what becomes of it when settings, model or a backup change that."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation import plan_sync
from klantbeeld.activation.destinations.rest import Rest
from klantbeeld.activation.ledger import Ledger
from klantbeeld.cli.status import delivery_lines
from klantbeeld.clock import Clock
from klantbeeld.errors import KlantbeeldError
from klantbeeld.status import read_status
from tests.fixtures.destinations import SYNC, Asked, RowsWorld, Service, Told

pytestmark = pytest.mark.usefixtures("no_long_waits")

COLUMNS = {"customer": "id", "city": "city"}


class Cards:
    """An API that upserts, finds and lists rows by our key, of any entity."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def __call__(self, asked: Asked) -> Told:
        _, _, entity, *rest = asked.path.split("/")
        own = self.rows.setdefault(entity, {})
        if asked.method == "PUT":
            own[rest[0]] = asked.json
        elif asked.method == "DELETE":
            own.pop(rest[0], None)
        elif not rest:
            return Told(200, {"rows": list(own.values())})
        elif rest[0] not in own:
            return Told(404)
        return Told(200, own.get(rest[0], {}))


def entity(name: str) -> dict[str, Any]:
    return {
        "upsert": {"method": "PUT", "path": f"{name}/{{key}}", "body": "{row}"},
        "delete": {"method": "DELETE", "path": f"{name}/{{key}}"},
        "find": {"path": f"{name}/{{key}}", "key": "id"},
        "list": {"path": name, "rows": "rows", "key": "id"},
    }


def section(service: Service) -> dict[str, Any]:
    entities = {"rows": entity("rows"), "cards": entity("cards")}
    return {"kind": "rest", "base_url": service.url + "/v1/", "entities": entities}


def rows(*keys: str) -> list[dict[str, Any]]:
    return [{"customer": key, "city": "Ede"} for key in keys]


@pytest.fixture
def cards() -> Cards:
    return Cards()


@pytest.fixture
def service(cards: Cards) -> Iterator[Service]:
    running = Service(cards)
    yield running
    running.close()


def test_a_ledger_is_never_taken_for_that_of_other_rows(
    tmp_path: Path, service: Service, cards: Cards
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    world.publish(rows("a", "b"), COLUMNS, mode="mirror")
    assert world.sync().acknowledged == 2
    asked = len(service.seen)
    world.publish(rows("a"), COLUMNS, entity="cards", mode="mirror")
    report = world.sync()
    assert (report.status, report.acknowledged, len(service.seen)) == ("failed", 0, asked)
    assert "rest rows by id until now, and would go to rest cards by id" in (report.message or "")
    with pytest.raises(KlantbeeldError, match="nothing was sent"):
        plan_sync(SYNC, world.place)
    world.publish(rows("a"), COLUMNS, mode="mirror")
    assert world.sync().acknowledged == 1
    assert set(cards.rows["rows"]) == {"a"}
    world.close()


def test_another_address_is_compared_before_anything_is_believed_of_it(
    tmp_path: Path, service: Service
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    world.publish(rows("a", "b"), COLUMNS, mode="mirror")
    world.sync()
    world.close()
    elsewhere = Cards()
    elsewhere.rows["rows"] = {"a": {"id": "a", "city": "Ede"}}
    other = Service(elsewhere)
    world = RowsWorld(tmp_path / "home", section(other))
    assert "another address" in plan_sync(SYNC, world.place).warnings[0]
    assert world.sync().acknowledged == 1, "what is there already is not written again"
    assert set(elsewhere.rows["rows"]) == {"a", "b"}
    assert world.sync().requests == 0
    world.close()
    other.close()


def test_a_control_plane_that_was_put_back_by_hand_is_noticed(
    tmp_path: Path, service: Service, cards: Cards
) -> None:
    home = tmp_path / "home"
    world = RowsWorld(home, section(service))
    world.publish(rows("a", "b"), COLUMNS, mode="mirror")
    world.sync()
    world.close()
    shutil.copy(home / "control.db", tmp_path / "old.db")
    world = RowsWorld(home, section(service))
    world.publish(rows("b", "c"), COLUMNS, mode="mirror")
    world.sync()
    assert set(cards.rows["rows"]) == {"b", "c"}
    world.close()
    for left in home.glob("control.db*"):
        left.unlink()
    shutil.copy(tmp_path / "old.db", home / "control.db")
    world = RowsWorld(home, section(service))
    assert world.sync().acknowledged == 1, "the old version is current again, and wants `a`"
    assert set(cards.rows["rows"]) == {"a", "b", "c"}
    world.close()


def test_a_row_that_is_there_twice_is_told_and_counted_once(
    tmp_path: Path, service: Service, cards: Cards
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    world.publish(rows("a", "b"), COLUMNS)
    world.sync()
    cards.rows["rows"]["another"] = {"id": "a", "city": "Zwolle"}
    drift = world.reconcile()
    assert drift.keys == {"doubled": ("a",), "changed": ("a",)}
    assert drift.kinds["in_step"] == 1
    world.close()


def test_a_row_of_somebody_else_that_looks_like_many_of_ours_is_left_alone(
    tmp_path: Path, service: Service, cards: Cards
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    world.publish(rows("a", "b"), COLUMNS, mode="mirror")
    world.sync()
    del cards.rows["rows"]["a"]
    cards.rows["rows"]["theirs"] = {"id": "theirs", "city": "Ede"}
    assert world.reconcile(repair=True).keys == {"missing": ("a",)}, "`theirs` is no `a`"
    world.sync()
    assert set(cards.rows["rows"]) == {"a", "b", "theirs"}
    world.close()


def test_the_last_run_is_told_as_what_it_did(
    tmp_path: Path, service: Service, cards: Cards
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    world.publish(rows("a", "b", "c"), COLUMNS)
    service.application = lambda asked: Told(401) if asked.path.endswith("/b") else cards(asked)
    world.sync()
    told = "\n".join(delivery_lines(read_status(world.settings, world.control)))
    assert "3 to be created, 0 to be changed, 0 to be removed, 1 acknowledged" in told
    service.application = cards
    world.sync()
    # What a kill leaves: written down as running, and no process that holds the lock.
    Ledger(world.control, SYNC, Clock(world.settings)).start_run("run", "version")
    told = "\n".join(delivery_lines(read_status(world.settings, world.control)))
    assert "failed" in told
    assert "ended early" in told
    version = world.warehouse.current()
    assert version is not None
    version.manifest.unlink()
    version.manifest.write_text('{"nodes": {}}')
    told = "\n".join(delivery_lines(read_status(world.settings, world.control)))
    assert "ended" in told
    assert "No longer in the published version" in told
    world.close()


def test_what_was_not_foreseen_ends_one_sync_and_tells_no_value(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    world.publish(rows("a"), COLUMNS)

    def write(*_: object) -> None:
        raise KeyError("l@voorbeeld.example")

    with monkeypatch.context() as patched:
        patched.setattr(Rest, "write", write)
        report = world.sync()
    assert report.status == "failed"
    assert "KeyError in test_places.py" in (report.message or "")
    assert "voorbeeld" not in (report.message or "")
    assert world.sync().acknowledged == 1, "what was on its way is read back, and sent"
    world.close()
