"""The back-stamp against the demo's CRM: what it must never do, and what it must always reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from klantbeeld.activation import approve, read_manifest
from klantbeeld.activation.destinations import (
    EXISTS,
    InspectableDestination,
    open_records,
    refuses_existing,
)
from klantbeeld.activation.ledger import Operation, Outcome
from klantbeeld.activation.specs import find_sync
from klantbeeld.control.tables import outbox
from tests.fixtures import activation as damage
from tests.fixtures.activation import SYNC, Crm, Proxy, World, contact_id, profile_rows
from tests.integration.conftest import CONTACTS


def assert_crm_has(crm: Crm, rows: list[dict[str, Any]]) -> None:
    profiles = crm.profiles()
    assert set(profiles) == {row["contact_id"] for row in rows}
    for row in rows:
        profile = profiles[row["contact_id"]]
        assert profile["cdp_fullname"] == row["full_name"]
        assert profile["cdp_primaryemail"] == row["primary_email"]
        assert profile["cdp_totalrevenue"] == float(row["total_revenue"])
        assert profile["cdp_lastorderdate"] == row["last_order_date"].isoformat()


def contact_stamps(crm: Crm) -> list[tuple[Any, ...]]:
    return crm.rows("select contactid, modifiedon, versionnumber from contacts order by 1")


def test_a_first_sync_creates_all_and_a_second_writes_nothing(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    before = contact_stamps(crm)
    rows = profile_rows(CONTACTS)
    world.publish(rows)
    first = world.sync()
    assert (first.status, first.creates, first.acknowledged) == ("synced", CONTACTS, CONTACTS)
    assert_crm_has(crm, rows)
    labels = crm.rows("select distinct cdp_lifecyclestage from cdp_customerprofiles order by 1")
    assert labels == [(1,), (2,), (3,), (4,), (5,)]
    assert proxy.writes == 3, "60 rows in batches of 20"

    stamps = crm.versions()
    proxy.seen.clear()
    world.publish(rows)
    second = world.sync()
    assert (second.status, second.unchanged) == ("unchanged", CONTACTS)
    assert proxy.seen == [], "nothing to do is no request at all, not even for a token"
    assert crm.versions() == stamps
    assert contact_stamps(crm) == before, "a contact of the CRM is never touched"
    assert all(operation.payload is None for operation in world.operations())


def test_one_changed_column_rewrites_exactly_that_contact(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    rows = profile_rows(CONTACTS)
    world.publish(rows)
    world.sync()
    stamps = crm.versions()
    rows[7]["city"] = "Ede"
    world.publish(rows)
    report = world.sync()
    assert (report.updates, report.acknowledged, report.unchanged) == (1, 1, CONTACTS - 1)
    changed = {key for key, version in crm.versions().items() if version != stamps[key]}
    assert changed == {contact_id(7)}
    assert crm.profiles()[contact_id(7)]["cdp_city"] == "Ede"


def test_values_become_null_and_come_back(world: World, crm: Crm) -> None:
    rows = profile_rows(3)
    world.publish(rows)
    world.sync()
    for city in (None, "Ede", None):
        rows[1]["city"] = city
        world.publish(rows)
        assert world.sync().acknowledged == 1
        assert crm.profiles()[contact_id(1)]["cdp_city"] == city


def test_a_row_that_leaves_the_model_is_deleted_and_can_return(world: World, crm: Crm) -> None:
    rows = profile_rows(10)
    for count, kind in ((10, "creates"), (9, "deletes"), (10, "creates"), (9, "deletes")):
        world.publish(rows[:count])
        report = world.sync()
        assert (report.status, getattr(report, kind) > 0) == ("synced", True)
        assert_crm_has(crm, rows[:count])
    world.publish(rows[:10])
    assert world.sync().acknowledged == 1
    assert_crm_has(crm, rows)


def test_a_row_that_leaves_the_model_stays_when_the_sync_says_so(world: World, crm: Crm) -> None:
    rows = profile_rows(10)
    world.publish(rows, mode="upsert", on_leave="nothing")
    world.sync()
    world.publish(rows[:9], mode="upsert", on_leave="nothing")
    assert world.sync().status == "unchanged"
    assert_crm_has(crm, rows)


def test_a_rejected_row_is_recorded_and_tried_again_until_accepted(world: World, crm: Crm) -> None:
    rows = profile_rows(10)
    rows[4]["city"] = "Bergen aan een veel te lange naam" * 10
    unknown = {**rows[9], "contact_id": contact_id(5_000)}
    world.publish([*rows, unknown])
    for _ in range(2):  # also when its data did not change
        report = world.sync()
        assert (report.status, report.rejected) == ("degraded", 2)
    rejected = [operation for operation in world.operations() if operation.state == "rejected"]
    assert {operation.destination_key: operation.reason for operation in rejected} == {
        contact_id(4): "400 0x80044331 cdp_city",
        contact_id(5_000): "404 0x80040217: what it belongs to is not there; was it deleted?",
    }
    assert {operation.attempts for operation in rejected} == {2}
    assert all(operation.payload is None for operation in rejected)
    assert len(crm.profiles()) == 9

    rows[4]["city"] = "Bergen"
    world.publish(rows)
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows)
    assert world.ledger().count("rejected") == 0


def test_an_unknown_label_is_refused_with_the_options(world: World, crm: Crm) -> None:
    rows = profile_rows(5)
    rows[2]["lifecycle_stage"] = "Onbestaand"
    rows[3]["lifecycle_stage"] = "ACTIEF"
    world.publish(rows)
    report = world.sync()
    assert (report.acknowledged, report.rejected) == (4, 1)
    (refused,) = [operation for operation in world.operations() if operation.state == "rejected"]
    assert "the options are Prospect, Nieuw, Actief, Sluimerend, Vertrokken" in refused.reason
    assert "Onbestaand" not in refused.reason
    assert crm.profiles()[contact_id(3)]["cdp_lifecyclestage"] == 3


def test_a_profile_deleted_in_the_crm_is_made_again_whole(world: World, crm: Crm) -> None:
    rows = profile_rows(5)
    world.publish(rows)
    world.sync()
    crm.change(f"delete from cdp_customerprofiles where cdp_contactid = '{contact_id(2)}'")
    rows[2]["city"] = "Ede"
    world.publish(rows)
    assert world.sync().acknowledged == 1
    assert_crm_has(crm, rows)


def test_a_changed_mapping_sends_the_new_column_only(world: World, crm: Crm, proxy: Proxy) -> None:
    rows = profile_rows(5)
    fewer = {k: v for k, v in damage.COLUMNS.items() if k != "city"}
    world.publish(rows, columns=fewer)
    world.sync()
    world.publish(rows)
    assert world.sync().updates == 5
    assert crm.profiles()[contact_id(1)]["cdp_city"] == "'s-Hertogenbosch"
    proxy.seen.clear()
    world.publish(rows, columns=fewer)
    assert world.sync().status == "unchanged"
    assert proxy.seen == [], "a column less is no change of the destination"
    world.publish(rows, columns=fewer)
    assert world.sync().status == "unchanged"


def test_the_crm_lists_what_was_written_in_terms_that_compare(world: World, crm: Crm) -> None:
    rows = profile_rows(7)
    world.publish(rows)
    world.sync()
    spec = find_sync(read_manifest(world.warehouse.current().manifest), SYNC)
    destination = open_records(world.settings, spec)
    assert isinstance(destination, InspectableDestination)
    columns = list(spec.columns.values())
    (page,) = destination.read_all(columns)
    assert page == destination.read(page, columns)
    for row in rows:
        values = {column: row[model] for model, column in spec.value_columns.items()}
        sent = destination.comparable(destination.encode(row["contact_id"], "create", values))
        there = destination.comparable(page[row["contact_id"]])
        assert {column: there[column] for column in sent} == sent
    again = Operation("1", rows[0]["contact_id"], "create", {}, "", "", must_be_new=True)
    assert refuses_existing(destination)
    assert destination.write([again]) == {"1": Outcome(EXISTS)}


# ---- guards ------------------------------------------------------------------------------------


def test_an_empty_model_is_held(world: World, crm: Crm, proxy: Proxy) -> None:
    rows = profile_rows(10)
    world.publish(rows)
    world.sync()
    world.publish([])
    proxy.seen.clear()
    report = world.sync()
    assert (report.status, report.held, report.deletes) == ("held", 10, 10)
    assert report.message is not None
    assert "the model is empty" in report.message
    assert proxy.writes == 0
    assert_crm_has(crm, rows)


def test_too_many_deletes_are_held_until_a_person_approves_that_plan(
    world: World, crm: Crm
) -> None:
    rows = profile_rows(CONTACTS)
    world.publish(rows)
    world.sync()
    world.publish(rows[:5])
    assert world.sync().status == "held"
    approve(SYNC, world.settings, world.control)
    world.publish(rows[:4])
    assert world.sync().status == "held", "another plan than the one that was approved"
    approve(SYNC, world.settings, world.control)
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows[:4])
    world.publish(rows)
    assert world.sync().status == "held", "56 of 4 rows would be made"
    approve(SYNC.removeprefix("sync_"), world.settings, world.control)
    world.sync()
    world.publish(rows[:4])
    assert world.sync().status == "held", "an approval is for once"


def test_an_emptied_source_is_held_although_no_row_would_be_deleted(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    rows = profile_rows(10)
    world.publish(rows, counts={"raw_shop.orders": 40})
    world.sync()
    poorer = [{**row, "full_name": "?"} for row in rows]
    world.publish(poorer, counts={"raw_shop.orders": 0})
    proxy.seen.clear()
    report = world.sync()
    assert (report.status, report.updates, report.deletes) == ("held", 10, 0)
    assert "raw_shop.orders is empty, and held 40 rows" in str(report.message)
    assert proxy.writes == 0
    # Mended, it goes on by itself; meant, a person lets it go.
    world.publish(rows, counts={"raw_shop.orders": 40})
    assert world.sync().status == "unchanged"
    world.publish(poorer, counts={"raw_shop.orders": 0})
    assert world.sync().status == "held"
    approve(SYNC, world.settings, world.control)
    assert world.sync().status == "synced"
    assert_crm_has(crm, poorer)


def test_a_double_key_sends_nothing(world: World, proxy: Proxy) -> None:
    rows = profile_rows(5)
    world.publish([*rows, rows[3]])
    report = world.sync()
    assert report.status == "failed"
    assert report.message is not None
    assert contact_id(3) in report.message
    assert proxy.seen == []


# ---- preflight ---------------------------------------------------------------------------------


def test_a_destination_that_is_switched_off_is_left_alone(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    rows = profile_rows(3)
    world.publish(rows)
    world.change_destination(enabled=False)
    assert world.sync().status == "disabled"
    assert proxy.seen == []
    world.change_destination(enabled=True)
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows)


def test_a_destination_of_another_environment_is_refused(world: World, proxy: Proxy) -> None:
    world.change_destination(environment="production")
    world.publish(profile_rows(3))
    report = world.sync()
    assert report.status == "failed"
    assert report.message is not None
    assert "environment 'production'" in report.message
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("model", "column", "problem"),
    [
        ("city", "cdp_town", "no column cdp_town"),
        ("city", "cdp_ordercount", "cdp_ordercount is Integer, city is VARCHAR"),
        ("total_revenue", "cdp_totalrevenue2", "no column"),
        ("lifecycle_stage", "cdp_city", "not an option set"),
        ("city", "modifiedon", "cannot be written"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_before_the_first_write(
    world: World, proxy: Proxy, model: str, column: str, problem: str
) -> None:
    swapped = {k: v for k, v in damage.COLUMNS.items() if v != column}
    world.publish(profile_rows(3), columns={**swapped, model: column})
    report = world.sync()
    assert report.status == "failed"
    assert report.message is not None
    assert problem in report.message
    assert proxy.writes == 0


def test_a_user_who_may_not_write_is_told_which_privileges_it_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lacks = ("prvDeletecdp_customerprofile", "prvAppendTocontact")
    withheld = [word for name in lacks for word in ("--withhold", name)]
    crm = Crm(tmp_path / "crm", 3).start(*withheld)
    proxy = Proxy(crm)
    world = World(tmp_path / "home", proxy.url)
    try:
        world.publish(profile_rows(3))
        mirrored = world.sync()
        assert (mirrored.status, mirrored.requests > 0, proxy.writes) == ("failed", True, 0)
        for name in lacks:
            assert name in str(mirrored.message)
        # Who deletes nothing needs no right to.
        world.publish(profile_rows(3), mode="upsert")
        upserted = world.sync()
        assert (upserted.status, proxy.writes) == ("failed", 0)
        assert lacks[1] in str(upserted.message)
        assert lacks[0] not in str(upserted.message)
        # Where the CRM does not say, its refusals do, row by row.
        for status, path in ((404, "RetrieveUserPrivileges"), (403, "WhoAmI")):
            proxy.refusals = {path: status}
            report = world.sync()
            assert (report.status, report.rejected) == ("degraded", 3)
            assert f"does not say what its user may do ({status})" in caplog.text
        assert crm.profiles() == {}
        reasons = {operation.reason for operation in world.operations()}
        assert reasons == {"403 0x80040220"}
    finally:
        world.close()
        proxy.close()
        crm.stop()


# ---- what goes wrong on the way ------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        damage.error_before,
        damage.error_after,
        damage.reset_before,
        damage.reset_after,
        damage.html_page,
        damage.redirect,
        damage.cut_off,
        damage.reordered,
        damage.half_unanswered,
        damage.too_many,
    ],
    ids=lambda harm: harm.__name__,
)
def test_a_harmed_answer_converges_without_a_second_effect(
    world: World, crm: Crm, proxy: Proxy, harm: damage.Damage
) -> None:
    rows = profile_rows(CONTACTS)
    proxy.damages = [harm, None, harm, harm]
    world.publish(rows)
    before = crm.last_version()
    report = world.sync()
    assert (report.status, report.acknowledged) == ("synced", CONTACTS)
    assert_crm_has(crm, rows)
    assert crm.last_version() - before == CONTACTS, "each row was written once and no more"
    proxy.seen.clear()
    assert world.sync().status == "unchanged"
    assert proxy.seen == []


def test_answers_in_another_order_are_matched_by_their_id(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    rows = profile_rows(8)
    bad = min(rows, key=lambda row: row["contact_id"])
    bad["city"] = "te lang" * 50
    proxy.damages = [damage.reordered]
    world.publish(rows)
    assert world.sync().rejected == 1
    assert set(crm.profiles()) == {row["contact_id"] for row in rows if row is not bad}
    (rejected,) = [operation for operation in world.operations() if operation.state == "rejected"]
    assert rejected.destination_key == bad["contact_id"]


@pytest.mark.parametrize("harm", [damage.hang_before, damage.hang_after])
def test_a_silent_crm_times_out_and_is_read_back(
    world: World, crm: Crm, proxy: Proxy, harm: damage.Damage
) -> None:
    world.change_destination(timeout_seconds=0.5)
    rows = profile_rows(8)
    proxy.damages = [harm]
    world.publish(rows)
    before = crm.last_version()
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows)
    assert crm.last_version() - before == 8


def test_a_column_that_the_crm_lost_while_a_row_was_in_flight_is_no_dead_end(
    world: World, crm: Crm
) -> None:
    rows = profile_rows(4)
    world.publish(rows)
    world.sync_killed_at("sync.after_send")
    with world.control.begin() as connection:
        connection.execute(
            outbox.update().values(
                payload=sa.func.replace(outbox.c.payload, "cdp_city", "cdp_bygone")
            )
        )
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows)


def test_a_dead_crm_stops_the_run_and_the_next_one_converges(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    rows = profile_rows(CONTACTS)
    proxy.damages = [None, *[damage.error_after] * 1, *[damage.error_before] * 9]
    world.publish(rows)
    crm_gone = world.sync()
    assert crm_gone.status == "failed"
    assert crm_gone.acknowledged == 40, "the second batch was read back, the third never came"
    assert crm_gone.unknown == 20
    rows[45]["city"] = "Ede"
    world.publish(rows)
    proxy.damages = []
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows)
    assert crm.profiles()[contact_id(45)]["cdp_city"] == "Ede"


def test_a_crm_that_is_down_loses_nothing(world: World, crm: Crm) -> None:
    rows = profile_rows(5)
    world.change_destination(base_url=f"http://127.0.0.1:{damage.free_port()}/api/data/v9.2/")
    world.publish(rows)
    down = world.sync()
    assert down.status == "failed"
    assert down.message is not None
    assert "could not be reached" in down.message
    world.change_destination(base_url=crm.url)
    assert world.sync().status == "synced"
    assert_crm_has(crm, rows)


def test_a_wrong_secret_stops_after_at_most_two_requests(world: World, proxy: Proxy) -> None:
    world.change_destination(client_secret="wrong")
    world.publish(profile_rows(5))
    report = world.sync()
    assert report.status == "failed"
    assert len(proxy.seen) <= 2
    assert report.message is not None
    assert "wrong" not in report.message


def test_the_crms_own_limits_are_kept(tmp_path: Path) -> None:
    crm = Crm(tmp_path / "crm", 40).start("--limit-requests", "8", "--limit-window", "1.5")
    world = World(tmp_path / "home", crm.url, batch_size=5)
    try:
        rows = profile_rows(40)
        world.publish(rows)
        report = world.sync()
        assert (report.status, report.acknowledged) == ("synced", 40)
        assert report.waited_seconds >= 1
        assert_crm_has(crm, rows)
    finally:
        world.close()
        crm.stop()


# ---- kills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failpoint",
    [
        "sync.after_plan",
        "sync.before_send:2",
        "sync.after_send:2",
        "sync.before_ack:2",
        "sync.after_ack:2",
    ],
)
def test_killed_anywhere_the_next_run_converges(
    world: World, crm: Crm, proxy: Proxy, failpoint: str
) -> None:
    rows = profile_rows(CONTACTS)
    world.publish(rows)
    world.sync_killed_at(failpoint)
    stamps = crm.versions()
    rows[25]["city"] = "Ede"  # the world moved on before the next run
    world.publish(rows)
    report = world.sync()
    assert report.status == "synced"
    assert_crm_has(crm, rows)
    rewritten = {key for key, version in stamps.items() if crm.versions()[key] != version}
    assert rewritten <= {contact_id(25)}, "what had arrived was not sent again"
    assert world.sync().status == "unchanged"
    assert {operation.state for operation in world.operations()} <= {
        "acknowledged",
        "superseded",
    }
    assert all(operation.payload is None for operation in world.operations())
