"""HubSpot and Klaviyo: requests are what the vendors' descriptions say, answers mean what they say.

The services here keep rows as the vendors do and refuse, as an assertion, whatever the descriptions
in `tests/fixtures/vendor_apis.py` do not allow; their own answers are held to them too.
"""

from __future__ import annotations

import copy
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from klantbeeld.activation.destinations import InspectableDestination, RowRefused
from klantbeeld.activation.destinations.klaviyo import Klaviyo as KlaviyoDestination
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import AuthenticationFailed, StatusError
from tests.fixtures.destinations import (
    DAMAGES,
    LONG_DAMAGES,
    Asked,
    Damage,
    RowsWorld,
    Service,
    Told,
    error_after,
    error_before,
    opened,
    operation,
    reset_before,
    states,
)
from tests.fixtures.vendor_apis import ANSWERS, REQUESTS, violations

pytestmark = pytest.mark.usefixtures("no_long_waits")

MOMENT = "2026-03-01T12:00:00.000Z"
TOKEN = "een-geheim-token"


def checked(asked: Asked, told: Told) -> Told:
    """The answer, once request and answer are what the vendor describes."""
    name = (asked.method, asked.path)
    if asked.method != "GET":
        assert violations(REQUESTS, *name, asked.json) == []
    if name in ANSWERS and told.status < 300:
        assert violations(ANSWERS, *name, told.json) == []
    return told


