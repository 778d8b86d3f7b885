"""The configurable destination against real HTTP services of three kinds of API."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation.destinations import InspectableDestination
from klantbeeld.activation.destinations.rest import Rest
from klantbeeld.cli import main
from klantbeeld.errors import ExitCode, KlantbeeldError, SettingsError
from klantbeeld.http import AuthenticationFailed, HttpError, StatusError
from tests.fixtures import destinations as fixture
from tests.fixtures.destinations import (
    DAMAGES,
    Asked,
    Damage,
    RowsWorld,
    Service,
    Told,
    opened,
    operation,
    states,
)

pytestmark = pytest.mark.usefixtures("no_long_waits")

COLUMNS = {"customer": "external_id", "city": "city", "points": "points"}
TOKEN = "een-geheim-token"


class Members:
    """An API with ids of its own: a row is looked up, then created or changed."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}

    def __call__(self, asked: Asked) -> Told:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Told(401, {"code": "unauthorised"})
        *_, last = asked.path.split("/")
        if asked.method == "GET":
            wanted = asked.query.get("external_id", [""])[0]
            found = [
                {"id": number, "attributes": row}
                for number, row in self.rows.items()
                if row["external_id"].startswith(wanted)
            ]
            return Told(200, {"data": {"items": found}})
        if asked.method == "POST":
            row = asked.json["member"]
            if row.get("city") == "Nergens":
                error = {"code": "invalid_city", "message": f"city {row['city']} of l@x.example"}
                return Told(422, {"errors": [error]})
            if any(row["external_id"] == there["external_id"] for there in self.rows.values()):
                raise AssertionError("created twice")
            number = max(self.rows, default=0) + 1
            self.rows[number] = row
            return Told(201, {"data": {"id": number, "external_id": row["external_id"]}})
        number = int(last)
        if number not in self.rows:
            return Told(404, {"code": "not_found"})
        if asked.method == "DELETE":
            del self.rows[number]
            return Told(204)
        self.rows[number] |= asked.json["member"]
        return Told(200, {"data": {"external_id": self.rows[number]["external_id"]}})

    def held(self) -> dict[str, dict[str, Any]]:
        return {row["external_id"]: row for row in self.rows.values()}


REFUSAL = {"errors": "errors", "key": "data.external_id"}
FIND_THEN_CREATE: dict[str, Any] = {
    "find": {
        "path": "members",
        "query": {"external_id": "{key}"},
        "rows": "data.items",
        "key": "attributes.external_id",
        "id": "id",
        "values": "attributes",
    },
    "create": {"method": "POST", "path": "members", "body": {"member": "{row}"}, "answer": REFUSAL},
    "update": {
        "method": "PATCH",
        "path": "members/{id}",
        "body": {"member": "{values}"},
        "answer": REFUSAL,
    },
    "delete": {"method": "DELETE", "path": "members/{id}"},
    "list": {
        "path": "members",
        "rows": "data.items",
        "key": "attributes.external_id",
        "values": "attributes",
    },
}


def section(service: Service, entity: dict[str, Any], **more: Any) -> dict[str, Any]:
    auth = {"kind": "bearer", "token": TOKEN}
    return {
        "kind": "rest",
        "base_url": service.url + "/v1/",
        "auth": auth,
        "timeout_seconds": 0.3,
        "entities": {"rows": entity},
        **more,
    }


@pytest.fixture
def members() -> Members:
    return Members()


@pytest.fixture
def service(members: Members) -> Iterator[Service]:
    running = Service(members)
    yield running
    running.close()


@pytest.fixture
def world(tmp_path: Path, service: Service) -> Iterator[RowsWorld]:
    made = RowsWorld(tmp_path / "home", section(service, FIND_THEN_CREATE))
    yield made
    made.close()


def rows(count: int, city: str = "Ede") -> list[dict[str, Any]]:
    return [{"customer": f"c{n}", "city": city, "points": n} for n in range(count)]


