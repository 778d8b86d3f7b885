"""The demo's CRM as its clients meet it: a real process, real HTTP, one test per promise."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
import requests

from demo.crm import store

pytestmark = pytest.mark.integration

SECRET = "correct horse battery staple"
WORLD_TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Crm:
    """One service process and a client of it."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def database(self) -> Path:
        return self.folder / "crm.db"

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(SECRET)
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        given = {
            "--db": str(self.database),
            "--port": str(self.port),
            "--client-id": "pipeline",
            "--client-secret-file": str(secret),
        }
        words = [word for pair in given.items() for word in pair]
        self.process = subprocess.Popen([sys.executable, "-m", "demo.crm", *words, *self.options])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.home}/health", timeout=1).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise TimeoutError("the CRM did not start")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(30)

    def token(self) -> str:
        answer = requests.post(
            f"{self.home}/token",
            data={
                "grant_type": "client_credentials",
                "client_id": "pipeline",
                "client_secret": SECRET,
            },
            timeout=10,
        )
        return str(answer.json()["access_token"])

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else f"{self.home}/api/data/v9.2/{path}"
        if "Authorization" not in self.session.headers:
            self.session.headers["Authorization"] = f"Bearer {self.token()}"
        return self.session.request(method, url, timeout=30, **options)

    def get(self, path: str, prefer: str = "", **headers: str) -> requests.Response:
        return self.call("GET", path, headers={**headers, **({"Prefer": prefer} if prefer else {})})

    def everything(self, path: str, prefer: str = "") -> tuple[list[dict[str, Any]], str]:
        """All rows over all pages, and the delta link of the last page."""
        rows: list[dict[str, Any]] = []
        while True:
            answer = self.get(path, prefer)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            rows += page["value"]
            if "@odata.nextLink" not in page:
                return rows, page.get("@odata.deltaLink", "")
            path = page["@odata.nextLink"]

    def new_contact(self, **columns: Any) -> str:
        row_id = str(uuid4())
        answer = self.call("POST", "contacts", json={"contactid": row_id, **columns})
        assert answer.status_code == 204, answer.text
        return row_id

    def batch(
        self, parts: list[list[str] | str], prefer: str = "odata.continue-on-error"
    ) -> tuple[int, list[Any]]:
        """Send operations, a list of them being a change set; gives their statuses and bodies."""
        lines: list[str] = []
        for part in parts:
            if isinstance(part, str):
                lines += ["--b", part]
                continue
            lines += ["--b", "Content-Type: multipart/mixed; boundary=c", ""]
            lines += [line for operation in part for line in ("--c", operation)] + ["--c--"]
        body = "\r\n".join([*lines, "--b--", ""])
        answer = self.call(
            "POST",
            "$batch",
            data=body.encode(),
            headers={"Content-Type": "multipart/mixed; boundary=b", "Prefer": prefer},
        )
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        message = message_from_bytes(head + answer.content)
        if not message.is_multipart():
            return answer.status_code, [answer.json()]
        return answer.status_code, [outcome(part) for part in message.get_payload()]


def outcome(part: Any) -> Any:
    """A part as (status, body), a change set as a list of them."""
    if part.is_multipart():
        return [outcome(inner) for inner in part.get_payload()]
    head, _, body = part.get_payload().partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.strip() else None


def operation(method: str, url: str, body: Any = None, content_id: str = "", **more: str) -> str:
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    head += [f"Content-ID: {content_id}"] if content_id else []
    inner = [f"{method} {url} HTTP/1.1", "Content-Type: application/json"]
    inner += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*head, "", *inner, "", "" if body is None else json.dumps(body)])


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    crm = Crm(tmp_path_factory.mktemp("crm"))
    store.create(crm.database)
    count = 300
    stamps = pa.array([WORLD_TIME] * count, pa.timestamp("us", "UTC"))
    accounts = pa.table(
        {
            "accountid": [str(uuid4())],
            "name": ["Visser BV"],
            "createdon": stamps[:1],
            "modifiedon": stamps[:1],
        }
    )
    contacts = pa.table(
        {
            "contactid": [str(uuid4()) for _ in range(count)],
            "firstname": [f"Persoon {number}" for number in range(count)],
            "lastname": [["Jansen", "Visser", "De Wit"][number % 3] for number in range(count)],
            "gendercode": [number % 3 + 1 for number in range(count)],
            "parentcustomerid": [accounts["accountid"][0].as_py()] * 10 + [None] * (count - 10),
            "createdon": stamps,
            "modifiedon": stamps,
        }
    )
    store.load(crm.database, {"accounts": accounts, "contacts": contacts})
    crm.start()
    yield crm
    crm.stop()