class Vendor(ABC):
    """A vendor's service; what its description does not allow is a problem, and an error."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, asked: Asked) -> Told:
        try:
            return checked(asked, self.answer(asked))
        except AssertionError as error:
            self.problems.append(str(error))
            raise

    @abstractmethod
    def answer(self, asked: Asked) -> Told:
        """What the vendor would answer."""


@contextmanager
def served(vendor: Vendor) -> Iterator[Service]:
    running = Service(vendor)
    yield running
    running.close()
    assert vendor.problems == []


class HubSpot(Vendor):
    """Contacts with unique property `klant_id`, kept as HubSpot keeps them: every value a text."""

    PROPERTIES = (
        ("klant_id", "string", {"hasUniqueValue": True}),
        ("email", "string", {}),
        ("city", "string", {}),
        ("revenue", "number", {}),
        ("since", "date", {}),
        ("seen_at", "datetime", {}),
        ("is_member", "bool", {}),
        ("stage", "enumeration", {"options": [{"label": "Sluimerend", "value": "dormant"}]}),
        ("createdate", "datetime", {"modificationMetadata": {"readOnlyValue": True}}),
        ("hs_object_id", "number", {"hasUniqueValue": True, "calculated": True}),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, dict[str, str]] = {}
        self.seen_ids: list[str] = []
        self.page = 2

    def answer(self, asked: Asked) -> Told:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Told(401, {"status": "error", "category": "INVALID_AUTHENTICATION"})
        action = asked.path.rpartition("/")[2]
        if asked.path == "/crm/v3/properties/contacts":
            return Told(
                200, {"results": [{"name": n, "type": t} | m for n, t, m in self.PROPERTIES]}
            )
        if asked.path.startswith("/crm/v3/properties/"):
            return Told(404, {"status": "error"})
        if asked.method == "GET":
            return self.list(asked)
        assert len(asked.json["inputs"]) <= 100
        if action == "archive":
            for row in asked.json["inputs"]:
                self.rows.pop(row["id"], None)
            return Told(204)
        results, missing, invalid = [], [], []
        id_property = asked.json.get("idProperty")
        for row in asked.json["inputs"]:
            number = self.find(row.get("idProperty", id_property), row["id"])
            new = number is None
            if number is None and action != "upsert":
                missing.append(row["id"])
                continue
            if "@" not in row.get("properties", {}).get("email", "@"):
                invalid.append(row)
                continue
            if number is None:
                number = str(501 + len(self.seen_ids))
                self.seen_ids.append(number)
                self.rows[number] = {row["idProperty"]: row["id"]}
            self.rows[number] |= row.get("properties", {})
            found = self.told(number, asked.json.get("properties"))
            found |= {"new": new} if action == "upsert" else {}
            results.append(found)
        errors = [self.error("OBJECT_NOT_FOUND", "gone", {"ids": missing})] if missing else []
        for row in invalid:
            text = f"Property values were not valid: email {row['properties']['email']}"
            context = {"objectWriteTraceId": [row["objectWriteTraceId"]]}
            errors.append(self.error("VALIDATION_ERROR", text, context))
        body = {
            "status": "COMPLETE",
            "startedAt": MOMENT,
            "completedAt": MOMENT,
            "results": results[::-1],
        }
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        return Told(207 if errors else 200, body)

    def list(self, asked: Asked) -> Told:
        numbers = sorted(self.rows)
        start = int(asked.query.get("after", ["0"])[0])
        page = numbers[start : start + self.page]
        body: dict[str, Any] = {
            "results": [self.told(n, asked.query["properties"][0].split(",")) for n in page]
        }
        if start + self.page < len(numbers):
            body["paging"] = {"next": {"after": str(start + self.page)}}
        return Told(200, body)

    def find(self, name: str | None, value: str) -> str | None:
        if name is None:
            return value if value in self.rows else None
        same = str.lower if name == "email" else str
        for number, row in self.rows.items():
            if same(row.get(name, "")) == same(value):
                return number
        return None

    def told(self, number: str, names: list[str] | None) -> dict[str, Any]:
        row = self.rows[number]
        properties = {name: row.get(name, "") or None for name in names or row}
        if names is None:
            properties = {name: value or "" for name, value in properties.items()}
        return {
            "id": number,
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
            "properties": properties,
        }

    def error(self, category: str, message: str, context: dict[str, list[str]]) -> dict[str, Any]:
        return {
            "status": "error",
            "category": category,
            "message": message,
            "context": context,
            "errors": [],
            "links": {},
        }

    def held(self) -> dict[str, dict[str, str]]:
        found = {row["klant_id"]: row for row in self.rows.values()}
        assert len(found) == len(self.rows), "no doubles"
        return found


COLUMNS = {
    "customer": "klant_id",
    "email": "email",
    "city": "city",
    "revenue": "revenue",
    "since": "since",
    "stage": "stage",
}
TYPES = {
    "customer": "VARCHAR",
    "email": "VARCHAR",
    "city": "VARCHAR",
    "revenue": "DECIMAL(14,2)",
    "since": "DATE",
    "stage": "VARCHAR",
}
SCHEMA = pa.schema(
    {
        "customer": pa.string(),
        "email": pa.string(),
        "city": pa.string(),
        "revenue": pa.decimal128(14, 2),
        "since": pa.date32(),
        "stage": pa.string(),
    }
)
CONTACTS: dict[str, Any] = {"entity": "contacts", "schema": SCHEMA, "option_columns": ["stage"]}


def customers(count: int) -> list[dict[str, Any]]:
    return [
        {
            "customer": f"K{n}",
            "email": f"l{n}@voorbeeld.example",
            "city": None if n == 1 else "Ede",
            "revenue": Decimal(n) / 4,
            "since": date(2026, 3, 1 + n),
            "stage": "Sluimerend",
        }
        for n in range(count)
    ]


@pytest.fixture
def hubspot() -> HubSpot:
    return HubSpot()


@pytest.fixture
def service(hubspot: HubSpot) -> Iterator[Service]:
    with served(hubspot) as running:
        yield running


def section(service: Service, **more: Any) -> dict[str, Any]:
    return {
        "kind": "hubspot",
        "token": TOKEN,
        "base_url": service.url,
        "timeout_seconds": 0.3,
        **more,
    }


def expected(row: dict[str, Any]) -> dict[str, str]:
    return {
        "klant_id": row["customer"],
        "email": row["email"],
        "city": row["city"] or "",
        "revenue": str(row["revenue"].quantize(Decimal("0.01"))),
        "since": row["since"].isoformat(),
        "stage": "dormant",
    }


def test_hubspot_gets_texts_learns_changes_and_forgets_who_left(
    tmp_path: Path, hubspot: HubSpot, service: Service
) -> None:
    world = RowsWorld(tmp_path / "home", section(service), batch_size=500)
    rows = customers(5)
    world.publish(rows, COLUMNS, **CONTACTS)
    assert world.sync().acknowledged == 5
    assert hubspot.held() == {row["customer"]: expected(row) for row in rows}
    service.seen.clear()
    rows[2] |= {"city": None, "revenue": Decimal("7.25")}
    world.publish(rows[1:], COLUMNS, **CONTACTS)
    report = world.sync()
    assert (report.status, report.updates, report.deletes) == ("synced", 1, 1)
    assert hubspot.held() == {row["customer"]: expected(row) for row in rows[1:]}
    (update,) = [asked.json for asked in service.seen if asked.path.endswith("batch/update")]
    assert [row["properties"] for row in update["inputs"]] == [{"city": "", "revenue": "7.25"}]
    hubspot.rows = {n: row for n, row in hubspot.rows.items() if row["klant_id"] != "K3"}
    rows[3]["city"] = "Tiel"
    world.publish(rows[1:], COLUMNS, **CONTACTS)
    assert world.sync().status == "synced"
    assert hubspot.held()["K3"] == expected(rows[3]), "what was deleted there is made whole again"
    world.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_hubspot_every_damage_ends_in_the_right_state(
    tmp_path: Path, hubspot: HubSpot, service: Service, damage: Damage
) -> None:
    world = RowsWorld(tmp_path / "home", section(service), batch_size=2)
    rows = customers(3)
    world.publish(rows, COLUMNS, **CONTACTS)
    service.damages = [None, damage]
    reports = [world.sync()]
    while reports[-1].status != "unchanged" and len(reports) < 4:
        reports.append(world.sync())
    world.close()
    assert hubspot.held() == {row["customer"]: expected(row) for row in rows}


def test_hubspot_what_others_did_is_seen_and_put_right(
    tmp_path: Path, hubspot: HubSpot, service: Service
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    rows = customers(4)
    world.publish(rows, COLUMNS, **CONTACTS)
    world.sync()
    assert world.reconcile().rows == 0
    hubspot.rows = {n: row for n, row in hubspot.rows.items() if row["klant_id"] != "K2"}
    for row in hubspot.rows.values():
        row["city"] = "Elders" if row["klant_id"] == "K3" else row["city"]
    drift = world.reconcile()
    assert (drift.kinds["missing"], drift.kinds["changed"]) == (1, 1)
    world.reconcile(repair=True)
    world.sync()
    assert world.reconcile().rows == 0
    world.close()
    assert hubspot.held() == {row["customer"]: expected(row) for row in rows}


def test_hubspot_tells_row_by_row_what_it_refused(
    tmp_path: Path, hubspot: HubSpot, service: Service
) -> None:
    destination = opened(tmp_path, section(service), COLUMNS, "contacts")
    hubspot.rows["9"] = {"klant_id": "K1"}
    good = operation(destination, "K1", "update", city="Ede")
    gone = operation(destination, "K2", "update", city="Ede")
    bad = operation(destination, "K3", email="geen adres")
    new = operation(destination, "K4", email="l@voorbeeld.example")
    leaving = operation(destination, "K5", "delete")
    outcomes = destination.write([good, gone, bad, new, leaving])
    assert states(outcomes) == {
        "K1": "acknowledged",
        "K2": "missing",
        "K3": "rejected",
        "K4": "acknowledged",
        "K5": "acknowledged",
    }
    assert outcomes["op-K3"].reason == "207 VALIDATION_ERROR email", "and not the address"


@pytest.mark.parametrize(
    ("change", "believed"),
    [
        ({"status": "PENDING"}, set()),
        ({"status": None}, set()),
        ({"results": []}, set()),
        ({"results": [{"properties": {"klant_id": "K9"}}]}, set()),
        ({"results": [{"properties": {"klant_id": "K1"}}]}, {"K1"}),
        ({"results": [{"objectWriteTraceId": "op-K0", "properties": {}}] * 3}, {"K0"}),
        ({"errors": [{"category": "CONFLICT", "context": {"ids": ["K0"]}}]}, {"K1"}),
        ({"errors": [{"category": "RATE_LIMITS", "context": {"ids": ["K0"]}}]}, {"K1"}),
        ({"errors": [{"category": "CONFLICT", "context": None}], "results": None}, set()),
    ],
)
def test_hubspot_is_believed_only_for_rows_that_it_names(
    tmp_path: Path, change: dict[str, Any], believed: set[str]
) -> None:
    results = [{"properties": {"klant_id": key}} for key in ("K1", "K0")]
    body = {"status": "COMPLETE", "results": results} | change

    def application(asked: Asked) -> Told:
        return Told(207, body) if asked.method == "POST" else HubSpot().answer(asked)

    service = Service(application)
    destination = opened(tmp_path, section(service), COLUMNS, "contacts")
    outcomes = destination.write([operation(destination, key, city="Ede") for key in ("K0", "K1")])
    service.close()
    told = {key for key, state in states(outcomes).items() if state == "acknowledged"}
    assert told == believed


def test_hubspot_lists_what_was_written_in_terms_that_compare(
    tmp_path: Path, hubspot: HubSpot, service: Service
) -> None:
    columns = {"email": "email", "revenue": "revenue", "seen": "seen_at", "member": "is_member"}
    destination = opened(tmp_path, section(service), columns, "contacts")
    assert isinstance(destination, InspectableDestination)
    values = {"revenue": Decimal("1.50"), "is_member": True}
    values["seen_at"] = datetime(2026, 3, 1, 9, tzinfo=UTC)
    some = [operation(destination, f"L{n}@Voorbeeld.example", **values) for n in range(5)]
    assert set(states(destination.write(some)).values()) == {"acknowledged"}
    for row in hubspot.rows.values():
        row |= {
            "email": row["email"].lower(),
            "revenue": "1.5",
            "seen_at": MOMENT.replace("12", "09"),
        }
    pages = list(destination.read_all(columns.values()))
    assert [len(page) for page in pages] == [2, 2, 1]
    found = destination.read([one.key for one in some], columns.values())
    assert len(found) == 5, "the key of an address is the same in lower case"
    for one in some:
        assert destination.holds(one, found[one.key])
        there = destination.comparable(found[one.key])
        assert destination.comparable(one.body).items() <= there.items()
        assert destination.comparable({"email": one.key})["email"] == there["email"]


@pytest.mark.parametrize(
    ("columns", "entity", "message"),
    [
        ({"customer": "klant_id", "city": "town"}, "contacts", "it has no property town"),
        (
            {"customer": "klant_id", "city": "createdate"},
            "contacts",
            "createdate cannot be written",
        ),
        (
            {"customer": "klant_id", "city": "revenue"},
            "contacts",
            "revenue is number, city is VARCHAR",
        ),
        (
            {"customer": "city", "email": "email"},
            "contacts",
            "city is no property with unique values",
        ),
        ({"customer": "hs_object_id", "city": "city"}, "contacts", "are not ours to delete"),
        ({"customer": "klant_id", "city": "city"}, "persons", "HubSpot has no object persons"),
    ],
)
def test_hubspot_preflight(
    tmp_path: Path, service: Service, columns: dict[str, str], entity: str, message: str
) -> None:
    with pytest.raises(KlantbeeldError, match=re.escape(message)):
        opened(tmp_path, section(service), columns, entity).check(TYPES)
    assert service.writes() == []


def test_hubspot_an_unknown_option_is_refused_with_those_that_there_are(
    tmp_path: Path, service: Service
) -> None:
    destination = opened(tmp_path, section(service), COLUMNS, "contacts")
    destination.check(TYPES)
    assert destination.encode("K", "create", {"stage": " sluimerend "}) == {"stage": "dormant"}
    assert destination.encode("K", "create", {"stage": None}) == {"stage": ""}
    with pytest.raises(RowRefused, match="the options are Sluimerend") as caught:
        destination.encode("K", "create", {"stage": "Wakker"})
    assert "Wakker" not in caught.value.message


def test_hubspot_a_refused_token_ends_after_one_request(tmp_path: Path, service: Service) -> None:
    with pytest.raises(AuthenticationFailed):
        opened(tmp_path, section(service, token="oud"), COLUMNS, "contacts").check(TYPES)
    assert len(service.seen) == 1


def test_hubspot_rows_with_its_own_id_are_changed_and_never_made(
    tmp_path: Path, hubspot: HubSpot, service: Service
) -> None:
    columns = {"customer": "hs_object_id", "city": "city"}
    destination = opened(tmp_path, section(service), columns, "contacts")
    hubspot.rows["501"] = {"city": "Tiel", "hs_object_id": "501"}
    outcomes = destination.write(
        [operation(destination, "501", city="Ede"), operation(destination, "999", city="Ede")]
    )
    assert states(outcomes) == {"501": "acknowledged", "999": "rejected"}
    assert hubspot.rows == {"501": {"city": "Ede", "hs_object_id": "501"}}
    assert destination.read(["501", "999"], ["city"])["501"]["city"] == "Ede"


# ---- Klaviyo -----------------------------------------------------------------------------------


class Klaviyo(Vendor):
    """Profiles by external id."""

    def __init__(self) -> None:
        super().__init__()
        self.profiles: dict[str, dict[str, Any]] = {}

    def answer(self, asked: Asked) -> Told:
        assert asked.headers["revision"] == "2026-07-15"
        if asked.headers["authorization"] != f"Klaviyo-API-Key {TOKEN}":
            return Told(401, {"errors": [{"code": "not_authenticated"}]})
        if asked.method == "GET":
            return self.list(asked)
        assert asked.headers["content-type"] == "application/vnd.api+json"
        data = asked.json["data"]
        sent = copy.deepcopy(data["attributes"])
        if not str(sent.get("phone_number") or "+").startswith("+"):
            error = {
                "id": "1",
                "code": "invalid",
                "title": "Invalid input.",
                "detail": f"Invalid phone number {sent['phone_number']}",
                "source": {"pointer": "/data/attributes/phone_number"},
            }
            return Told(400, {"errors": [error]})
        key = sent["external_id"]
        is_new = key not in self.profiles
        profile = self.profiles.setdefault(key, {"location": {}, "properties": {}})
        for name in ("location", "properties"):
            profile[name] |= sent.pop(name, {})
        for name in data.get("meta", {}).get("patch_properties", {}).get("unset", []):
            profile["properties"].pop(name, None)
        profile |= sent
        return Told(201 if is_new else 200, {"data": self.told(key)})

    def list(self, asked: Asked) -> Told:
        keys = list(self.profiles)
        links: dict[str, Any] = {"self": "https://a.example/api/profiles"}
        if "filter" in asked.query:
            condition = re.fullmatch(r"any\(external_id,(\[.*\])\)", asked.query["filter"][0])
            assert condition is not None
            keys = [key for key in json.loads(condition[1]) if key in self.profiles]
        elif "page[cursor]" not in asked.query and len(keys) > 2:
            links["next"] = f"http://{asked.headers['host']}{asked.path}?page[cursor]=2"
            keys = keys[:2]
        else:
            keys = keys[2:]
        return Told(200, {"data": [self.told(key) for key in keys], "links": links})

    def told(self, key: str) -> dict[str, Any]:
        return {
            "type": "profile",
            "id": f"01{key}",
            "attributes": self.profiles[key],
            "links": {"self": "https://a.example/"},
        }


PROFILE_COLUMNS = {
    "customer": "external_id",
    "email": "email",
    "phone": "phone_number",
    "city": "location.city",
    "tier": "properties.tier",
    "revenue": "properties.revenue",
}
PROFILES: dict[str, Any] = {
    "entity": "profiles",
    "on_leave": "nothing",
    "schema": pa.schema(
        [(name, pa.float64() if name == "revenue" else pa.string()) for name in PROFILE_COLUMNS]
    ),
}


@pytest.fixture
def klaviyo() -> Klaviyo:
    return Klaviyo()


@pytest.fixture
def profiles(klaviyo: Klaviyo) -> Iterator[Service]:
    with served(klaviyo) as running:
        yield running


def klaviyo_section(service: Service, **more: Any) -> dict[str, Any]:
    return {
        "kind": "klaviyo",
        "api_key": TOKEN,
        "base_url": service.url,
        "timeout_seconds": 0.3,
        **more,
    }


def members(count: int) -> list[dict[str, Any]]:
    return [
        {
            "customer": f"K{n}",
            "email": f"l{n}@voorbeeld.example",
            "phone": None,
            "city": "Ede",
            "tier": "Goud",
            "revenue": n + 0.5,
        }
        for n in range(count)
    ]


def profile(row: dict[str, Any]) -> dict[str, Any]:
    own = {"tier": row["tier"], "revenue": row["revenue"]}
    return {
        "external_id": row["customer"],
        "email": row["email"],
        "phone_number": row["phone"],
        "location": {"city": row["city"]},
        "properties": {name: value for name, value in own.items() if value is not None},
    }


@pytest.mark.parametrize("damage", [None, *LONG_DAMAGES])
def test_klaviyo_holds_what_is_wanted_whatever_happens(
    tmp_path: Path, klaviyo: Klaviyo, profiles: Service, damage: Damage | None
) -> None:
    world = RowsWorld(tmp_path / "home", klaviyo_section(profiles))
    rows = members(3)
    profiles.damages = [None, damage]
    world.publish(rows, PROFILE_COLUMNS, **PROFILES)
    assert world.sync().status == "synced"
    assert klaviyo.profiles == {row["customer"]: profile(row) for row in rows}
    klaviyo.profiles["K0"]["first_name"] = "of somebody else"
    rows[0] |= {"tier": None, "email": None}
    profiles.seen.clear()
    profiles.damages = [damage]
    world.publish(rows, PROFILE_COLUMNS, **PROFILES)
    assert world.sync().status == "synced"
    world.close()
    assert klaviyo.profiles["K0"] == profile(rows[0]) | {"first_name": "of somebody else"}
    assert profiles.writes()[0].json["data"] == {
        "type": "profile",
        "attributes": {"external_id": "K0", "email": None},
        "meta": {"patch_properties": {"unset": ["tier"]}},
    }


def test_klaviyo_a_profile_that_was_deleted_is_made_whole_again(
    tmp_path: Path, klaviyo: Klaviyo, profiles: Service
) -> None:
    world = RowsWorld(tmp_path / "home", klaviyo_section(profiles))
    rows = members(2)
    world.publish(rows, PROFILE_COLUMNS, **PROFILES)
    world.sync()
    del klaviyo.profiles["K1"]
    rows[1]["city"] = "Tiel"
    world.publish(rows, PROFILE_COLUMNS, **PROFILES)
    assert world.sync().status == "synced"
    world.close()
    assert klaviyo.profiles["K1"] == profile(rows[1])


def test_klaviyo_a_refusal_is_told_by_code_and_attribute(tmp_path: Path, profiles: Service) -> None:
    destination = opened(tmp_path, klaviyo_section(profiles), PROFILE_COLUMNS, "profiles")
    outcomes = destination.write([operation(destination, "K1", phone_number="0612345678")])
    assert states(outcomes) == {"K1": "rejected"}
    assert outcomes["op-K1"].reason == "400 invalid phone_number"


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"type": "profile", "attributes": {"external_id": "K2"}}},
        {"data": {"type": "list", "attributes": {"external_id": "K1"}}},
        {"data": []},
        {},
    ],
)
def test_klaviyo_is_believed_only_for_the_profile_that_it_names(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    service = Service(lambda _: Told(200, body))
    destination = opened(tmp_path, klaviyo_section(service), PROFILE_COLUMNS, "profiles")
    assert destination.write([operation(destination, "K1", email=None)]) == {}
    service.close()


def test_klaviyo_lists_what_was_written_in_terms_that_compare(
    tmp_path: Path, profiles: Service
) -> None:
    destination = opened(tmp_path, klaviyo_section(profiles), PROFILE_COLUMNS, "profiles")
    assert isinstance(destination, InspectableDestination)
    values = {"location.city": "Ede", "properties.revenue": Decimal("1.50"), "email": "l@x.example"}
    some = [operation(destination, f"K{n}", **values) for n in range(3)]
    destination.write(some)
    pages = list(destination.read_all(PROFILE_COLUMNS.values()))
    assert [list(page) for page in pages] == [["K0", "K1"], ["K2"]]
    found = destination.read(["K0", "K9"], [])
    assert list(found) == ["K0"]
    assert destination.holds(some[0], found["K0"])
    assert (
        destination.comparable(some[0].body).items() <= destination.comparable(found["K0"]).items()
    )


@pytest.mark.parametrize(
    ("columns", "entity", "keep", "message"),
    [
        ({"customer": "external_id", "city": "city"}, "profiles", "nothing", "no attribute city"),
        ({"customer": "external_id", "revenue": "email"}, "profiles", "nothing", "email is text"),
        (
            {"customer": "first_name", "city": "title"},
            "profiles",
            "nothing",
            "is none of external_id",
        ),
        ({"customer": "external_id", "city": "title"}, "segments", "nothing", "entity is profiles"),
        ({"customer": "external_id", "city": "title"}, "profiles", "delete", "are not deleted"),
    ],
)
def test_klaviyo_preflight(
    tmp_path: Path,
    profiles: Service,
    columns: dict[str, str],
    entity: str,
    keep: str,
    message: str,
) -> None:
    world = RowsWorld(tmp_path / "home", klaviyo_section(profiles))
    row = {"customer": "K1", "city": "Ede", "revenue": 1.5}
    world.publish([{name: row[name] for name in columns}], columns, entity=entity, on_leave=keep)
    report = world.sync()
    world.close()
    assert report.status == "failed"
    assert message in str(report.message)
    assert profiles.seen == []


def test_klaviyo_a_refused_key_ends_after_one_request(tmp_path: Path, profiles: Service) -> None:
    wrong = klaviyo_section(profiles, api_key="oud")
    destination = opened(tmp_path, wrong, PROFILE_COLUMNS, "profiles")
    with pytest.raises(StatusError):
        destination.write([operation(destination, f"K{n}", email=None) for n in range(9)])
    assert len(profiles.seen) == 1


class KlaviyoList(Vendor):
    """One list, and profiles by address, which are kept in lower case."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, str] = {}
        self.members: set[str] = set()

    def answer(self, asked: Asked) -> Told:
        if asked.path == "/api/profile-import":
            email = asked.json["data"]["attributes"]["email"].lower()
            is_new = email not in self.ids
            self.ids.setdefault(email, f"01{len(self.ids)}")
            return Told(201 if is_new else 200, {"data": self.told(email)})
        if not asked.path.startswith("/api/lists/L1"):
            return Told(404, {"errors": []})
        if asked.path == "/api/lists/L1":
            return Told(200, {"data": {"type": "list", "id": "L1"}})
        if asked.method == "GET":
            assert asked.path == "/api/lists/L1/profiles"
            wanted = re.fullmatch(r"any\(email,(\[.*\])\)", asked.query["filter"][0])
            assert wanted is not None
            here = {email: own_id for email, own_id in self.ids.items() if own_id in self.members}
            found = [email.lower() for email in json.loads(wanted[1]) if email.lower() in here]
            return Told(200, {"data": [self.told(email) for email in found], "links": {"self": ""}})
        ids = {row["id"] for row in asked.json["data"]}
        assert ids <= set(self.ids.values())
        assert len(ids) <= 1000
        self.members = self.members | ids if asked.method == "POST" else self.members - ids
        return Told(204)

    def told(self, email: str) -> dict[str, Any]:
        own_id = self.ids[email]
        attributes = {"email": email}
        links = {"self": ""}
        return {"type": "profile", "id": own_id, "attributes": attributes, "links": links}


