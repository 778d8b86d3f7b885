"""An audience that goes to its destination row by row: a list whose members come and go."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from klantbeeld.activation import SyncReport, run_sync
from klantbeeld.activation.logs import last_results
from klantbeeld.control.tables import consent_events, outbox
from klantbeeld.records import keyed_hash
from tests.fixtures.activation import AS_OF
from tests.fixtures.destinations import RowsWorld, Service
from tests.fixtures.mailing import Mailing, section

AUDIENCE: dict[str, Any] = {
    "owner": "marketing",
    "purpose": "commercial",
    "channel": "email",
    "destination": "x",
    "columns": ["email", "first_name", "city"],
    "sync": {"entity": "members", "columns": {"email": "email", "first_name": "first_name"}},
}


class AudienceWorld(RowsWorld):
    """A home with the audience `early_birds`, and what is known of its people's consent."""

    def publish_audience(
        self, people: Sequence[int], denied: Sequence[int] = (), **sync: Any
    ) -> None:
        """Publish these members; `denied` are those who withdrew at a source."""
        members = [
            {
                "contact_point_key": f"k{n}",
                "profile_id": f"P{n}",
                "email": address(n),
                "first_name": "Lotte",
                "city": "Ede",
            }
            for n in people
        ]
        points = [
            {"channel": "email", "value_std": address(n), "commercial_consent": state}
            for some, state in ((people, "granted"), (denied, "denied"))
            for n in some
        ]
        tables = {"activation.audience_early_birds": members, "marts.dim_contact_points": points}
        with self.warehouse.build() as connection:
            for name, rows in tables.items():
                connection.execute(f"create schema if not exists {name.partition('.')[0]}")
                connection.register("_rows", pa.Table.from_pylist(rows))
                connection.execute(f"create or replace table {name} as from _rows")
        node = {
            "resource_type": "model",
            "name": "seg_early_birds",
            "schema": "segments",
            "config": {"meta": {**AUDIENCE, "sync": {**AUDIENCE["sync"], **sync}}},
        }
        manifest = self.home / "manifest.json"
        manifest.write_text(json.dumps({"nodes": {"model.klantbeeld.seg_early_birds": node}}))
        self.warehouse.publish(
            run_id="run", as_of=AS_OF, counts={}, on_commit=lambda *_: None, manifest=manifest
        )

    def send(self) -> SyncReport:
        return run_sync("early_birds", self.place, "run")

    def withdraw(self, n: int) -> None:
        """A withdrawal reaches the control plane after the version was built."""
        now = datetime.now(UTC)
        with self.control.begin() as connection:
            connection.execute(
                consent_events.insert().values(
                    consent_event_id=uuid.uuid4().hex,
                    channel="email",
                    contact_point_hash=keyed_hash(address(n), self.settings.home_key()),
                    purpose="commercial",
                    status="denied",
                    effective_at=now,
                    received_at=now,
                    origin="test",
                )
            )


def address(n: int) -> str:
    return f"l{n}@voorbeeld.example"


@pytest.fixture
def mailing() -> Mailing:
    return Mailing()


@pytest.fixture
def world(tmp_path: Path, mailing: Mailing) -> Iterator[AudienceWorld]:
    service = Service(mailing)
    made = AudienceWorld(tmp_path / "home", section(service), batch_size=100)
    yield made
    made.close()
    service.close()


def test_members_join_the_list_and_leave_it_and_nothing_else_is_sent(
    world: AudienceWorld, mailing: Mailing
) -> None:
    world.publish_audience(range(6))
    assert (world.send().creates, len(mailing.members)) == (6, 6)
    assert set(mailing.members.values()) == {"Lotte"}
    world.publish_audience([*range(2, 6), 7])
    report = world.send()
    assert (report.status, report.creates, report.deletes) == ("synced", 1, 2)
    assert set(mailing.members) == {address(n) for n in (2, 3, 4, 5, 7)}
    assert len(mailing.known) == 7, "off the list, and not deleted"
    shown = list(last_results("early_birds", world.place))
    assert {row["operation"] for row in shown} == {"create", "remove"}
    assert not any("@" in row["key"] for row in shown)


def test_who_withdrew_leaves_first_while_who_merely_vanished_is_held(
    world: AudienceWorld, mailing: Mailing
) -> None:
    world.publish_audience(range(120))
    world.send()
    world.publish_audience(range(80, 120), denied=[0, 1])
    world.withdraw(100)
    report = world.send()
    assert (report.status, report.withdrawals, report.held) == ("held", 3, 78)
    assert set(mailing.members) == {address(n) for n in range(120)} - {
        address(n) for n in (0, 1, 100)
    }
    assert "shrank from 120 to 40" in str(report.message)
    assert world.send().withdrawals == 0, "once is enough"


def test_the_address_of_who_left_long_ago_is_not_kept(world: AudienceWorld) -> None:
    world.publish_audience(range(3), on_leave="delete")
    world.send()
    world.publish_audience(range(2), on_leave="delete")
    assert world.send().deletes == 1
    long_ago = datetime.now(UTC) - timedelta(days=world.settings.activation.outbox_days + 1)
    with world.control.begin() as connection:
        connection.execute(outbox.update().values(updated_at=long_ago))
    world.send()
    assert not any(row.destination_key == address(2) for row in world.operations())
    world.publish_audience(range(3), on_leave="delete")
    assert (world.send().creates, world.send().status) == (1, "unchanged"), "and may return"