def wanted(some: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        row["customer"]: {
            "external_id": row["customer"],
            "city": row["city"],
            "points": row["points"],
        }
        for row in some
    }


def test_rows_are_found_then_created_changed_and_deleted(
    world: RowsWorld, members: Members, service: Service
) -> None:
    members.rows[100] = {"external_id": "c1", "city": "Elders", "points": 9}
    members.rows[101] = {"external_id": "c10", "city": "begins alike", "points": 9}
    some = rows(3)
    world.publish(some, COLUMNS)
    assert world.sync().acknowledged == 3
    other = members.rows.pop(101)
    assert other["city"] == "begins alike", "found by key, not by the first hit"
    assert members.held() == wanted(some)
    assert members.rows[100]["city"] == "Ede", "what was there already is changed and not doubled"
    service.seen.clear()
    some[2]["city"] = "Tiel"
    world.publish(some[1:], COLUMNS)
    report = world.sync()
    assert (report.status, report.updates, report.deletes) == ("synced", 1, 1)
    assert members.held() == wanted(some[1:])
    changed = [asked.json for asked in service.writes() if asked.method == "PATCH"]
    assert changed == [{"member": {"city": "Tiel"}}], "only the column that changed"


def test_what_others_did_is_seen_and_put_right(
    world: RowsWorld, members: Members, service: Service
) -> None:
    some = rows(4)
    world.publish(some, COLUMNS)
    world.sync()
    assert world.reconcile().rows == 0
    del members.rows[2]
    members.rows[3]["city"] = "Elders"
    drift = world.reconcile()
    assert (drift.kinds["missing"], drift.kinds["changed"]) == (1, 1)
    world.reconcile(repair=True)
    world.sync()
    assert world.reconcile().rows == 0
    assert members.held() == wanted(some)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_ends_in_the_right_state_without_a_double(
    world: RowsWorld, members: Members, service: Service, damage: Damage
) -> None:
    some = rows(4)
    service.damages = [None, damage, damage]
    world.publish(some, COLUMNS)
    reports = [world.sync()]
    while reports[-1].status != "unchanged" and len(reports) < 4:
        reports.append(world.sync())
    assert members.held() == wanted(some)
    assert sum(report.acknowledged for report in reports) >= 4
    assert not any(row.state in ("unknown", "in_flight", "pending") for row in world.operations())


def test_a_refused_row_is_told_by_code_and_column_and_holds_nobody_up(
    world: RowsWorld, members: Members
) -> None:
    some = rows(3)
    some[1]["city"] = "Nergens"
    world.publish(some, COLUMNS)
    report = world.sync()
    assert (report.status, report.acknowledged, report.rejected) == ("degraded", 2, 1)
    (refused,) = [row for row in world.operations() if row.state == "rejected"]
    assert refused.reason == "422 invalid_city city"
    assert set(members.held()) == {"c0", "c2"}


def test_a_refused_token_costs_at_most_two_requests(tmp_path: Path, service: Service) -> None:
    wrong = section(service, FIND_THEN_CREATE, auth={"kind": "bearer", "token": "oud"})
    world = RowsWorld(tmp_path / "home", wrong)
    world.publish(rows(9), COLUMNS)
    report = world.sync()
    world.close()
    assert report.status == "failed"
    assert len(service.seen) <= 2
    assert "oud" not in str(report.message)


# ---- upsert, one row per request ----------------------------------------------------------------

UPSERT: dict[str, Any] = {
    "upsert": {
        "method": "PUT",
        "path": "customers/{key}",
        "headers": {"Idempotency-Key": "{op_id}"},
        "body": {"where": {"city": "{city}"}, "points": "{points}", "note": "from {key}"},
        "answer": {"key": "id"},
    },
    "delete": {"method": "DELETE", "path": "customers/{key}"},
}


def answering(*told: Told) -> Service:
    answers = list(told)
    return Service(lambda _: answers.pop(0) if len(answers) > 1 else answers[0])