@pytest.mark.parametrize("damage", [None, error_after, reset_before])
def test_klaviyo_members_of_a_list_come_and_go_and_their_profiles_stay(
    tmp_path: Path, damage: Damage | None
) -> None:
    lists = KlaviyoList()
    service = Service(lists)
    destination = opened(tmp_path, klaviyo_section(service), {"email": "email"}, "lists/L1")
    assert isinstance(destination, KlaviyoDestination)
    assert destination.can_remove
    some = [operation(destination, f"L{n}@voorbeeld.example") for n in range(3)]
    service.damages = [None, None, None, damage]
    assert set(states(destination.write(some)).values()) == {"acknowledged"}
    assert len(lists.members) == 3
    assert destination.read(["l1@voorbeeld.example", "x@voorbeeld.example"], []) == {
        "l1@voorbeeld.example": {"email": "l1@voorbeeld.example"}
    }
    leaving = [operation(destination, f"L{n}@voorbeeld.example", "remove") for n in (1, 7)]
    service.damages = [damage]
    outcomes = destination.write(leaving)
    service.close()
    assert set(states(outcomes).values()) == {"acknowledged"}
    assert len(lists.members) == 2
    assert len(lists.ids) == 3
    assert lists.problems == []
    assert destination.holds(leaving[0], None)


