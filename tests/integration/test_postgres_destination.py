"""A table in a real PostgreSQL as the destination of a sync."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from demo.shop import server
from klantbeeld.activation.destinations import InspectableDestination
from klantbeeld.activation.destinations.postgres import Postgres
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import AuthenticationFailed, StatusError, TransportError
from tests.fixtures.destinations import RowsWorld, opened, operation, settings_with, states

COLUMNS = {
    "customer": "Klant nr",
    "city": "city",
    "revenue": "revenue",
    "since": "since",
    "seen_at": "seen_at",
    "member": "member",
}
SCHEMA = pa.schema(
    {
        "customer": pa.string(),
        "city": pa.string(),
        "revenue": pa.decimal128(14, 4),
        "since": pa.date32(),
        "seen_at": pa.timestamp("us", tz="UTC"),
        "member": pa.bool_(),
    }
)
TABLE = """
create schema if not exists crm;
drop table if exists crm.profiles;
create table crm.profiles (
    "Klant nr" bigint primary key,
    city varchar(20) check (city <> 'Nergens'),
    revenue numeric(12, 2),
    since date,
    seen_at timestamptz,
    member boolean not null default false,
    theirs text default 'of somebody else',
    extra jsonb,
    labels text[],
    serial bigint generated always as identity
);
"""


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    # Outside pytest's folders: the server opens its parents to pass for the user it runs as.
    folder = Path(tempfile.mkdtemp(prefix="klantbeeld-postgres-"))
    yield server.start(folder).socket_folder
    server.stop(folder)
    server.remove_socket_folder(folder)
    shutil.rmtree(folder)


@pytest.fixture
def database(socket: Path) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(host=str(socket), user=server.SUPERUSER, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


def section(socket: Path, **more: Any) -> dict[str, Any]:
    return {
        "kind": "postgres",
        "host": str(socket),
        "database": "postgres",
        "user": server.SUPERUSER,
        **more,
    }


def table(database: psycopg.Connection[Any]) -> dict[int, tuple[Any, ...]]:
    rows = database.execute(
        'select "Klant nr", city, revenue, since, seen_at, member, theirs from crm.profiles'
    )
    return {row[0]: row[1:] for row in rows}


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "customer": str(number),
            "city": None if number == 1 else "Ede",
            "revenue": Decimal(number * 10_005) / 10_000,
            "since": date(2026, 3, 1),
            "seen_at": datetime.fromisoformat("2026-03-01T09:00:00+00:00"),
            "member": number % 2 == 0,
        }
        for number in range(1, count + 1)
    ]


def expected(row: dict[str, Any]) -> tuple[Any, ...]:
    revenue = round(row["revenue"], 2)
    return (
        row["city"], revenue, row["since"], row["seen_at"], row["member"], "of somebody else",
    )  # fmt: skip


def test_rows_are_inserted_changed_and_deleted(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    world = RowsWorld(tmp_path / "home", section(socket), batch_size=2)
    some = rows(5)
    world.publish(some, COLUMNS, entity="crm.profiles", schema=SCHEMA)
    assert world.sync().acknowledged == 5
    assert table(database) == {int(row["customer"]): expected(row) for row in some}
    database.execute('delete from crm.profiles where "Klant nr" = 4')
    database.execute("update crm.profiles set theirs = 'kept' where \"Klant nr\" = 3")
    some[2]["city"], some[3]["city"] = "Tiel", "Zwolle"
    world.publish(some[1:], COLUMNS, entity="crm.profiles", schema=SCHEMA)
    report = world.sync()
    world.close()
    assert (report.status, report.updates, report.deletes) == ("synced", 2, 1)
    wanted = {int(row["customer"]): expected(row) for row in some[1:]}
    wanted[3] = (*wanted[3][:-1], "kept")
    assert table(database) == wanted, "what was gone is whole again, the rest is touched nowhere"


def test_what_others_did_to_the_table_is_seen_and_put_right(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    world = RowsWorld(tmp_path / "home", section(socket))
    some = rows(6)
    world.publish(some, COLUMNS, entity="crm.profiles", schema=SCHEMA)
    world.sync()
    assert world.reconcile().rows == 0, "a number, a time and a null come back as they were sent"
    database.execute('delete from crm.profiles where "Klant nr" = 2')
    database.execute("update crm.profiles set city = 'Elders' where \"Klant nr\" = 3")
    database.execute('insert into crm.profiles ("Klant nr") values (99)')
    drift = world.reconcile()
    assert {kind: drift.kinds[kind] for kind in ("missing", "changed", "foreign")} == {
        "missing": 1, "changed": 1, "foreign": 1,
    }  # fmt: skip
    world.reconcile(repair=True)
    world.sync()
    assert world.reconcile().rows == 0
    world.close()
    held = table(database)
    del held[99]
    assert held == {int(row["customer"]): expected(row) for row in some}


def test_a_row_that_spoils_a_batch_stands_alone_with_its_reason(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    destination = opened(tmp_path, section(socket), COLUMNS, "crm.profiles")
    assert isinstance(destination, Postgres)
    some = [operation(destination, str(n), city="Ede", member=True) for n in range(1, 41)]
    some[3] = operation(destination, "4", city="Nergens", member=True)
    some[17] = operation(destination, "18", city="x" * 30, member=True)
    some[30] = operation(destination, "geen nummer", city="Ede", member=True)
    outcomes = destination.write(some)
    refused = {
        op_id: outcome.reason for op_id, outcome in outcomes.items() if outcome.state == "rejected"
    }
    assert refused == {
        "op-4": "23514 profiles_city_check",
        "op-18": "22001",
        "op-geen nummer": "22P02",
    }
    assert set(table(database)) == set(range(1, 41)) - {4, 18, 31}
    assert destination.traffic.requests <= 3 * 2 * 6 + 1


def test_kinds_of_operation_are_told_apart(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    from dataclasses import replace

    destination = opened(tmp_path, section(socket), COLUMNS, "crm.profiles")
    destination.write([operation(destination, "1", city="Ede", member=True)])
    new = replace(operation(destination, "1", city="Tiel", member=True), must_be_new=True)
    other = replace(operation(destination, "2", city="Tiel", member=True), must_be_new=True)
    gone = operation(destination, "3", "update", city="Tiel")
    leaving = operation(destination, "4", "delete")
    outcomes = destination.write([new, other, gone, leaving])
    assert states(outcomes) == {
        "1": "exists", "2": "acknowledged", "3": "missing", "4": "acknowledged",
    }  # fmt: skip
    assert {key: row[0] for key, row in table(database).items()} == {1: "Ede", 2: "Tiel"}


def test_what_was_written_is_read_in_terms_that_compare(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any], monkeypatch: Any
) -> None:
    columns = COLUMNS | {"extra": "extra"}
    destination = opened(tmp_path, section(socket), columns, "crm.profiles")
    assert isinstance(destination, InspectableDestination)
    values = {"city": "", "revenue": Decimal("1.005"), "since": date(2026, 3, 1), "member": True}
    values |= {"seen_at": "2026-03-01T09:00:00Z", "extra": '{"b": 1, "a": [2]}'}
    some = [operation(destination, str(n), **values) for n in range(1, 6)]
    some.append(operation(destination, "6", city=None, member=False))
    destination.write(some)
    monkeypatch.setattr("klantbeeld.activation.destinations.postgres._PAGE_ROWS", 4)
    pages = list(destination.read_all(columns.values()))
    assert [list(page) for page in pages] == [["1", "2", "3", "4"], ["5", "6"]]
    found = destination.read([row.key for row in some] + ["99"], columns.values())
    assert found == pages[0] | pages[1]
    for row in some:
        assert destination.holds(row, found[row.key])
    assert not destination.holds(operation(destination, "6", city=""), found["6"])
    assert not destination.holds(operation(destination, "1", revenue=2), found["1"])


@pytest.mark.parametrize(
    ("columns", "entity", "message"),
    [
        ({"customer": "Klant nr", "city": "town"}, "crm.profiles", "it has no column town"),
        (
            {"customer": "Klant nr", "city": "revenue"},
            "crm.profiles",
            r"revenue is numeric\(12,2\)",
        ),
        ({"customer": "Klant nr", "city": "labels"}, "crm.profiles", r"labels is text\[\]"),
        ({"customer": "Klant nr", "number": "serial"}, "crm.profiles", "serial cannot be written"),
        ({"customer": "city", "number": "revenue"}, "crm.profiles", "city has no unique index"),
        ({"customer": "Klant nr", "city": "city"}, "profiles", "no table public.profiles"),
    ],
)
def test_preflight(
    tmp_path: Path,
    socket: Path,
    database: psycopg.Connection[Any],
    columns: dict[str, str],
    entity: str,
    message: str,
) -> None:
    destination = opened(tmp_path, section(socket), columns, entity)
    types = {"customer": "BIGINT", "city": "VARCHAR", "number": "BIGINT"}
    with pytest.raises(KlantbeeldError, match=message):
        destination.check(types)


def test_a_role_may_do_what_it_was_granted_and_nothing_else(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    database.execute(f"drop role if exists {server.READER}")
    database.execute(f"create role {server.READER} login password 'een-wachtwoord'")
    database.execute(f"grant usage on schema crm to {server.READER}")
    database.execute(f"grant select, insert on crm.profiles to {server.READER}")
    as_reader = section(socket, user=server.READER, password="een-wachtwoord")
    columns = {"customer": "Klant nr", "city": "city"}
    destination = opened(tmp_path, as_reader, columns, "crm.profiles")
    with pytest.raises(KlantbeeldError, match="city cannot be written") as caught:
        destination.check({"customer": "BIGINT", "city": "VARCHAR"})
    assert "may not delete from it" in caught.value.message
    with pytest.raises(AuthenticationFailed, match="42501"):
        destination.write([operation(destination, "1", "update", city="Ede")])
    wrong = opened(tmp_path, as_reader | {"password": "fout"}, columns, "crm.profiles")
    with pytest.raises(AuthenticationFailed, match="does not accept") as refused:
        wrong.check({})
    assert "fout" not in str(refused.value)
    assert "een-wachtwoord" not in repr(settings_with(tmp_path, as_reader))
    database.execute(f"drop owned by {server.READER}")
    database.execute(f"drop role {server.READER}")


def test_a_connection_that_breaks_left_nothing_behind_and_is_made_anew(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    destination = opened(tmp_path, section(socket), COLUMNS, "crm.profiles")
    first = operation(destination, "1", city="Ede", member=True)
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name='klantbeeld'"
    )
    with pytest.raises(TransportError) as caught:
        destination.write([first])
    assert not caught.value.was_sent
    assert table(database) == {}
    assert states(destination.write([first])) == {"1": "acknowledged"}
    nobody = opened(tmp_path, section(tmp_path), COLUMNS, "crm.profiles")
    with pytest.raises(TransportError, match="could not be used"):
        nobody.check({})


def test_a_lock_that_somebody_holds_is_waited_for_and_left_for_later(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    destination = opened(tmp_path, section(socket, timeout_seconds=1), COLUMNS, "crm.profiles")
    row = operation(destination, "1", city="Ede", member=True)
    with database.transaction():
        database.execute("lock table crm.profiles")
        assert states(destination.write([row])) == {"1": "pending"}
    assert states(destination.write([row])) == {"1": "acknowledged"}


def test_a_constraint_that_is_checked_at_the_end_refuses_the_batch_as_a_whole(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    database.execute(
        "alter table crm.profiles add constraint one_city unique (city)"
        " deferrable initially deferred"
    )
    destination = opened(tmp_path, section(socket), COLUMNS, "crm.profiles")
    some = [operation(destination, str(n), city="Ede", member=True) for n in (1, 2)]
    with pytest.raises(StatusError, match="23505 one_city") as caught:
        destination.write(some)
    assert caught.value.status == 422
    assert table(database) == {}


def test_keys_are_compared_as_the_table_keeps_them(
    tmp_path: Path, socket: Path, database: psycopg.Connection[Any]
) -> None:
    database.execute("drop table if exists kept; create table kept (id uuid primary key, n int)")
    world = RowsWorld(tmp_path / "home", section(socket))
    columns = {"id": "id", "n": "n"}
    upper = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"
    some = [{"id": upper, "n": 7}, {"id": "no uuid", "n": 1}]
    world.publish(some, columns, entity="kept", mode="mirror")
    first = world.sync()
    assert (first.acknowledged, first.rejected) == (1, 1)
    drift = world.reconcile()
    assert (drift.rows, drift.kinds["in_step"]) == (0, 1)
    destination = opened(tmp_path / "alone", section(socket), columns, "kept")
    assert destination.read([upper, "no uuid"], []).keys() == {upper}, "what a killed run left"
    world.publish([*some, {"id": upper.lower(), "n": 8}], columns, entity="kept", mode="mirror")
    with pytest.raises(KlantbeeldError, match="does not tell apart"):
        world.reconcile()
    both = [operation(destination, key, n=1) for key in ("b" + upper[1:], "B" + upper[1:])]
    assert set(states(destination.write(both)).values()) == {"rejected"}
    world.close()