def test_a_template_keeps_types_encodes_the_address_and_leaves_out_what_is_not_written(
    tmp_path: Path,
) -> None:
    service = Service(lambda asked: Told(200, {"id": "a/b ?é"}))
    destination = opened(tmp_path, section(service, UPSERT), COLUMNS)
    destination.check({})
    whole = operation(destination, "a/b ?é", city=None, points=Decimal("12.50"))
    part = operation(destination, "a/b ?é", "update", points=date(2026, 3, 1))
    assert states(destination.write([whole])) == {"a/b ?é": "acknowledged"}
    assert states(destination.write([part])) == {"a/b ?é": "acknowledged"}
    service.close()
    first, second = service.seen
    assert first.path == "/v1/customers/a%2Fb%20%3F%C3%A9"
    assert first.headers["idempotency-key"] == "op-a/b ?é"
    assert first.json == {"where": {"city": None}, "points": 12.5, "note": "from a/b ?é"}
    assert second.json == {"where": {}, "points": "2026-03-01", "note": "from a/b ?é"}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (Told(200, {"id": "c1"}), "acknowledged"),
        (Told(200, {"id": "c2"}), None),
        (Told(200, {}), None),
        (Told(200, body=b"<html>"), None),
        (Told(200, body=b'{"id": "c1"'), None),
        (Told(409, {"code": "locked"}), "rejected"),
        (Told(408), None),
        (Told(302, headers={"Location": "/elsewhere"}), None),
    ],
)
def test_an_answer_acknowledges_only_what_it_proves(
    tmp_path: Path, told: Told, state: str | None
) -> None:
    service = answering(told)
    destination = opened(tmp_path, section(service, UPSERT), COLUMNS)
    outcomes = destination.write([operation(destination, "c1", city="Ede", points=1)])
    service.close()
    assert states(outcomes) == ({"c1": state} if state else {})


@pytest.mark.parametrize("described", [{"key": "id", "errors": "errors"}, {}])
def test_errors_inside_a_success_are_a_refusal(tmp_path: Path, described: dict[str, str]) -> None:
    service = answering(Told(200, {"id": "c1", "errors": [{"code": "bad", "message": "points"}]}))
    entity = copy.deepcopy(UPSERT)
    entity["upsert"]["answer"] = described
    destination = opened(tmp_path, section(service, entity), COLUMNS)
    (outcome,) = destination.write([operation(destination, "c1", points=1)]).values()
    service.close()
    assert (outcome.state, outcome.reason) == ("rejected", "200 bad points")


def test_only_a_list_without_it_proves_that_a_row_is_not_there(
    world: RowsWorld, service: Service, members: Members
) -> None:
    world.publish(rows(2), COLUMNS, mode="mirror")
    world.sync()
    before = copy.deepcopy(members.held())
    world.publish([{"customer": "c0", "city": "Zwolle", "points": 0}], COLUMNS, mode="mirror")
    error = Told(200, {"data": None, "errors": [{"code": "busy"}]})
    service.application = lambda asked: error if asked.method == "GET" else members(asked)
    report = world.sync()
    assert (report.status, report.acknowledged) == ("failed", 0)
    assert members.held() == before, "nothing made twice, and no delete believed"
    with pytest.raises(HttpError, match="error inside a success"):
        world.reconcile()
    service.application = members
    assert world.sync().acknowledged == 2
    assert {key: row["city"] for key, row in members.held().items()} == {"c0": "Zwolle"}


