"""The store as the demo world uses it: bulk writes that are checked, complete and registered."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from demo.crm import store
from klantbeeld.errors import KlantbeeldError

FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANNA, BRAM, EVA = (f"{n:08x}-0000-4000-8000-000000000000" for n in (1, 2, 3))
VISSER = "000000aa-0000-4000-8000-000000000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "crm.db"
    store.create(path)
    contacts = pa.table(
        {
            "contactid": [BRAM, ANNA],
            "firstname": ["Bram", "Anna"],
            "lastname": ["Visser", ""],
            "birthdate": pa.array([0, None], pa.date32()),
            "gendercode": pa.array([1, None], pa.int8()),
            "donotemail": [True, False],
            "parentcustomerid": [VISSER, None],
            "cdp_guardianid": [ANNA, None],
            "createdon": pa.array([FIRST, FIRST], pa.timestamp("us", "UTC")),
            "modifiedon": pa.array([FIRST, FIRST], pa.timestamp("ns", "UTC")),
        }
    )
    accounts = pa.table(
        {"accountid": [VISSER], "name": ["Visser BV"], "createdon": [FIRST], "modifiedon": [FIRST]}
    )
    store.load(path, {"contacts": contacts, "accounts": accounts})
    return path


def rows(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def test_a_load_keeps_values_and_fills_defaults(path: Path) -> None:
    assert rows(
        path,
        "select firstname, lastname, birthdate, gendercode, donotemail, donotphone, statecode,"
        " modifiedon from contacts order by contactid",
    ) == [
        ("Anna", None, None, None, 0, 0, 0, "2026-03-01T12:00:00Z"),
        ("Bram", "Visser", "1970-01-01", 1, 1, 0, 0, "2026-03-01T12:00:00Z"),
    ]


def test_creating_again_changes_nothing(path: Path) -> None:
    store.create(path)
    assert rows(path, "select count(*) from contacts") == [(2,)]


def test_a_file_that_is_something_else_is_not_touched(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("create table mine (x)")
    connection.close()
    with pytest.raises(KlantbeeldError, match="not a CRM"):
        store.create(other)


def test_an_upsert_changes_the_given_columns_and_adds_rows(path: Path) -> None:
    before = rows(path, "select max(versionnumber) from contacts")[0][0]
    table = pa.table({"contactid": [BRAM, EVA], "lastname": ["De Visser", "Smit"]})
    store.upsert(path, "contacts", table, LATER)
    assert rows(
        path, "select firstname, lastname, createdon, modifiedon from contacts order by contactid"
    ) == [
        ("Anna", None, "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("Bram", "De Visser", "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z"),
        (None, "Smit", "2026-03-02T12:00:00Z", "2026-03-02T12:00:00Z"),
    ]
    changed = "select contactid from contacts where versionnumber > ? order by versionnumber"
    assert rows(path, changed, before) == [(BRAM,), (EVA,)]


def test_a_deletion_is_registered_with_what_depends_on_it(path: Path) -> None:
    rows_store = store.Store(path)
    with rows_store.write() as connection:
        profiles = store.BY_SET_NAME["cdp_customerprofiles"]
        values = {"cdp_customerprofileid": EVA, "cdp_contactid": ANNA}
        store.insert_row(connection, profiles, values, "2026-03-01T12:00:00Z")
    unknown = "ffffffff-0000-4000-8000-000000000000"
    assert store.delete(path, "contacts", [ANNA, unknown], LATER) == 1
    assert rows(path, "select entity, id from deleted_rows order by entity") == [
        ("cdp_customerprofiles", EVA),
        ("contacts", ANNA),
    ]
    assert rows(path, "select cdp_guardianid, modifiedon from contacts") == [
        (None, "2026-03-02T12:00:00Z")
    ]


def test_a_row_that_comes_back_is_no_longer_deleted(path: Path) -> None:
    store.delete(path, "contacts", [ANNA], LATER)
    store.upsert(path, "contacts", pa.table({"contactid": [ANNA]}), LATER)
    assert rows(path, "select * from deleted_rows") == []


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"shoesize": [43]}, "no column shoesize"),
        ({"gendercode": [9]}, "outside the option set"),
        ({"lastname": ["x" * 51]}, "longer than 50"),
        ({"birthdate": ["31-12-1999"]}, "not a date"),
        ({"cdp_guardianid": [EVA]}, "does not exist"),
        ({"parentcustomerid": ["17"]}, "not a GUID"),
    ],
)
def test_a_bulk_write_that_does_not_fit_leaves_nothing(
    path: Path, columns: dict[str, list[Any]], complaint: str
) -> None:
    table = pa.table({"contactid": ["00000009-0000-4000-8000-000000000000"], **columns})
    with pytest.raises(KlantbeeldError, match=complaint):
        store.upsert(path, "contacts", table, LATER)
    assert rows(path, "select count(*) from contacts") == [(2,)]


def test_loading_an_id_twice_is_refused(path: Path) -> None:
    table = pa.table({"contactid": [ANNA], "createdon": [FIRST], "modifiedon": [FIRST]})
    with pytest.raises(KlantbeeldError, match="UNIQUE"):
        store.load(path, {"contacts": table})