@pytest.fixture
def own_crm(tmp_path: Path) -> Iterator[Crm]:
    """A service that a test may kill, or start with options of its own."""
    crm = Crm(tmp_path)
    yield crm
    if crm.process is not None and crm.process.poll() is None:
        crm.stop()


def refusal(answer: requests.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return answer.status_code, error["code"]


# --------------------------------------------------------------------------------------------
# Sign-in and service protection
# --------------------------------------------------------------------------------------------


def test_only_the_client_with_its_secret_gets_a_token(crm: Crm) -> None:
    form = {"grant_type": "client_credentials", "client_id": "pipeline", "client_secret": "no"}
    assert requests.post(f"{crm.home}/token", data=form, timeout=10).status_code == 401
    form = {"grant_type": "password", "client_id": "pipeline", "client_secret": SECRET}
    assert requests.post(f"{crm.home}/token", data=form, timeout=10).status_code == 400


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nonsense.nonsense"}])
def test_without_a_good_token_there_is_nothing(crm: Crm, header: dict[str, str]) -> None:
    answer = requests.get(f"{crm.home}/api/data/v9.2/contacts", headers=header, timeout=10)
    assert refusal(answer)[0] == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_another_host_name_is_refused(crm: Crm) -> None:
    answer = requests.get(f"{crm.home}/", headers={"Host": "evil.example"}, timeout=10)
    assert answer.status_code == 400


def test_tokens_expire_delta_links_expire_and_requests_run_out(own_crm: Crm) -> None:
    own_crm.options = ("--token-seconds", "1", "--delta-days", "0.00001")
    own_crm.options += ("--limit-requests", "4", "--limit-window", "3")
    own_crm.start()
    _, delta = own_crm.everything("contacts", "odata.track-changes")
    own_crm.session.headers["Authorization"] = f"Bearer {own_crm.token()}"
    time.sleep(1.1)
    assert refusal(own_crm.get("contacts"))[0] == 401
    time.sleep(1)
    own_crm.session.headers["Authorization"] = f"Bearer {own_crm.token()}"
    assert refusal(own_crm.get(delta)) == (400, "0x80044352")

    answers = [own_crm.get("contacts") for _ in range(5)]
    statuses = [answer.status_code for answer in answers]
    first_refused = statuses.index(429)
    assert set(statuses[:first_refused]) == {200}
    assert refusal(answers[first_refused]) == (429, "0x80072322")
    wait = int(answers[first_refused].headers["Retry-After"])
    assert 1 <= wait <= 3
    time.sleep(wait)
    own_crm.session.headers["Authorization"] = f"Bearer {own_crm.token()}"
    assert own_crm.get("contacts").status_code == 200


# --------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------


def test_pages_cover_every_row_once(crm: Crm) -> None:
    rows, delta = crm.everything("contacts?$select=contactid", "odata.maxpagesize=70")
    ids = [row["contactid"] for row in rows]
    assert len(ids) == len(set(ids)) >= 300
    assert delta == ""


def test_pages_are_steady_while_others_write(crm: Crm) -> None:
    """Rows that are there throughout are seen once, whatever comes and goes meanwhile."""
    steady = {row["contactid"] for row in crm.everything("contacts?$select=contactid")[0]}
    stop = threading.Event()

    def come_and_go() -> None:
        others = Crm(crm.folder, port=crm.port)
        while not stop.is_set():
            others.call("DELETE", f"contacts({others.new_contact(lastname='Kort')})")

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        for order in ("", "&$orderby=lastname desc,firstname"):
            path = f"contacts?$select=contactid{order}"
            seen = [row["contactid"] for row in crm.everything(path, "odata.maxpagesize=20")[0]]
            assert [seen.count(row_id) for row_id in steady] == [1] * len(steady)
    finally:
        stop.set()
        writer.join()


def test_filters_orders_counts_and_limits(crm: Crm) -> None:
    answer = crm.get(
        "contacts?$select=lastname,firstname&$filter=lastname eq 'visser' and"
        " startswith(firstname,'Persoon') and not (gendercode eq 1 or firstname eq null)"
        "&$orderby=firstname desc&$top=3&$count=true"
    )
    body = answer.json()
    names = [row["firstname"] for row in body["value"]]
    assert names == sorted(names, reverse=True)
    assert len(names) == 3
    assert body["@odata.count"] == 100
    assert "@odata.nextLink" not in body
    assert set(body["value"][0]) == {"@odata.etag", "contactid", "firstname", "lastname"}
    assert crm.get("contacts/$count?$filter=lastname eq 'Visser'").text == "100"
    later = crm.get("contacts/$count?$filter=createdon gt 2026-03-01T12:00:00Z and gendercode ne 7")
    assert int(later.text) < 300


def test_a_row_by_its_id_with_labels_and_lookups(crm: Crm) -> None:
    account = crm.get("accounts?$top=1").json()["value"][0]
    row_id = crm.new_contact(
        gendercode=2,
        donotemail=True,
        **{"parentcustomerid_account@odata.bind": f"/accounts({account['accountid']})"},
    )
    answer = crm.get(
        f"contacts({row_id})?$expand=parentcustomerid_account($select=name)",
        'odata.include-annotations="*"',
    )
    row = answer.json()
    assert answer.headers["ETag"] == row["@odata.etag"]
    assert row["gendercode@OData.Community.Display.V1.FormattedValue"] == "Vrouw"
    assert row["donotemail"] is True
    assert row["donotphone"] is False
    assert row["birthdate"] is None
    assert row["_parentcustomerid_value"] == account["accountid"]
    assert row["parentcustomerid_account"]["name"] == "Visser BV"
    again = crm.call("GET", f"contacts({row_id})", headers={"If-None-Match": row["@odata.etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("contacts?$filter=shoesize eq 43", 400, "0x0"),
        ("contacts?$filter=lastname eq", 400, "0x80060888"),
        ("contacts?$skip=3", 400, "0x80060888"),
        ("contacts(7)", 400, "0x80060888"),
        ("contacts(lastname='Visser')", 400, "0x80060888"),
        ("contacts(00000000-0000-0000-0000-000000000001)", 404, "0x80040217"),
        (
            "cdp_customerprofiles(cdp_contactid=00000000-0000-0000-0000-000000000001)",
            404,
            "0x80060891",
        ),
        ("persons", 404, "0x8006088a"),
        ("EntityDefinitions(LogicalName='person')", 404, "0x8006088a"),
    ],
)
def test_what_cannot_be_read_is_refused(crm: Crm, path: str, status: int, code: str) -> None:
    assert refusal(crm.get(path)) == (status, code)


# --------------------------------------------------------------------------------------------
# Change tracking
# --------------------------------------------------------------------------------------------


def test_a_delta_link_tells_what_changed_and_what_is_gone(crm: Crm) -> None:
    gone = [crm.new_contact(lastname="Weg") for _ in range(3)]
    changed = crm.new_contact(lastname="Oud")
    rows, delta = crm.everything("contacts?$select=lastname", "odata.track-changes")
    assert {*gone, changed} <= {row["contactid"] for row in rows}
    assert crm.everything(delta)[0] == []

    crm.call("PATCH", f"contacts({changed})", json={"lastname": "Nieuw"})
    for row_id in gone:
        crm.call("DELETE", f"contacts({row_id})")
    added = [crm.new_contact(lastname="Erbij") for _ in range(3)]
    # Of 4 rows and 3 deletions: page ends within the rows, between the two, within the deletions.
    for size in (1, 2, 4, 5, 6, 7, 8):
        found, newer = crm.everything(delta, f"odata.maxpagesize={size}")
        assert [row.get("contactid") for row in found[:4]] == [changed, *added]
        assert [row.get("id") for row in found[4:]] == gone
        assert crm.everything(newer)[0] == []
    assert found[0]["lastname"] == "Nieuw"
    assert found[4] == {
        "@odata.context": f"{crm.home}/api/data/v9.2/$metadata#contacts/$deletedEntity",
        "id": gone[0],
        "reason": "deleted",
    }
    assert crm.get(delta.replace("contacts?", "contacts/$count?")).text == "7"


def test_a_delta_link_holds_while_others_write(crm: Crm) -> None:
    """Pages of one delta, and the delta after it, together tell every change."""
    _, delta = crm.everything("contacts?$select=lastname", "odata.track-changes")
    first = [crm.new_contact() for _ in range(4)]
    page = crm.get(delta, "odata.maxpagesize=2").json()
    crm.call("PATCH", f"contacts({first[0]})", json={"lastname": "Al gezien"})
    crm.call("PATCH", f"contacts({first[3]})", json={"lastname": "Nog niet gezien"})
    crm.call("DELETE", f"contacts({first[2]})")
    rest, newer = crm.everything(page["@odata.nextLink"], "odata.maxpagesize=2")
    later, _ = crm.everything(newer)
    assert [row["contactid"] for row in page["value"]] == first[:2]
    assert rest == []
    assert [row.get("lastname") for row in later[:2]] == ["Al gezien", "Nog niet gezien"]
    assert [row.get("id") for row in later[2:]] == [first[2]]


def test_a_world_that_writes_beside_the_service_is_tracked_too(crm: Crm) -> None:
    _, delta = crm.everything("contacts?$select=lastname", "odata.track-changes")
    row_id = str(uuid4())
    table = pa.table({"contactid": [row_id], "lastname": ["Van buiten"]})
    store.upsert(crm.database, "contacts", table, WORLD_TIME)
    found, delta = crm.everything(delta)
    assert [row["lastname"] for row in found] == ["Van buiten"]
    store.delete(crm.database, "contacts", [row_id], WORLD_TIME)
    assert [row["id"] for row in crm.everything(delta)[0]] == [row_id]


def test_deleting_a_contact_deletes_its_profile_and_tells_both(crm: Crm) -> None:
    contact = crm.new_contact()
    key = f"cdp_customerprofiles(cdp_contactid={contact})"
    profile = crm.call("PATCH", key, json={}, headers={"Prefer": "return=representation"}).json()
    deltas = {
        name: crm.everything(name, "odata.track-changes")[1]
        for name in ("contacts", "cdp_customerprofiles")
    }
    assert crm.call("DELETE", f"contacts({contact})").status_code == 204
    assert crm.get(key).status_code == 404
    gone = {name: [row["id"] for row in crm.everything(link)[0]] for name, link in deltas.items()}
    assert gone == {
        "contacts": [contact],
        "cdp_customerprofiles": [profile["cdp_customerprofileid"]],
    }


@pytest.mark.parametrize("option", ["$filter=gendercode eq 1", "$top=3", "$orderby=lastname"])
def test_tracked_listings_take_no_filter(crm: Crm, option: str) -> None:
    assert refusal(crm.get(f"contacts?{option}", "odata.track-changes"))[0] == 400


def test_a_delta_link_of_another_store_is_expired(crm: Crm, own_crm: Crm) -> None:
    _, delta = crm.everything("contacts", "odata.track-changes")
    store.create(own_crm.database)
    ids = [str(uuid4()) for _ in range(3000)]
    store.upsert(own_crm.database, "contacts", pa.table({"contactid": ids}), WORLD_TIME)
    own_crm.start()
    moved = delta.replace(crm.home, own_crm.home)
    assert refusal(own_crm.get(moved)) == (400, "0x80044352")


# --------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------


def test_creating(crm: Crm) -> None:
    answer = crm.call("POST", "contacts", json={"lastname": "Nieuw"})
    assert answer.status_code == 204
    address = answer.headers["OData-EntityId"]
    assert crm.get(address).json()["lastname"] == "Nieuw"
    answer = crm.call(
        "POST",
        "contacts?$select=lastname",
        json={"lastname": "Nieuw"},
        headers={"Prefer": "return=representation"},
    )
    assert answer.status_code == 201
    assert set(answer.json()) == {"@odata.context", "@odata.etag", "contactid", "lastname"}
    taken = {"contactid": answer.json()["contactid"]}
    assert refusal(crm.call("POST", "contacts", json=taken)) == (412, "0x80040237")


def test_an_upsert_creates_and_then_updates(crm: Crm) -> None:
    row_id = str(uuid4())
    path = f"contacts({row_id})"
    prefer = {"Prefer": "return=representation"}
    made = crm.call("PATCH", path, json={"lastname": "Een"}, headers=prefer)
    assert made.status_code == 201
    changed = crm.call("PATCH", path, json={"firstname": "Twee"}, headers=prefer)
    assert changed.status_code == 200
    before, after = made.json(), changed.json()
    assert (after["lastname"], after["firstname"]) == ("Een", "Twee")
    assert after["versionnumber"] > before["versionnumber"]
    assert after["@odata.etag"] != before["@odata.etag"]
    assert after["modifiedon"] >= before["modifiedon"]
    assert after["createdon"] == before["createdon"]


def test_a_profile_is_written_by_its_contact_and_leaves_the_contact_alone(crm: Crm) -> None:
    contact = crm.new_contact(lastname="Jansen")
    before = crm.get(f"contacts({contact})").json()
    path = f"cdp_customerprofiles(cdp_contactid={contact})"
    for stage in (2, 3):
        answer = crm.call("PATCH", path, json={"cdp_lifecyclestage": stage})
        assert answer.status_code == 204
        assert answer.headers["OData-EntityId"].endswith(path)
    found = crm.get(f"cdp_customerprofiles?$filter=_cdp_contactid_value eq {contact}").json()
    assert [row["cdp_lifecyclestage"] for row in found["value"]] == [3]
    assert crm.get(f"contacts({contact})").json() == before

    bound = {"cdp_ContactId@odata.bind": f"/contacts({contact})"}
    second = crm.call("POST", "cdp_customerprofiles", json=bound)
    assert refusal(second) == (412, "0x80060892")
    other = {"cdp_ContactId@odata.bind": f"/contacts({crm.new_contact()})"}
    path = f"cdp_customerprofiles(cdp_contactid={crm.new_contact()})"
    assert refusal(crm.call("PATCH", path, json=other))[0] == 400
    assert refusal(crm.call("POST", "cdp_customerprofiles", json={}))[0] == 400


def test_conditions_on_writes(crm: Crm) -> None:
    row_id = crm.new_contact(lastname="Een")
    path, absent = f"contacts({row_id})", f"contacts({uuid4()})"
    etag = crm.get(path).headers["ETag"]

    def patch(target: str, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return crm.call("PATCH", target, json={"lastname": "Twee"}, headers=named)

    assert refusal(patch(absent, If_Match="*")) == (404, "0x80040217")
    assert crm.get(absent).status_code == 404
    assert refusal(patch(path, If_None_Match="*")) == (412, "0x80040237")
    assert patch(absent, If_None_Match="*").status_code == 204
    assert patch(path, If_Match="*").status_code == 204
    assert refusal(patch(path, If_Match=etag)) == (412, "0x80060882")
    delete = crm.call("DELETE", path, headers={"If-Match": etag})
    assert refusal(delete) == (412, "0x80060882")
    assert patch(path, If_Match=crm.get(path).headers["ETag"]).status_code == 204
    assert crm.call("DELETE", path).status_code == 204
    assert refusal(crm.call("DELETE", path)) == (404, "0x80040217")
    unknown = f"cdp_customerprofiles(cdp_contactid={uuid4()})"
    answer = crm.call("PATCH", unknown, json={}, headers={"If-Match": "*"})
    assert refusal(answer) == (404, "0x80060891")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"shoesize": 43}, 400, "0x80048d19"),
        ({"lastname": 7}, 400, "0x80048d19"),
        ({"gendercode": 7}, 400, "0x8004431a"),
        ({"lastname": "x" * 51}, 400, "0x80044331"),
        (
            {"parentcustomerid_account@odata.bind": f"/accounts({uuid4()})"},
            404,
            "0x80040217",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_and_changes_nothing(
    crm: Crm, body: dict[str, Any], status: int, code: str
) -> None:
    path = f"contacts({uuid4()})"
    assert refusal(crm.call("PATCH", path, json={"firstname": "x", **body})) == (status, code)
    assert crm.get(path).status_code == 404
    assert refusal(crm.call("POST", "contacts", json=body)) == (status, code)


def test_methods_that_make_no_sense(crm: Crm) -> None:
    row = f"contacts({crm.new_contact()})"
    assert refusal(crm.call("PATCH", "contacts", json={}))[0] == 405
    assert refusal(crm.call("PUT", row, json={}))[0] == 405
    assert refusal(crm.call("DELETE", f"{row}/lastname"))[0] == 501


# --------------------------------------------------------------------------------------------
# Batches
# --------------------------------------------------------------------------------------------


def test_a_batch_goes_on_after_an_error_when_asked(crm: Crm) -> None:
    good, other = str(uuid4()), str(uuid4())
    parts: list[list[str] | str] = [
        operation("PATCH", f"/api/data/v9.2/contacts({good})", {"lastname": "Goed"}),
        operation("PATCH", f"contacts({uuid4()})", {"gendercode": 9}),
        operation("PATCH", f"{crm.home}/api/data/v9.2/contacts({other})", {"lastname": "Ook"}),
        operation("GET", f"contacts({good})?$select=lastname"),
    ]
    status, outcomes = crm.batch(parts)
    assert status == 200
    assert [answer[0] for answer in outcomes] == [204, 400, 204, 200]
    assert outcomes[1][1]["error"]["code"] == "0x8004431a"
    assert outcomes[3][1]["lastname"] == "Goed"

    status, outcomes = crm.batch(parts[1:], prefer="")
    assert (status, [answer[0] for answer in outcomes]) == (400, [400])


def test_a_change_set_is_all_or_nothing(crm: Crm) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    writes = [operation("PATCH", f"contacts({row_id})", {"lastname": "Samen"}) for row_id in ids]
    bad = operation("PATCH", f"contacts({uuid4()})", {"shoesize": 43}, content_id="4")
    status, outcomes = crm.batch([[*writes, bad], operation("GET", f"contacts({ids[0]})")])
    assert (status, [answer[0] for answer in outcomes]) == (200, [400, 404])
    status, outcomes = crm.batch([writes])
    assert [answer[0] for answer in outcomes[0]] == [204, 204, 204]
    assert all(crm.get(f"contacts({row_id})").ok for row_id in ids)


def test_a_change_set_refers_to_its_own_rows(crm: Crm) -> None:
    row_id = str(uuid4())
    child = {"cdp_guardianid@odata.bind": "$1", "lastname": "Kind"}
    profile = {"cdp_ContactId@odata.bind": "$2"}
    _, outcomes = crm.batch(
        [
            [
                operation("POST", "contacts", {"lastname": "Ouder"}, content_id="1"),
                operation("PATCH", f"contacts({row_id})", child, content_id="2"),
                operation("POST", "cdp_customerprofiles", profile, content_id="3"),
                operation("PATCH", "$1", {"firstname": "Anna"}, content_id="5"),
            ]
        ]
    )
    assert [answer[0] for answer in outcomes[0]] == [204] * 4
    guardian = crm.get(f"contacts({row_id})").json()["_cdp_guardianid_value"]
    assert crm.get(f"contacts({guardian})").json()["firstname"] == "Anna"
    assert crm.get(f"cdp_customerprofiles(cdp_contactid={row_id})").ok
    _, outcomes = crm.batch([[operation("PATCH", "$9", {})]])
    assert outcomes[0][0] == 400


def test_a_batch_that_is_malformed_or_too_large_does_nothing(crm: Crm) -> None:
    row_id = str(uuid4())
    one = operation("PATCH", f"contacts({row_id})", {"lastname": "Nooit"})
    status, outcomes = crm.batch([one, *[one] * 1000])
    assert (status, outcomes[0]["error"]["code"]) == (400, "0x0")
    answer = crm.call(
        "POST",
        "$batch",
        data=f"--b\r\n{one}\r\n".encode(),
        headers={"Content-Type": "multipart/mixed; boundary=b"},
    )
    assert refusal(answer)[0] == 400
    assert crm.get(f"contacts({row_id})").status_code == 404


# --------------------------------------------------------------------------------------------
# Many clients, and a killed service
# --------------------------------------------------------------------------------------------


def test_of_many_clients_with_one_version_exactly_one_wins(crm: Crm) -> None:
    row_id = crm.new_contact(firstname="0")
    path = f"contacts({row_id})"

    def increment(client: Crm) -> int:
        wins = 0
        for _ in range(10):
            row = client.get(path).json()
            answer = client.call(
                "PATCH",
                path,
                json={"firstname": str(int(row["firstname"]) + 1)},
                headers={"If-Match": row["@odata.etag"]},
            )
            assert answer.status_code in (204, 412), answer.text
            wins += answer.status_code == 204
        return wins

    clients = [Crm(crm.folder, port=crm.port) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        wins = sum(pool.map(increment, clients))
    assert crm.get(path).json()["firstname"] == str(wins)


def test_of_many_creates_of_one_profile_one_is_made(crm: Crm) -> None:
    path = f"cdp_customerprofiles(cdp_contactid={crm.new_contact()})"
    clients = [Crm(crm.folder, port=crm.port) for _ in range(4)]
    for client in clients:
        client.get("WhoAmI")
    headers = {"If-None-Match": "*"}
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda c: c.call("PATCH", path, json={}, headers=headers), clients)
    assert sorted(answer.status_code for answer in answers) == [204, 412, 412, 412]


def test_the_world_and_the_service_write_at_the_same_time(crm: Crm) -> None:
    table = pa.table({"contactid": [str(uuid4()) for _ in range(200)]})
    stop = threading.Event()

    def world() -> int:
        rounds = 0
        while not stop.is_set():
            store.upsert(crm.database, "contacts", table, WORLD_TIME)
            rounds += 1
        return rounds

    path = f"contacts({crm.new_contact()})"
    with ThreadPoolExecutor(1) as pool:
        rounds = pool.submit(world)
        try:
            answers = [crm.call("PATCH", path, json={"lastname": "Ook"}) for _ in range(60)]
        finally:
            stop.set()
    assert {answer.status_code for answer in answers} == {204}
    assert rounds.result() > 1


def test_what_was_acknowledged_outlives_a_killed_service(own_crm: Crm) -> None:
    own_crm.start()
    acknowledged: list[str] = []

    def write() -> None:
        client = Crm(own_crm.folder, port=own_crm.port)
        try:
            while True:
                row_id = str(uuid4())
                answer = client.call("PATCH", f"contacts({row_id})", json={"lastname": "Hier"})
                if answer.status_code == 204:
                    acknowledged.append(row_id)
        except requests.RequestException:
            return

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    time.sleep(1)
    own_crm.stop(signal.SIGKILL)
    for writer in writers:
        writer.join()
    own_crm.start()
    found = {row["contactid"] for row in own_crm.everything("contacts?$select=contactid")[0]}
    assert len(acknowledged) > 10
    assert set(acknowledged) <= found
    # At most the one write that each client had not heard of yet.
    assert len(found) <= len(acknowledged) + len(writers)


def test_a_clock_file_stamps_the_writes(own_crm: Crm) -> None:
    clock = own_crm.folder / "clock.json"
    clock.write_text(json.dumps({"as_of": "2026-03-01T23:59:59+01:00"}))
    own_crm.options = ("--clock-file", str(clock))
    own_crm.start()
    path = f"contacts({own_crm.new_contact()})"
    assert own_crm.get(path).json()["modifiedon"] == "2026-03-01T22:59:59Z"
    clock.write_text(json.dumps({"as_of": "2026-03-04T22:59:59+00:00"}))
    own_crm.call("PATCH", path, json={})
    row = own_crm.get(path).json()
    assert (row["createdon"], row["modifiedon"]) == ("2026-03-01T22:59:59Z", "2026-03-04T22:59:59Z")


# --------------------------------------------------------------------------------------------
# What it says about itself, and what people see
# --------------------------------------------------------------------------------------------


def test_metadata_names_columns_types_and_labels(crm: Crm) -> None:
    cast = "Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName&$expand=OptionSet"
    answer = crm.get(f"EntityDefinitions(LogicalName='contact')/Attributes/{cast}").json()
    labels = {
        row["LogicalName"]: {
            option["Value"]: option["Label"]["UserLocalizedLabel"]["Label"]
            for option in row["OptionSet"]["Options"]
        }
        for row in answer["value"]
    }
    assert labels["gendercode"] == {1: "Man", 2: "Vrouw", 3: "Onbekend"}
    assert set(labels) == {"gendercode", "preferredcontactmethodcode"}
    flat = crm.get("EntityDefinitions/optionsets").json()["value"]
    assert {
        "entity": "lead",
        "entityset": "leads",
        "attribute": "statuscode",
        "value": 3,
        "label": "Gekwalificeerd",
    } in flat
    attributes = crm.get("EntityDefinitions(LogicalName='cdp_customerprofile')/Attributes").json()
    city = next(row for row in attributes["value"] if row["LogicalName"] == "cdp_city")
    assert (city["AttributeType"], city["MaxLength"]) == ("String", 80)
    keys = crm.get("EntityDefinitions(LogicalName='cdp_customerprofile')/Keys").json()["value"]
    assert keys[0]["KeyAttributes"] == ["cdp_contactid"]
    assert '<EntityType Name="contact">' in crm.get("$metadata").text
    assert len(crm.get("").json()["value"]) == 4
    totals = crm.get("RetrieveTotalRecordCount(EntityNames=['account'])").json()
    assert totals["EntityRecordCountCollection"]["Values"] == [1]


def test_the_user_has_every_privilege_of_every_table(crm: Crm) -> None:
    user = crm.get("WhoAmI").json()["UserId"]
    function = "Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    held = crm.get(f"systemusers({user})/{function}").json()["RolePrivileges"]
    tables = crm.get("EntityDefinitions?$select=LogicalName,Privileges").json()["value"]
    there = {one["PrivilegeId"] for table in tables for one in table["Privileges"]}
    assert {row["PrivilegeId"] for row in held} == there
    assert len(there) == 4 * 8
    assert {row["Depth"] for row in held} == {"Global"}
    assert crm.get(f"systemusers({uuid4()})/{function}").status_code == 404


def test_a_person_finds_a_contact_and_sees_its_profile(crm: Crm) -> None:
    contact = crm.new_contact(
        firstname="Wilhelmina", lastname="<b>Zoeker", gendercode=2, donotemail=True
    )
    found = requests.get(f"{crm.home}/", params={"q": "wilhelmina zoek"}, timeout=10).text
    assert f"/contacts/{contact}" in found
    assert "1 person" in found
    page = requests.get(f"{crm.home}/contacts/{contact}", timeout=10)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "Not yet unified" in page.text
    assert "Vrouw" in page.text
    assert "<b>Zoeker" not in page.text
    profile = {
        "cdp_lifecyclestage": 3,
        "cdp_totalrevenue": 1234.5,
        "cdp_audiences": "breakfast_shoppers; lapsed_loyal_members",
        "cdp_sources": "crm, shop",
        "cdp_primaryemail": "w.zoeker@voorbeeld.example",
        "cdp_primaryphone": "+31612345678",
    }
    crm.call("PATCH", f"cdp_customerprofiles(cdp_contactid={contact})", json=profile)
    text = requests.get(f"{crm.home}/contacts/{contact}", timeout=10).text
    for shown in ("Actief", "€ 1,234.50", "breakfast shoppers", "shop"):
        assert shown in text
    email, phone = text.partition("Contact points")[2].partition("</section>")[0].split("<br>")
    assert ("not allowed" in email, "not allowed" in phone) == (True, False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/?page=2", 200),
        ("/?page=999999&stage=none", 200),
        ("/?q=%25&stage=3", 200),
        ("/?q=nobody-is-called-this", 200),
        ("/accounts", 200),
        ("/leads", 200),
        ("/contacts/nobody", 404),
        ("/accounts/nobody", 404),
        ("/static/crm.css", 200),
    ],
)
def test_every_page_opens(crm: Crm, path: str, status: int) -> None:
    assert requests.get(f"{crm.home}{path}", timeout=10).status_code == status


def test_the_log_holds_no_addresses(own_crm: Crm) -> None:
    """Addresses with a filter hold personal data; the service does not write them down."""
    log = own_crm.folder / "log"
    with log.open("wb") as output:
        saved = os.dup(2), os.dup(1)
        try:
            os.dup2(output.fileno(), 2)
            os.dup2(output.fileno(), 1)
            own_crm.start()
        finally:
            os.dup2(saved[0], 2)
            os.dup2(saved[1], 1)
            for descriptor in saved:
                os.close(descriptor)
    own_crm.get("contacts?$filter=emailaddress1 eq 'anna@example.org'")
    own_crm.get("contacts?$filter=emailaddress1 like 'anna@example.org'")
    own_crm.stop()
    assert "anna" not in log.read_text()