@pytest.mark.parametrize(
    "told",
    [
        Told(200, {"errors": [{"code": "busy"}]}),
        Told(200, {"data": {"items": "none"}}),
        Told(200, {"data": {"items": [{"attributes": {"city": "Ede"}}]}}),
        Told(200, {"items": []}),
        Told(404, body=b"<html>no such page</html>"),
        Told(200, body=b"[" * 100_000),
    ],
    ids=["error", "text", "no key", "elsewhere", "page", "nested"],
)
def test_an_answer_without_rows_is_no_list_without_rows(tmp_path: Path, told: Told) -> None:
    service = answering(told)
    destination = opened(tmp_path, section(service, FIND_THEN_CREATE), COLUMNS)
    assert isinstance(destination, InspectableDestination)
    for read in (lambda: destination.read(["c1"], []), lambda: list(destination.read_all([]))):
        with pytest.raises(HttpError):
            read()
    service.close()


def test_a_key_that_is_kept_in_another_form_makes_one_row_and_is_told(tmp_path: Path) -> None:
    kept = {"Abc": "abc", "007": "7", "e\u0301": "\u00e9", " a": "a", "0012": 12, "fine": "fine"}
    held: dict[str, Any] = {}

    def application(asked: Asked) -> Told:
        if asked.method == "GET":
            return Told(200, {"data": {"items": list(held.values())}})
        row = asked.json["member"]
        key = row["external_id"]
        assert key not in held, "made twice"
        held[key] = {"id": len(held), "attributes": row | {"external_id": kept[key]}}
        return Told(201, {"data": {"external_id": kept[key]}})

    service = Service(application)
    world = RowsWorld(tmp_path / "home", section(service, FIND_THEN_CREATE), batch_size=10)
    world.publish([{"customer": key, "city": "Ede", "points": 1} for key in kept], COLUMNS)
    assert [(world.sync().acknowledged, world.sync().rejected)] == [(1, 5)]
    assert all("another form" in row.reason for row in world.operations() if row.reason)
    assert len(held) == len(kept)
    world.close()
    service.close()


@pytest.mark.parametrize("way", ["batch", "upsert"])
def test_an_answer_about_a_key_in_another_form_holds_nobody_up(tmp_path: Path, way: str) -> None:
    entity, told = (
        (BATCH, [{"results": [{"id": key, "status": "created"} for key in ("abc", "b")]}])
        if way == "batch"
        else (UPSERT, [{"id": "abc"}, {"id": "b"}])
    )
    service = answering(*(Told(200, one) for one in told))
    destination = opened(tmp_path, section(service, entity), COLUMNS)
    some = [operation(destination, key, city="Ede", points=1) for key in ("Abc", "b")]
    assert states(destination.write(some)) == {"Abc": "rejected", "b": "acknowledged"}
    service.close()


def test_all_rows_of_a_key_are_taken_away(
    world: RowsWorld, service: Service, members: Members
) -> None:
    world.publish(rows(2), COLUMNS, mode="mirror")
    world.sync()
    members.rows[99] = dict(members.rows[1])
    world.publish(rows(1), COLUMNS, mode="mirror")
    members.rows[98] = {"external_id": "c1", "city": "Ede"}
    report = world.sync()
    assert (report.status, report.acknowledged) == ("synced", 1)
    assert [row["external_id"] for row in members.rows.values()] == ["c0", "c0"]


def test_a_key_that_cannot_stand_in_a_header_is_refused_alone(tmp_path: Path) -> None:
    service = answering(Told(200, {"id": "c1"}))
    entity = copy.deepcopy(UPSERT)
    entity["upsert"] |= {"headers": {"X-Id": "{key}"}}
    destination = opened(tmp_path, section(service, entity), COLUMNS)
    some = [operation(destination, key, points=1) for key in ("Ω\n", "c1")]
    assert states(destination.write(some)) == {"Ω\n": "rejected", "c1": "acknowledged"}
    service.close()


def test_a_system_that_stays_silent_is_left_in_peace(tmp_path: Path) -> None:
    service = answering(Told(503))
    destination = opened(tmp_path, section(service, UPSERT), COLUMNS)
    some = [operation(destination, f"c{n}", points=n) for n in range(50)]
    outcomes = destination.write(some)
    service.close()
    assert len(service.seen) == 3 * 4, "three rows, four attempts each"
    assert states(outcomes) == {f"c{n}": "pending" for n in range(3, 50)}


