"""Batches that are refused whole, and what arrives while a delivery is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation import plan_sync
from klantbeeld.activation.destinations.rest import Rest
from klantbeeld.control.tables import tombstones
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash
from tests.fixtures.destinations import SYNC, Asked, RowsWorld, Service, Told

COLUMNS = {"customer": "external_id", "email": "email"}
BATCH: dict[str, Any] = {
    "batch": {
        "path": "customers",
        "largest": 1_000,
        "body": {"rows": "{rows}"},
        "row": "{row}",
        "rows": "rows",
        "key": "external_id",
    },
    "find": {
        "path": "customers/{key}",
        "rows": "rows",
        "key": "external_id",
    },
    "delete": {"method": "DELETE", "path": "customers/{key}"},
}


class Customers:
    """Takes whole batches, or refuses them whole if a row in them is bad."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.bad: Callable[[dict[str, Any]], bool] = lambda _: False
        self.before: Callable[[], None] = lambda: None
        self.is_too_large: Callable[[list[dict[str, Any]]], bool] = lambda _: False

    def __call__(self, asked: Asked) -> Told:
        key = asked.path.rpartition("/")[2]
        if asked.method == "GET":
            return Told(200, {"rows": [self.rows[key]] if key in self.rows else []})
        if asked.method == "DELETE":
            self.rows.pop(key, None)
            return Told(204)
        given = asked.json["rows"]
        self.before()
        if self.is_too_large(given):
            return Told(413)
        if any(self.bad(row) for row in given):
            return Told(400, {"code": "bad_request"})
        self.rows |= {row["external_id"]: row for row in given}
        return Told(200, {"rows": [{"external_id": row["external_id"]} for row in given]})


@pytest.fixture
def customers() -> Customers:
    return Customers()


@pytest.fixture
def service(customers: Customers) -> Iterator[Service]:
    running = Service(customers)
    yield running
    running.close()


def world(home: Path, service: Service, batch_size: int) -> RowsWorld:
    section = {"kind": "rest", "base_url": service.url + "/", "entities": {"rows": BATCH}}
    return RowsWorld(home, section, batch_size=batch_size)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"customer": f"c{n:04}", "email": f"l{n}@voorbeeld.example"} for n in range(count)]


@pytest.mark.parametrize("place", [0, 617])
def test_one_bad_row_in_a_thousand_takes_at_most_21_requests(
    tmp_path: Path, customers: Customers, service: Service, place: int
) -> None:
    home = world(tmp_path / "home", service, 1_000)
    customers.bad = lambda row: row["external_id"] == f"c{place:04}"
    home.publish(rows(1_000), COLUMNS)
    report = home.sync()
    home.close()
    assert (report.acknowledged, report.rejected) == (999, 1)
    assert len(service.writes()) <= 21
    assert set(customers.rows) == {f"c{n:04}" for n in range(1_000) if n != place}


def test_many_bad_rows_in_many_batches_are_all_found(
    tmp_path: Path, customers: Customers, service: Service
) -> None:
    home = world(tmp_path / "home", service, 8)
    customers.bad = lambda row: row["external_id"].endswith("5")
    home.publish(rows(120), COLUMNS)
    report = home.sync()
    home.close()
    assert (report.status, report.acknowledged, report.rejected) == ("degraded", 108, 12)


def test_a_destination_that_refuses_everything_is_not_asked_for_every_row(
    tmp_path: Path, customers: Customers, service: Service
) -> None:
    home = world(tmp_path / "home", service, 1_000)
    customers.bad = lambda _: True
    home.publish(rows(1_000), COLUMNS)
    report = home.sync()
    states = {row.state for row in home.operations()}
    home.close()
    assert report.status == "failed"
    assert states == {"pending", "rejected"}, "nothing is in flight"
    assert "refuses requests as a whole (400)" in str(report.message)
    assert len(service.writes()) <= 60
    assert report.rejected <= 26, "what was not sent alone was not judged alone"


def test_a_size_that_was_refused_is_not_tried_with_every_batch(
    tmp_path: Path, customers: Customers, service: Service
) -> None:
    home = world(tmp_path / "home", service, 50)
    customers.is_too_large = lambda given: len(given) > 5
    home.publish(rows(160), COLUMNS)
    report = home.sync()
    home.close()
    assert (report.status, report.acknowledged) == ("synced", 160)
    sizes = [len(asked.json["rows"]) for asked in service.writes()]
    refused = [size for size in sizes if size > 5]
    assert refused == [50, 25, 12, 6, 6], "now and then a larger one is tried"
    assert len(sizes) <= 5 + 160 / 3 + 8, "three at a time; batches and halves may end with fewer"


def test_one_row_that_is_too_large_makes_no_small_batches(
    tmp_path: Path, customers: Customers, service: Service
) -> None:
    home = world(tmp_path / "home", service, 128)
    customers.is_too_large = lambda given: any(row["external_id"] == "c0077" for row in given)
    home.publish(rows(384), COLUMNS)
    report = home.sync()
    home.close()
    assert (report.acknowledged, report.rejected) == (383, 1)
    assert len(service.writes()) == 15 + 2, "halved to the row, and the other batches as they are"


def test_an_error_that_nobody_thought_of_is_told_without_a_value(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world(tmp_path / "home", service, 8)
    home.publish(rows(1), COLUMNS)

    def unforeseen(*_: object) -> None:
        raise TypeError("l0@voorbeeld.example")

    monkeypatch.setattr(Rest, "check", unforeseen)
    told = [str(home.sync().message)]
    for ask in (home.reconcile, lambda: plan_sync(SYNC, home.place, against_destination=True)):
        with pytest.raises(KlantbeeldError) as caught:
            ask()
        told.append(str(caught.value))
        assert caught.value.__suppress_context__
    home.close()
    assert all("TypeError in test_delivery.py, line" in text for text in told)
    assert not any("voorbeeld" in text for text in told)


def test_who_is_erased_while_a_run_is_under_way_is_not_sent_any_more(
    tmp_path: Path, customers: Customers, service: Service
) -> None:
    home = world(tmp_path / "home", service, 2)
    privacy = {"contact_points": {"email": "email"}}
    home.publish(rows(6), COLUMNS, privacy=privacy)

    def erase() -> None:
        customers.before = lambda: None
        with home.control.begin() as connection:
            for number in (0, 5):
                erased = keyed_hash(f"l{number}@voorbeeld.example", home.settings.home_key())
                connection.execute(
                    tombstones.insert().values(
                        kind="email", value_hash=erased, erased_at=datetime.now(UTC)
                    )
                )

    customers.before = erase
    report = home.sync()
    assert (report.acknowledged, report.cancelled) == (5, 1)
    assert set(customers.rows) == {"c0000", "c0001", "c0002", "c0003", "c0004"}
    again = home.sync()
    assert (again.status, again.withdrawals) == ("synced", 1), "who was sent already is taken away"
    assert "c0000" not in customers.rows
    assert home.sync().status == "unchanged"
    home.close()