def test_klaviyo_a_list_that_did_not_change_acknowledges_nobody(tmp_path: Path) -> None:
    lists = KlaviyoList()
    service = Service(lists)
    destination = opened(tmp_path, klaviyo_section(service), {"email": "email"}, "lists/L1")
    some = [operation(destination, f"l{n}@voorbeeld.example") for n in range(2)]
    lost: list[Damage | None] = [None, None, *[error_before] * 4]
    service.damages = list(lost)
    assert destination.write(some) == {}
    service.damages = [None, None, lambda *_: Told(200, {})]
    assert destination.write(some) == {}, "204 is what it promises"
    service.damages = [None, None, lambda *_: Told(403, {})]
    assert set(states(destination.write(some)).values()) == {"pending"}
    assert lists.members == set()
    other = opened(tmp_path, klaviyo_section(service), {"email": "email"}, "lists/L2")
    with pytest.raises(KlantbeeldError, match="not deleted"):
        other.check({"email": "VARCHAR"})
    service.close()


# ---- the checks themselves ---------------------------------------------------------------------

WRITTEN = {"id": "K1", "idProperty": "klant_id", "properties": {"city": "Ede"}}
READ = {"inputs": [{"id": "K1"}], "properties": ["city"], "propertiesWithHistory": []}
MEMBER = {"type": "profile", "id": "01"}
IMPORT = {"type": "profile", "attributes": {"email": "l@voorbeeld.example"}}


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("upsert", {"inputs": [WRITTEN]}, {"inputs": [WRITTEN | {"properties": {"points": 1}}]}),
        ("upsert", {"inputs": [WRITTEN]}, {"inputs": [WRITTEN | {"properties": {"city": None}}]}),
        ("upsert", {"inputs": [WRITTEN]}, {"inputs": [{"properties": {}}]}),
        ("update", {"inputs": [WRITTEN]}, {"rows": [WRITTEN]}),
        ("update", {"inputs": [WRITTEN]}, {"inputs": [WRITTEN | {"idproperty": "x"}]}),
        ("archive", {"inputs": [{"id": "1"}]}, {"inputs": [{"id": 1}]}),
        ("read", READ, {**READ, "propertiesWithHistory": None}),
        ("read", READ, {"inputs": [], "properties": []}),
        ("members", {"data": [MEMBER]}, {"data": MEMBER}),
        ("members", {"data": [MEMBER]}, {"data": [MEMBER | {"id": 1}]}),
        ("members", {"data": [MEMBER]}, {"data": [{"id": "01"}]}),
        ("import", {"data": IMPORT}, {"data": {"attributes": {}}}),
        ("import", {"data": IMPORT}, {"data": IMPORT | {"type": "profiles"}}),
        ("import", {"data": IMPORT}, {"data": IMPORT | {"attributes": {"mail": "x"}}}),
        ("import", {"data": IMPORT}, {"data": IMPORT | {"attributes": {"email": 1}}}),
        ("import", {"data": IMPORT}, {"data": IMPORT | {"meta": {"unset": ["x"]}}}),
    ],
)
def test_every_check_against_a_description_can_fail(path: str, good: Any, bad: Any) -> None:
    batch = "/crm/v3/objects/contacts/batch/"
    names = {"import": "/api/profile-import", "members": "/api/lists/L1/relationships/profiles"}
    name = names.get(path, batch + path)
    assert violations(REQUESTS, "POST", name, good) == []
    assert violations(REQUESTS, "POST", name, bad) != []


def test_a_request_that_no_description_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        violations(REQUESTS, "POST", "/crm/v3/objects/contacts/batch/replace", {})