def test_a_login_that_ends_half_way_leaves_the_rest_for_later(tmp_path: Path) -> None:
    service = answering(Told(200, {"id": "c0"}), Told(401))
    destination = opened(tmp_path, section(service, UPSERT), COLUMNS)
    some = [operation(destination, f"c{n}", points=n) for n in range(5)]
    later = dict.fromkeys(["c1", "c2", "c3", "c4"], "pending")
    assert states(destination.write(some)) == {"c0": "acknowledged", **later}
    with pytest.raises(AuthenticationFailed):
        destination.write(some)
    service.close()
    assert len(service.seen) == 3


def test_retry_after_is_waited_for_to_the_second_and_a_day_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("klantbeeld.http.GuardedSession._wait", lambda _, s, *__: waits.append(s))
    busy = Told(429, headers={"Retry-After": "7"})
    service = answering(busy, Told(200, {"id": "c1"}), Told(429, headers={"Retry-After": "86400"}))
    destination = opened(tmp_path, section(service, UPSERT), COLUMNS)
    row = operation(destination, "c1", points=1)
    assert states(destination.write([row])) == {"c1": "acknowledged"}
    with pytest.raises(StatusError):
        destination.write([row])
    service.close()
    assert waits == [7.0]


@pytest.mark.parametrize(
    ("is_reachable", "reason"), [(True, "could not be looked up"), (False, "could not be reached")]
)
def test_what_was_certainly_not_sent_waits_with_the_reason(
    world: RowsWorld, service: Service, is_reachable: bool, reason: str
) -> None:
    world.publish(rows(1), COLUMNS)
    assert world.sync().acknowledged == 1
    world.publish(rows(3), COLUMNS)
    members = service.application
    service.application = lambda asked: Told(500)
    if not is_reachable:
        service.close()
    report = world.sync()
    assert (report.status, report.unknown) == ("failed", 0)
    states = {row.destination_key: (row.state, row.reason) for row in world.operations()}
    assert {states[key][0] for key in ("c1", "c2")} == {"pending"}
    assert all(reason in states[key][1] for key in ("c1", "c2"))
    if is_reachable:
        service.application = members
        assert (world.sync().acknowledged, world.sync().status) == (2, "unchanged")


def test_deletes_are_believed_when_the_row_is_gone(tmp_path: Path) -> None:
    service = answering(Told(204), Told(404), Told(410))
    destination = opened(tmp_path, section(service, UPSERT), COLUMNS)
    for _ in range(3):
        outcomes = destination.write([operation(destination, "c1", "delete")])
        assert states(outcomes) == {"c1": "acknowledged"}
    update = destination.write([operation(destination, "c1", "update", points=1)])
    service.close()
    assert states(update) == {"c1": "missing"}


# ---- an API that can only add ------------------------------------------------------------------


@pytest.mark.parametrize("has_key", [True, False])
def test_an_api_that_can_only_add_gets_no_double_and_every_doubt_is_listed(
    tmp_path: Path, has_key: bool
) -> None:
    taken: list[dict[str, Any]] = []
    ids: set[str] = set()

    def application(asked: Asked) -> Told:
        if not has_key or asked.headers["idempotency-key"] not in ids:
            taken.append(asked.json)
        ids.add(asked.headers.get("idempotency-key", ""))
        return Told(201)

    service = Service(application)
    create: dict[str, Any] = {"method": "POST", "path": "events", "body": "{row}"}
    if has_key:
        create["headers"] = {"Idempotency-Key": "{op_id}"}
    world = RowsWorld(tmp_path / "home", section(service, {"create": create}))
    some = rows(6)
    service.damages = [None, fixture.error_after, fixture.error_before, fixture.reset_after]
    world.publish(some, COLUMNS, mode="append", on_leave="nothing")
    world.sync()
    world.sync()
    operations = world.operations()
    world.close()
    service.close()
    assert len({row["external_id"] for row in taken}) == len(taken), "no double"
    doubtful = {row.destination_key for row in operations if row.state == "unknown"}
    if has_key:
        assert (len(taken), doubtful) == (6, set())
    else:
        lost = {"c0", "c1", "c2", "c3", "c4", "c5"} - {row["external_id"] for row in taken}
        assert lost <= doubtful
        assert doubtful == {"c1", "c2", "c3"}


