"""Plans that are looked at before they are sent, and destinations that moved by themselves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from klantbeeld.activation import apply_plan, plan_sync, reconcile_sync
from klantbeeld.activation.logs import conflicts, last_results
from klantbeeld.cli import main
from klantbeeld.control.store import raise_epoch
from klantbeeld.control.tables import acknowledgements, outbox, sync_plans, tombstones
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash
from tests.fixtures.activation import COLUMNS, SYNC, Crm, Proxy, World, contact_id, profile_rows


def plan(world: World, **options: Any) -> Any:
    return plan_sync(SYNC, world.place, **options)


def apply(world: World, plan_id: str) -> Any:
    return apply_plan(plan_id, world.place, "applied")


def reconcile(world: World, **options: Any) -> Any:
    return reconcile_sync(SYNC, world.place, **options)


def drifted(drift: Any) -> dict[str, int]:
    return {kind: count for kind, count in drift.kinds.items() if count}


# ---- plan and apply ------------------------------------------------------------------------------


def test_a_plan_says_what_would_be_sent_and_sends_nothing(
    world: World, crm: Crm, proxy: Proxy
) -> None:
    rows = profile_rows(6)
    world.publish(rows[:5])
    world.sync()
    rows[1]["city"] = "Ede"
    world.publish([*rows[1:4], rows[5]])
    proxy.seen.clear()
    made = plan(world)
    assert proxy.seen == []
    assert (made.creates, made.updates, made.deletes, made.unchanged) == (1, 1, 2, 2)
    assert made.columns == {"cdp_city": 1}
    assert {(row["key"], row["operation"]) for row in made.rows} == {
        (contact_id(5), "create"),
        (contact_id(1), "update"),
        (contact_id(0), "delete"),
        (contact_id(4), "delete"),
    }
    assert "Ede" not in json.dumps(made.as_dict())
    report = apply(world, made.plan_id)
    assert (report.status, report.acknowledged) == ("synced", 4)
    assert set(crm.profiles()) == {contact_id(n) for n in (1, 2, 3, 5)}
    with pytest.raises(KlantbeeldError, match="applied already"):
        apply(world, made.plan_id)


def test_a_plan_is_refused_when_the_world_has_moved(world: World, proxy: Proxy) -> None:
    rows = profile_rows(5)
    world.publish(rows)
    made = plan(world)
    world.publish([*rows[:4], {**rows[4], "city": "Ede"}])
    refused = apply(world, made.plan_id)
    assert refused.status == "failed"
    assert "is not what would be sent now" in str(refused.message)
    assert proxy.writes == 0
    world.publish(rows)
    assert apply(world, made.plan_id).status == "synced", "a version with the same rows is the same"


def test_a_plan_that_is_too_old_is_refused(world: World) -> None:
    world.publish(profile_rows(2))
    made = plan(world)
    long_ago = datetime.now(UTC) - timedelta(hours=25)
    with world.control.begin() as connection:
        connection.execute(sync_plans.update().values(created_at=long_ago))
    with pytest.raises(KlantbeeldError, match="older than 24 hours"):
        apply(world, made.plan_id)


def test_a_plan_loses_only_what_was_erased_since(world: World, crm: Crm) -> None:
    privacy = {"contact_points": {"primary_email": "email"}}
    rows = profile_rows(6)
    world.publish(rows[:4], privacy=privacy)
    world.sync()
    changed = [{**row, "city": "Ede"} for row in rows]
    world.publish(changed, privacy=privacy)
    made = plan(world)
    assert (made.creates, made.updates) == (2, 4)
    with world.control.begin() as connection:
        for number in (1, 5):
            erased = keyed_hash(rows[number]["primary_email"], world.settings.home_key())
            connection.execute(
                tombstones.insert().values(
                    kind="email", value_hash=erased, erased_at=datetime.now(UTC)
                )
            )
    report = apply(world, made.plan_id)
    assert (report.status, report.cancelled, report.withdrawals) == ("synced", 2, 1)
    assert set(crm.profiles()) == {contact_id(n) for n in (0, 2, 3, 4)}
    assert world.sync().status == "unchanged", "who was erased stays away"


def test_an_erased_person_is_taken_away_while_the_rest_is_held(world: World, crm: Crm) -> None:
    privacy = {"contact_points": {"primary_email": "email"}}
    rows = profile_rows(10)
    world.publish(rows, privacy=privacy)
    world.sync()
    erased = keyed_hash(rows[3]["primary_email"], world.settings.home_key())
    with world.control.begin() as connection:
        connection.execute(
            tombstones.insert().values(kind="email", value_hash=erased, erased_at=datetime.now(UTC))
        )
    world.publish([], privacy=privacy)
    report = world.sync()
    assert (report.status, report.withdrawals, report.held) == ("held", 1, 9)
    assert set(crm.profiles()) == {contact_id(n) for n in range(10) if n != 3}


def test_an_approval_expires(world: World) -> None:
    world.publish(profile_rows(10))
    world.sync()
    world.publish([])
    assert world.sync().status == "held"
    with world.control.begin() as connection:
        connection.execute(
            sync_plans.update().values(
                status="approved", approved_at=datetime.now(UTC) - timedelta(hours=25)
            )
        )
    assert world.sync().status == "held"


def test_the_command_line_plans_applies_and_reconciles(
    world: World, crm: Crm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(world.home))

    def invoke(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["sync", *arguments])
        told = capsys.readouterr()
        assert ended.value.code == code, told
        return told.out

    rows = profile_rows(3)
    world.publish(rows)
    assert "create                                3" in invoke("plan", SYNC)
    made = json.loads(invoke("plan", SYNC, "--json"))
    assert made["creates"] == 3
    assert json.loads(invoke("run", SYNC, "--dry-run", "--json"))["rows"] == made["rows"]
    assert "3 acknowledged" in invoke("apply", made["plan_id"])
    assert crm.profiles().keys() == {row["contact_id"] for row in rows}
    assert "unchanged" in invoke("run", SYNC)
    crm.change(f"delete from cdp_customerprofiles where cdp_contactid = '{contact_id(1)}'")
    assert "missing" in invoke("reconcile", SYNC, code=3)
    repaired = json.loads(invoke("reconcile", SYNC, "--repair", "--json"))
    assert (repaired["drift"], repaired["repair"]["creates"]) == (1, 1)
    rejected = {**rows[0], "contact_id": contact_id(5_000)}
    world.publish([*rows, rejected])
    assert "1 rejected" in invoke("run", SYNC, code=3)
    assert contact_id(5_000) in invoke("rows", SYNC, "--state", "rejected")
    invoke("apply", "nothing", code=1)


# ---- the destination moved by itself -------------------------------------------------------------


def test_drift_is_told_by_kind_and_repaired_by_a_plan(world: World, crm: Crm) -> None:
    rows = profile_rows(8)
    world.publish(rows, exclusive=True)
    world.sync()
    key = [contact_id(number) for number in range(8)]
    crm.change(f"delete from cdp_customerprofiles where cdp_contactid = '{key[0]}'")
    crm.change(
        f"update cdp_customerprofiles set cdp_city = 'Elders' where cdp_contactid = '{key[1]}'"
    )
    with world.control.begin() as connection:  # a ledger that lost rows
        for lost in key[2:4]:
            connection.execute(
                acknowledgements.delete().where(acknowledgements.c.destination_key == lost)
            )
    world.publish([*rows[:3], *rows[4:]], exclusive=True)
    before = crm.last_version()
    drift = reconcile(world)
    assert drifted(drift) == {
        "missing": 1, "changed": 1, "unrecorded": 1, "unclaimed": 1, "in_step": 4,
    }  # fmt: skip
    assert drift.columns == {"cdp_city": 1}
    assert drift.keys["missing"] == (key[0],)
    assert crm.last_version() == before
    made = plan(world, against_destination=True)
    assert (made.creates, made.updates, made.deletes) == (1, 1, 1)
    assert plan(world).creates == 1, "the ledger itself still thinks otherwise"
    reconcile(world, repair=True)
    report = world.sync()
    assert (report.creates, report.updates, report.deletes) == (1, 1, 1)
    assert crm.profiles()[key[1]]["cdp_city"] == rows[1]["city"]
    assert set(crm.profiles()) == {*key[:3], *key[4:]}
    assert reconcile(world).rows == 0
    assert crm.last_version() - before == 3, "one create, one update, one delete"


def test_what_others_did_to_the_contacts_is_told_by_kind_and_relinked(
    world: World, crm: Crm
) -> None:
    rows = profile_rows(8)
    world.publish(rows)
    world.sync()
    into_one_of_ours, into_another, deleted, rekeyed = (contact_id(n) for n in range(4))
    left, another, other_key = contact_id(5), contact_id(50), contact_id(51)
    gone = "ffff" + deleted[4:]
    merge = "update contacts set masterid = {} where contactid = '{}'"
    # One after the other: the last of the chain is the one that is left.
    crm.change(merge.format(f"'{contact_id(52)}'", into_another))
    crm.change(merge.format(f"'{another}'", contact_id(52)))
    crm.change(merge.format(f"'{left}'", into_one_of_ours))
    crm.change(f"update contacts set contactid = '{gone}' where contactid = '{deleted}'")
    crm.change(f"delete from cdp_customerprofiles where cdp_contactid = '{deleted}'")
    change_key = "update cdp_customerprofiles set cdp_contactid = '{}' where cdp_contactid = '{}'"
    crm.change(change_key.format(other_key, rekeyed))
    before = crm.profiles()
    drift = reconcile(world)
    assert drift.keys == {
        "merged": tuple(sorted((into_one_of_ours, into_another))),
        "orphaned": (deleted,),
        "missing": (rekeyed,),
        "rekeyed": (other_key,),
    }
    assert crm.profiles() == before, "told, and nothing done"
    assert reconcile(world, repair=True).rows == 5
    report = world.sync()
    assert (report.creates, report.deletes, report.rejected) == (3, 3, 1)
    kept = {row["contact_id"]: row["full_name"] for row in rows[4:]}
    kept |= {another: rows[1]["full_name"], rekeyed: rows[3]["full_name"]}
    assert {key: row["cdp_fullname"] for key, row in crm.profiles().items()} == kept
    log = {row["key"]: row["reason"] for row in last_results(SYNC, world.place)}
    assert log[into_another] == f"merged there: sent for {another}"
    assert "was it deleted?" in log[deleted]
    world.publish([row for row in rows if row["contact_id"] != deleted])
    assert world.sync().status == "unchanged"
    assert reconcile(world).rows == 0
    # Undone there, it is undone here.
    for loser in (into_one_of_ours, into_another, contact_id(52)):
        crm.change(merge.format("null", loser))
    crm.change(f"update contacts set contactid = '{deleted}' where contactid = '{gone}'")
    reconcile(world, repair=True)
    report = world.sync()
    assert (report.creates, report.deletes) == (2, 1)
    assert crm.profiles().keys() == {row["contact_id"] for row in rows} - {deleted}


def test_a_restored_ledger_is_learnt_from_the_crm(world: World, crm: Crm) -> None:
    rows = profile_rows(10)
    world.publish(rows[:8], exclusive=True)
    world.sync()
    backup = world.home / "backup.db"
    world.control.copy_to(backup)
    # After the backup: one row was made, one changed, one taken away, one made and gone again.
    changed = [{**rows[0], "city": "Ede"}, *rows[1:7], rows[8], rows[9]]
    world.publish(changed, exclusive=True)
    world.sync()
    world.publish(changed[:-1], exclusive=True)
    proxy_stamp = crm.versions()
    raise_epoch(backup)
    world.restore(backup)
    world.publish(changed[:-1], exclusive=True)
    report = world.sync()
    assert report.status == "synced"
    assert (report.creates, report.updates, report.deletes) == (0, 0, 1), "only the lost removal"
    assert set(crm.profiles()) == {row["contact_id"] for row in changed[:-1]}
    after = crm.versions()
    assert all(after[key] == proxy_stamp[key] for key in after), "nothing was written twice"


def test_a_new_home_takes_over_what_is_there(world: World, crm: Crm, tmp_path: Any) -> None:
    rows = profile_rows(6)
    world.publish(rows)
    world.sync()
    stamps = crm.versions()
    other = World(tmp_path / "other", world.values["base_url"])
    try:
        other.publish(rows[:5])
        report = other.sync()
        assert (report.status, report.unchanged, report.deletes) == ("unchanged", 5, 0)
        assert crm.versions() == stamps
    finally:
        other.close()


# ---- modes and owners ----------------------------------------------------------------------------


def test_a_mirror_leaves_alone_what_somebody_else_made(world: World, crm: Crm) -> None:
    rows = profile_rows(3)
    world.publish(rows[:1])
    world.sync()
    with world.control.begin() as connection:
        connection.execute(acknowledgements.delete())  # the row is somebody else's now
    world.publish(rows)
    assert world.sync().acknowledged == 3
    world.publish(rows[2:])
    assert world.sync().deletes == 1
    assert set(crm.profiles()) == {contact_id(0), contact_id(2)}


def test_update_only_leaves_out_rows_that_are_not_there(world: World, crm: Crm) -> None:
    rows = profile_rows(3)
    world.publish(rows[:1])
    world.sync()
    world.publish([{**row, "city": "Ede"} for row in rows], mode="update_only")
    report = world.sync()
    assert (report.status, report.acknowledged, report.skipped) == ("synced", 1, 2)
    assert [row["cdp_city"] for row in crm.profiles().values()] == ["Ede"]


def test_create_only_changes_nothing_that_is_there(world: World, crm: Crm) -> None:
    rows = profile_rows(3)
    world.publish(rows[:1])
    world.sync()
    with world.control.begin() as connection:
        connection.execute(acknowledgements.delete())
    world.publish([{**row, "city": "Ede"} for row in rows], mode="create_only")
    assert world.sync().acknowledged == 3
    cities = {key: row["cdp_city"] for key, row in crm.profiles().items()}
    assert cities == {contact_id(0): rows[0]["city"], contact_id(1): "Ede", contact_id(2): "Ede"}
    world.publish([{**row, "city": "Delft"} for row in rows], mode="create_only")
    assert world.sync().status == "unchanged"


def test_leaving_can_clear_our_fields(world: World, crm: Crm) -> None:
    rows = profile_rows(3)
    leave: dict[str, Any] = {"mode": "upsert", "on_leave": "clear"}
    world.publish(rows, **leave)
    world.sync()
    world.publish(rows[1:], **leave)
    report = world.sync()
    assert (report.status, report.deletes) == ("synced", 1)
    left = crm.profiles()[contact_id(0)]
    assert all(left[column] is None for column in COLUMNS.values() if column != "cdp_contactid")
    world.publish(rows, **leave)
    assert world.sync().acknowledged == 1
    assert crm.profiles()[contact_id(0)]["cdp_city"] == rows[0]["city"]


def owned(owner: str, **more: Any) -> dict[str, Any]:
    return {
        "columns": {**COLUMNS, "city": {"column": "cdp_city", "owner": owner}},
        "mode": "upsert",
        **more,
    }


def edit(crm: Crm, number: int, city: str | None) -> None:
    value = "null" if city is None else f"'{city}'"
    crm.change(
        f"update cdp_customerprofiles set cdp_city = {value}"
        f" where cdp_contactid = '{contact_id(number)}'"
    )


def city_of(crm: Crm, number: int = 0) -> str | None:
    found: str | None = crm.profiles()[contact_id(number)]["cdp_city"]
    return found


@pytest.mark.parametrize(
    ("owner", "edited", "expected", "conflict"),
    [
        ("ours", "Elders", "Ede", "ours"),
        ("theirs", "Elders", "Elders", None),
        ("fill_empty", "Elders", "Elders", "theirs"),
        ("fill_empty", None, "Ede", None),
        ("fill_empty", "unchanged", "Ede", None),
        ("newest", "Elders", "Elders", "theirs"),
        ("newest", "unchanged", "Ede", None),
    ],
)
def test_whose_value_stands(
    world: World, crm: Crm, owner: str, edited: str | None, expected: str, conflict: str | None
) -> None:
    rows = profile_rows(1)
    # The model's last change is long before anything happened in the CRM.
    meta = owned(owner, updated_at="last_order_date", modified_at="modifiedon")
    if owner == "ours":  # another column makes the sync read first
        meta["columns"]["full_name"] = {"column": "cdp_fullname", "owner": "theirs"}
    world.publish(rows, **meta)
    assert world.sync().acknowledged == 1
    assert city_of(crm) == rows[0]["city"], "a row that is made has all its values"
    if edited != "unchanged":
        edit(crm, 0, edited)
    world.publish([{**rows[0], "city": "Ede"}], **meta)
    report = world.sync()
    assert report.status == "synced"
    assert city_of(crm) == expected
    told = list(conflicts(SYNC, world.place))
    assert [(row["column"], row["resolution"]) for row in told] == (
        [("cdp_city", conflict)] if conflict else []
    )
    stamp = crm.last_version()
    assert world.sync().status == "unchanged"
    assert crm.last_version() == stamp


def test_the_newest_change_stands_when_it_is_ours(world: World, crm: Crm) -> None:
    rows = profile_rows(1)
    meta = owned("newest", updated_at="last_order_date", modified_at="modifiedon")
    world.publish(rows, **meta)
    world.sync()
    edit(crm, 0, "Elders")
    future = datetime.now(UTC).date() + timedelta(days=400)
    world.publish([{**rows[0], "city": "Ede", "last_order_date": future}], **meta)
    assert world.sync().conflicts == 1
    assert city_of(crm) == "Ede"


def test_a_backstamp_that_changes_nothing_writes_nothing(world: World, crm: Crm) -> None:
    rows = profile_rows(4)
    world.publish(rows, **owned("fill_empty"))
    world.sync()
    for number in range(4):
        edit(crm, number, "Elders")
    stamps = crm.versions()
    world.publish([{**row, "city": "Ede"} for row in rows], **owned("fill_empty"))
    report = world.sync()
    assert (report.acknowledged, report.kept) == (4, 4)
    assert crm.versions() == stamps


# ---- refused rows --------------------------------------------------------------------------------


def test_a_row_that_was_refused_too_often_waits_for_other_data(world: World, crm: Crm) -> None:
    rows = profile_rows(3)
    bad = {**rows[1], "city": "te lang" * 50}
    for run in range(3):
        world.publish([rows[0], bad], give_up_after=2)
        report = world.sync()
        assert report.status == "degraded"
        assert (report.rejected, report.given_up) == ((1, 0) if run < 2 else (0, 1))
    with world.control.read() as connection:
        (row,) = connection.execute(sa.select(outbox).where(outbox.c.state == "rejected"))
    assert (row.rejections, row.destination_key) == (2, bad["contact_id"])
    told = last_results(SYNC, world.place, "rejected")
    assert [result["rejections"] for result in told] == [2]
    world.publish([rows[0], {**bad, "city": "Ede"}], give_up_after=2)
    assert world.sync().status == "synced"
