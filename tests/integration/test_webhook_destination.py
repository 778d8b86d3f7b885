"""Signed events to a receiver that checks them as the Standard Webhooks specification says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation.destinations.webhook import signature
from klantbeeld.errors import SettingsError
from klantbeeld.http import AddressRefused
from tests.fixtures import destinations as fixture
from tests.fixtures.destinations import Asked, RowsWorld, Service, Told, opened, operation, states

pytestmark = pytest.mark.usefixtures("no_long_waits")

COLUMNS = {"customer": "customer_id", "city": "city", "points": "points"}
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()


class Receiver:
    """Takes each event once, if one of its signatures is by the secret it knows."""

    def __init__(self, secret: str) -> None:
        self.key = base64.b64decode(secret.removeprefix("whsec_"))
        self.taken: dict[str, dict[str, Any]] = {}
        self.repeats = 0

    def __call__(self, asked: Asked) -> Told:
        message, moment = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
        signed = b".".join([message.encode(), moment.encode(), asked.body])
        digest = base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest()).decode()
        if f"v1,{digest}" not in asked.headers["webhook-signature"].split():
            return Told(401)
        if abs(time.time() - int(moment)) > 300:
            return Told(400)
        self.repeats += message in self.taken
        self.taken.setdefault(message, asked.json)
        return Told(200, headers={"Content-Type": "text/plain"}, body=b"ok")


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(OLD)


@pytest.fixture
def service(receiver: Receiver) -> Iterator[Service]:
    running = Service(receiver)
    yield running
    running.close()


def section(service: Service, **more: Any) -> dict[str, Any]:
    url = service.url + "/events?for=us"
    return {"kind": "webhook", "url": url, "secret": OLD, "timeout_seconds": 0.3, **more}


def test_the_signature_is_the_one_that_the_specification_gives() -> None:
    key = base64.b64decode("plJ3nmyCDGBKInavdOK15jsl")
    body = b'{"event_type":"ping","data":{"success":true}}'
    assert (
        signature(key, "msg_loFOjxBNrRLzqYUf", 1731705121, body)
        == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
    )


def test_every_change_is_an_event_with_the_whole_row(
    tmp_path: Path, service: Service, receiver: Receiver
) -> None:
    world = RowsWorld(tmp_path / "home", section(service))
    rows = [{"customer": f"c{n}", "city": "Ede", "points": n} for n in range(2)]
    world.publish(rows, COLUMNS, entity="member")
    service.damages = [fixture.error_after, fixture.reset_before, fixture.reset_after]
    assert world.sync().status == "synced"
    rows[1]["city"] = "Tiel"
    world.publish(rows[1:], COLUMNS, entity="member")
    assert world.sync().status == "synced"
    world.close()
    events = [(event["type"], event["data"]) for event in receiver.taken.values()]
    assert events == [
        ("member.created", {"customer_id": "c0", "city": "Ede", "points": 0}),
        ("member.created", {"customer_id": "c1", "city": "Ede", "points": 1}),
        ("member.deleted", {"customer_id": "c0"}),
        ("member.updated", {"customer_id": "c1", "city": "Tiel", "points": 1}),
    ]
    assert receiver.repeats == 2, "an event whose answer was lost came again, under the same id"


def test_a_secret_is_replaced_without_a_lost_event(
    tmp_path: Path, service: Service, receiver: Receiver
) -> None:
    both = opened(tmp_path, section(service, secret=NEW, previous_secret=OLD), COLUMNS)
    assert states(both.write([operation(both, "c1")])) == {"c1": "acknowledged"}
    receiver.key = b"n" * 32
    assert states(both.write([operation(both, "c2")])) == {"c2": "acknowledged"}
    new = opened(tmp_path, section(service, secret=NEW), COLUMNS)
    assert states(new.write([operation(new, "c3")])) == {"c3": "acknowledged"}
    assert [len(asked.headers["webhook-signature"].split()) for asked in service.seen] == [2, 2, 1]


def test_a_wrong_secret_costs_at_most_two_requests(tmp_path: Path, service: Service) -> None:
    world = RowsWorld(tmp_path / "home", section(service, secret=NEW))
    world.publish([{"customer": f"c{n}", "city": "Ede", "points": n} for n in range(9)], COLUMNS)
    report = world.sync()
    world.close()
    assert report.status == "failed"
    assert len(service.seen) <= 2
    assert "for=us" not in str(report.message)


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (Told(204), "acknowledged"),
        (Told(200, headers={"Content-Type": "text/html"}, body=b"<html>Sign in</html>"), None),
        (Told(422), "rejected"),
        (Told(500), None),
    ],
)
def test_an_answer_acknowledges_only_what_it_proves(
    tmp_path: Path, told: Told, state: str | None
) -> None:
    service = Service(lambda _: told)
    destination = opened(tmp_path, section(service), COLUMNS)
    outcomes = destination.write([operation(destination, "c1", city="Ede")])
    service.close()
    assert states(outcomes) == ({"c1": state} if state else {})


def test_a_receiver_that_is_gone_is_not_asked_for_every_row(tmp_path: Path) -> None:
    service = Service(lambda _: Told(410))
    destination = opened(tmp_path, section(service), COLUMNS)
    with pytest.raises(AddressRefused, match="no receiver there"):
        destination.write([operation(destination, f"c{n}") for n in range(9)])
    service.close()
    assert len(service.seen) == 1


@pytest.mark.parametrize("secret", ["whsec_kort", "geen base64!", "", "whsec_" + "A" * 88])
def test_a_weak_secret_is_refused_and_not_shown(
    tmp_path: Path, service: Service, secret: str
) -> None:
    with pytest.raises(SettingsError, match="24 to 64 random bytes") as caught:
        opened(tmp_path, section(service, secret=secret), COLUMNS)
    assert not secret or secret not in str(caught.value)