def test_a_person_settles_what_cannot_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[str] = []

    def application(asked: Asked) -> Told:
        taken.append(asked.json["external_id"])
        return Told(201)

    service = Service(application)
    create = {"create": {"method": "POST", "path": "events", "body": "{row}"}}
    world = RowsWorld(tmp_path / "home", section(service, create))
    service.damages = [None, fixture.error_after, fixture.error_before, fixture.error_after]
    world.publish(rows(4), COLUMNS, mode="append", on_leave="nothing")
    assert (world.sync().status, taken) == ("degraded", ["c0", "c1", "c3"])
    monkeypatch.setattr("klantbeeld.cli.sync._home", lambda: world.place)

    def settle(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["sync", "settle", fixture.SYNC, *arguments])
        told = capsys.readouterr()
        assert ended.value.code == code, told
        return told.out + told.err

    settle("c2", code=ExitCode.USAGE)
    settle("--arrived", code=ExitCode.USAGE)
    assert "no unknown outcome of c0" in settle("c0", "c2", "--arrived", code=ExitCode.FAILED)
    assert "1 rows settled" in settle("c2", "--not-arrived")
    assert "2 rows settled" in settle("--all", "--arrived")
    assert (world.sync().status, taken) == ("synced", ["c0", "c1", "c3", "c2"])
    assert world.sync().status == "unchanged"
    world.close()
    service.close()


def test_a_row_that_arrives_late_is_waited_for_and_not_sent_twice(tmp_path: Path) -> None:
    members = Members()

    def late(application: fixture.Application, asked: Asked) -> None:
        """Taken up after the sender gave up waiting."""
        time.sleep(0.45)
        application(asked)

    service = Service(members)
    world = RowsWorld(tmp_path / "home", section(service, FIND_THEN_CREATE), quiet_seconds=0.5)
    service.damages = [late]
    world.publish(rows(2), COLUMNS)
    report = world.sync()
    world.close()
    service.close()
    assert (report.status, report.acknowledged) == ("synced", 2)
    assert len(service.writes()) == 2


def test_rows_that_change_need_an_update_request(tmp_path: Path) -> None:
    service = answering(Told(201))
    create = {"create": {"method": "POST", "path": "events", "body": "{row}"}}
    with pytest.raises(KlantbeeldError, match="has no update request"):
        opened(tmp_path, section(service, create), COLUMNS).check({})
    service.close()


# ---- batches -----------------------------------------------------------------------------------

BATCH: dict[str, Any] = {
    "batch": {
        "path": "customers/batch",
        "largest": 3,
        "body": {"customers": "{rows}"},
        "row": {"id": "{key}", "fields": "{values}"},
        "rows": "results",
        "key": "id",
        "status": "status",
        "ok": ["created", "updated"],
        "errors": "refused",
        "answer": {"errors": "error", "message": "text"},
    }
}


@pytest.mark.parametrize(
    ("results", "refused", "expected"),
    [
        (["a:created", "b:updated", "c:created"], [], "a b c"),
        (["c:created", "a:created", "b:created"], [], "a b c"),
        (["a:created"], ["b"], "a !b"),
        (["a:created", "b:wrong"], [], "a !b"),
        (["a:created", "b:503"], [], "a"),
        (["a:created", "z:created", "b:created", "c:created", "c:created"], [], "a b c"),
        (["a:created", "a:wrong"], [], ""),
        ([], [], ""),
    ],
    ids=["all", "reordered", "mixed", "status", "busy", "longer", "contradictory", "silent"],
)
def test_a_batch_is_believed_row_by_row(
    tmp_path: Path, results: list[str], refused: list[str], expected: str
) -> None:
    def result(text: str) -> dict[str, Any]:
        key, _, status = text.partition(":")
        return {"id": key, "status": int(status) if status.isdigit() else status}

    errors = [{"id": key, "error": {"code": "no", "text": "points l@x.example"}} for key in refused]
    service = answering(Told(207, {"results": list(map(result, results)), "refused": errors}))
    destination = opened(tmp_path, section(service, BATCH), COLUMNS)
    assert destination.largest_batch == 3
    some = [operation(destination, key, city="Ede", points=1) for key in "abc"]
    outcomes = destination.write(some)
    service.close()
    assert service.seen[0].json == {
        "customers": [{"id": key, "fields": {"city": "Ede", "points": 1}} for key in "abc"]
    }
    marks = {"acknowledged": "", "rejected": "!"}
    told = " ".join(marks[state] + key for key, state in sorted(states(outcomes).items()))
    assert told == expected
    if refused:
        assert outcomes["op-b"].reason == "200 no points"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"results": [{"id": "a", "sta',
        b"[]",
        b"null",
        b'{"results": [{"id": "a", "status": ["created"]}, {"status": "created"}]}',
    ],
)
def test_a_batch_whose_answer_cannot_be_read_proves_nothing(tmp_path: Path, body: bytes) -> None:
    service = answering(Told(200, body=body))
    destination = opened(tmp_path, section(service, BATCH), COLUMNS)
    assert destination.write([operation(destination, "a", points=1)]) == {}
    service.close()


def test_one_bad_row_in_a_batch_that_is_refused_whole_is_found(tmp_path: Path) -> None:
    held: dict[str, Any] = {}

    def application(asked: Asked) -> Told:
        some = {row["id"]: row["fields"] for row in asked.json["customers"]}
        if any(fields["city"] == "Nergens" for fields in some.values()):
            return Told(400, {"code": "bad_request"})
        held.update(some)
        return Told(200, {"results": [{"id": key, "status": "created"} for key in some]})

    service = Service(application)
    world = RowsWorld(tmp_path / "home", section(service, BATCH), batch_size=50)
    some = rows(7)
    some[4]["city"] = "Nergens"
    world.publish(some, COLUMNS, on_leave="nothing")
    report = world.sync()
    world.close()
    service.close()
    assert (report.acknowledged, report.rejected) == (6, 1)
    assert set(held) == {f"c{n}" for n in range(7)} - {"c4"}


# ---- leaving a list ----------------------------------------------------------------------------


def test_a_row_can_be_taken_off_a_list(tmp_path: Path) -> None:
    service = answering(Told(204), Told(404))
    remove = {"method": "DELETE", "path": "lists/7/members/{key}"}
    destination = opened(tmp_path, section(service, UPSERT | {"remove": remove}), COLUMNS)
    assert isinstance(destination, Rest)
    assert destination.can_remove
    for _ in range(2):
        outcomes = destination.write([operation(destination, "c1", "remove")])
        assert states(outcomes) == {"c1": "acknowledged"}
    service.close()
    assert {asked.path for asked in service.seen} == {"/v1/lists/7/members/c1"}
    without = opened(tmp_path, section(service, UPSERT), COLUMNS)
    assert isinstance(without, Rest)
    assert not without.can_remove


# ---- lists -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cursor", "address"])
def test_rows_are_listed_page_by_page_in_terms_that_compare(tmp_path: Path, way: str) -> None:
    held = [{"id": f"c{n}", "fields": {"points": f"{n}.50", "city": None}} for n in range(5)]

    def application(asked: Asked) -> Told:
        start = int(asked.query.get("after", ["0"])[0])
        following: Any = start + 2 if start + 2 < len(held) else None
        if following and way == "address":
            following = f"http://{asked.headers['host']}{asked.path}?after={following}"
        return Told(200, {"rows": held[start : start + 2], "page": {"next": following}})

    service = Service(application)
    listing = {
        "path": "customers",
        "query": {"after": "{cursor}", "size": "2"},
        "rows": "rows",
        "key": "id",
        "values": "fields",
        "next": "page.next",
    }
    destination = opened(tmp_path, section(service, UPSERT | {"list": listing}), COLUMNS)
    destination.check({})
    assert isinstance(destination, InspectableDestination)
    pages = list(destination.read_all(["points"]))
    assert [list(page) for page in pages] == [["c0", "c1"], ["c2", "c3"], ["c4"]]
    sent = destination.comparable(destination.encode("c1", "create", {"points": Decimal("1.5")}))
    assert sent.items() <= destination.comparable(pages[0]["c1"]).items()
    service.application = lambda _: Told(200, {"rows": [], "page": {"next": "2"}})
    with pytest.raises(HttpError, match="the same page again"):
        list(destination.read_all([]))
    assert not isinstance(
        opened(tmp_path, section(service, UPSERT), COLUMNS), InspectableDestination
    )
    service.close()


# ---- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"create": None}, "exactly one of batch, upsert or create"),
        ({"create": None, "upsert": UPSERT["upsert"]}, "update needs create"),
        ({"find": None}, "{id} needs a find request"),
        ({"upsert": UPSERT["upsert"]}, "exactly one of batch, upsert or create"),
        ({"colour": 1}, "entities.rows.colour: is not a known setting"),
    ],
)
def test_a_description_that_cannot_work_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    service = answering(Told(200))
    entity = {k: v for k, v in (FIND_THEN_CREATE | change).items() if v is not None}
    with pytest.raises(SettingsError) as caught:
        opened(tmp_path, section(service, entity), COLUMNS)
    service.close()
    assert message in str(caught.value)


def test_a_description_that_does_not_fit_the_sync_is_refused_before_the_first_request(
    tmp_path: Path,
) -> None:
    service = answering(Told(200))
    with pytest.raises(KlantbeeldError, match="no entity rows"):
        opened(tmp_path, section(service, UPSERT, entities={"other": UPSERT}), COLUMNS)
    fewer = {"customer": "external_id", "city": "city"}
    with pytest.raises(KlantbeeldError, match="no columns of the sync: points"):
        opened(tmp_path, section(service, UPSERT), fewer).check({})
    no_delete = {"upsert": UPSERT["upsert"]}
    with pytest.raises(KlantbeeldError, match="no delete request"):
        opened(tmp_path, section(service, no_delete), COLUMNS).check({})
    service.close()
    assert service.seen == []


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"kind": "header", "name": "X-Api-Key", "value": "geheim"}, "x-api-key", "geheim"),
        ({"kind": "basic", "user": "k", "password": "g"}, "authorization", "Basic azpn"),
        (None, "authorization", None),
    ],
)
def test_ways_to_log_in(
    tmp_path: Path, auth: dict[str, str] | None, name: str, value: str | None
) -> None:
    service = answering(Told(200, {"id": "c1"}))
    destination = opened(tmp_path, section(service, UPSERT, auth=auth), COLUMNS)
    destination.write([operation(destination, "c1", points=1)])
    service.close()
    assert service.seen[0].headers.get(name) == value
    assert "geheim" not in repr(fixture.settings_with(tmp_path, section(service, UPSERT)))


def test_few_rows_wait_for_a_person_where_nothing_can_be_proved(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = {"create": FIND_THEN_CREATE["create"]}
    world = RowsWorld(tmp_path / "home", section(service, create), batch_size=100)
    world.publish(rows(25), COLUMNS, mode="create_only", on_leave="nothing")

    def killed(point: str) -> None:
        if point == "sync.after_send":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("klantbeeld.activation.delivery.failpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            world.sync()
    report = world.sync()
    assert (report.status, report.acknowledged, report.blocked) == ("degraded", 15, 10)
    world.close()
