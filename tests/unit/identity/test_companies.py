"""Companies: numbers before names, and no company with two numbers of the trade register."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import ID_SPACES, commit_profile_ids, read_pending_profile_ids
from klantbeeld.identity.companies import (
    COLUMNS,
    NUMBER_USES,
    CompanyReport,
    cluster_companies,
    link_companies,
    make_companies,
)
from klantbeeld.identity.id_spaces import COMPANIES
from klantbeeld.settings import Settings, load_settings

Row = dict[str, str | None]
BAKER: Row = {"name_std": "bakker", "postal_code_std": "1000AA", "house_number_std": "1"}
KVK = [f"9000000{number}" for number in range(4)]
VAT = [f"NL12300000{number}B01" for number in range(3)]


def _table(rows: list[Row]) -> pa.Table:
    """Linkage records; those without an id are named by their place."""
    named = [{"record_id": f"r{n}", "country_code": "NL", **row} for n, row in enumerate(rows)]
    columns = {name: pa.array([row.get(name) for row in named], pa.string()) for name in COLUMNS}
    return pa.table(columns)


def _partition(rows: list[Row]) -> tuple[set[frozenset[str]], list[tuple[Any, ...]]]:
    with duckdb.connect() as own:
        make_companies(own, _table(rows))
        labels = cluster_companies(own)
        records = [name for (name,) in own.execute("select record_id from companies order by id")
                   .fetchall()]  # fmt: skip
        reviews = own.execute("select rule, records, companies, reason from company_reviews")
        found: dict[int, set[str]] = {}
        for record, label in zip(records, labels.tolist(), strict=True):
            found.setdefault(label, set()).add(record)
        return {frozenset(group) for group in found.values()}, reviews.fetchall()


CASES: dict[str, tuple[list[Row], list[str]]] = {
    "a number outweighs name and place": (
        [
            BAKER | {"kvk_number_std": KVK[0]},
            {"name_std": "bakery", "kvk_number_std": KVK[0], "postal_code_std": "9999ZZ"},
        ],
        ["01"],
    ),
    "two numbers are two companies at one address": (
        [BAKER | {"kvk_number_std": KVK[0]}, BAKER | {"kvk_number_std": KVK[1]}],
        ["0", "1"],
    ),
    "a group shares its VAT number": (
        [
            {"name_std": "a", "kvk_number_std": KVK[0], "vat_number_std": VAT[0]},
            {"name_std": "b", "kvk_number_std": KVK[1], "vat_number_std": VAT[0]},
        ],
        ["0", "1"],
    ),
    "a VAT number is enough where nothing contradicts": (
        [
            {"name_std": "a", "kvk_number_std": KVK[0], "vat_number_std": VAT[0]},
            {"name_std": "b", "vat_number_std": VAT[0]},
        ],
        ["01"],
    ),
    "two VAT numbers of one country are two companies": (
        [BAKER | {"vat_number_std": VAT[0]}, BAKER | {"vat_number_std": VAT[1]}],
        ["0", "1"],
    ),
    "a foreign VAT number is one more of the same": (
        [BAKER | {"vat_number_std": VAT[0]}, BAKER | {"vat_number_std": "DE812345678"}],
        ["01"],
    ),
    "a name at a place": (
        [BAKER, BAKER | {"house_number_std": "3"}, BAKER | {"postal_code_std": "1000AB"}],
        ["01", "2"],
    ),
    "a name with a mailbox": (
        [
            {"name_std": "bakker", "email_std": "info@bakker.example"},
            {"name_std": "bakker", "email_std": "info@bakker.example"},
            {"name_std": "smid", "email_std": "info@bakker.example"},
        ],
        ["01", "2"],
    ),
    "no name and no number is nobody's fellow": (
        [{"postal_code_std": "1000AA"}, {"postal_code_std": "1000AA"}],
        ["0", "1"],
    ),
    "the address tells which of two it is": (
        [
            BAKER | {"kvk_number_std": KVK[0]},
            BAKER | {"kvk_number_std": KVK[1], "house_number_std": "2"},
            BAKER | {"house_number_std": "2"},
        ],
        ["0", "12"],
    ),
    "what could be either is neither, and goes with its like": (
        [
            BAKER | {"kvk_number_std": KVK[0]},
            BAKER | {"kvk_number_std": KVK[1]},
            BAKER,
            BAKER,
        ],
        ["0", "1", "23"],
    ),
    "a placeholder is no number": (
        [
            {"name_std": "a", "kvk_number_std": "00000000", "vat_number_std": "NL000000000B00"},
            {"name_std": "b", "kvk_number_std": "00000000", "vat_number_std": "NL000000000B00"},
            {"name_std": "c", "kvk_number_std": "12345678"},
            {"name_std": "d", "kvk_number_std": "12345678"},
        ],
        ["0", "1", "2", "3"],
    ),
    "a number of many names is nobody's": (
        [{"name_std": f"name {n}", "kvk_number_std": KVK[0]} for n in range(NUMBER_USES)],
        [str(n) for n in range(NUMBER_USES)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_which_records_are_one_company(case: str) -> None:
    rows, groups = CASES[case]
    expected = {frozenset(f"r{n}" for n in group) for group in groups}
    assert _partition(rows)[0] == expected


def test_what_did_not_bring_records_together_is_for_a_person_to_look_at() -> None:
    rows = CASES["what could be either is neither, and goes with its like"][0]
    address, place = _partition(rows)[1]
    assert address == (4, 4, 4, "different numbers")
    assert place == (5, 4, 3, "different numbers")
    rows = CASES["a number of many names is nobody's"][0]
    assert _partition(rows)[1] == [(0, NUMBER_USES, NUMBER_USES, "shared by many names")]
    assert _partition([BAKER, BAKER])[1] == []


def _choice(*values: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *values])


records = st.fixed_dictionaries(
    {
        "name_std": _choice("bakker", "smid"),
        "kvk_number_std": _choice(*KVK[:2]),
        "vat_number_std": _choice(*VAT[:2]),
        "phone_std": _choice("+31201"),
        "postal_code_std": _choice("1000AA", "2000BB"),
        "house_number_std": _choice("1", "2"),
    }
)


@given(rows=st.lists(records, max_size=9), data=st.data())
@settings(max_examples=25, derandomize=True, deadline=None)
def test_numbers_hold_and_input_order_does_not_matter(rows: list[Row], data: st.DataObject) -> None:
    named = [{"record_id": f"r{n}", **row} for n, row in enumerate(rows)]
    found, _ = _partition(named)
    assert _partition(data.draw(st.permutations(named)))[0] == found
    by_id = {str(row["record_id"]): row for row in named}
    assert set().union(*found) == set(by_id)
    company_of = {record: group for group in found for record in group}
    for kvk in KVK[:2]:
        assert len({company_of[r] for r, row in by_id.items() if row["kvk_number_std"] == kvk}) < 2
    for group in found:
        assert len({by_id[r]["kvk_number_std"] for r in group} - {None}) < 2
        # Whoever is in a company shares a number or the name with somebody in it.
        if len(group) > 1:
            for record in group:
                others = [by_id[other] for other in group - {record}]
                assert any(
                    by_id[record][name] is not None and by_id[record][name] == other[name]
                    for other in others
                    for name in ("kvk_number_std", "vat_number_std", "name_std")
                )


class Build:
    """A build with companies and a home."""

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = load_settings(home=folder)
        self.control: ControlPlane = open_control(self.settings)
        self.con = duckdb.connect()
        self.con.execute("create schema intermediate")

    def link(self, rows: list[Row]) -> CompanyReport:
        self.con.register("given", _table(rows))
        self.con.execute("create or replace table intermediate.int_linkage_companies as from given")
        return link_companies(self.con, self.settings, self.control, "run")

    def publish(self, version: str) -> None:
        pending = read_pending_profile_ids(self.con, self.control, COMPANIES)
        with self.control.begin() as connection:
            commit_profile_ids(connection, pending, version)

    def companies(self) -> dict[str, str]:
        query = "select record_id, company_id from identity.company_records"
        return dict(self.con.execute(query).fetchall())


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made = Build(tmp_path)
    with closing(made.control), made.con:
        yield made


def test_company_ids_last(build: Build) -> None:
    rows: list[Row] = [BAKER, {"name_std": "smid", "kvk_number_std": KVK[0]}]
    first = build.link(rows)
    assert (first.status, first.companies, first.created_ids) == ("linked", 2, 2)
    assert build.link(rows).status == "unchanged"
    build.publish("v1")
    was = build.companies()
    assert all(company.startswith("C") and len(company) == 14 for company in was.values())
    settled = build.link(rows)
    assert (settled.status, settled.created_ids) == ("unchanged", 0)
    build.publish("v2")

    # The baker turns out to be the smith; a rebuilt warehouse knows it the same way.
    rows = [BAKER | {"kvk_number_std": KVK[0]}, rows[1], BAKER | {"name_std": "slager"}]
    merged = build.link(rows)
    assert (merged.companies, merged.created_ids, merged.retired_ids) == (2, 1, 1)
    after = build.companies()
    assert after["r0"] == after["r1"] in was.values()
    build.publish("v3")
    build.con.execute("drop schema identity cascade")
    build.link(rows)
    assert build.companies() == after
    (gone,) = set(was.values()) - set(after.values())
    resolved = build.con.execute(
        "select current_company_id from identity.current_company_ids where company_id = ?", [gone]
    ).fetchone()
    assert resolved == (after["r0"],)
    keys = build.con.execute("select match_key from identity.company_records order by record_id")
    assert keys.fetchall() == [("SAME_KVK_NUMBER",), ("SAME_KVK_NUMBER",), (None,)]


def test_input_that_is_missing_empty_or_doubled(build: Build) -> None:
    assert build.link([]).companies == 0
    build.publish("v1")
    assert build.link([BAKER]).companies == 1
    with pytest.raises(KlantbeeldError, match="record id of their own"):
        build.link([BAKER | {"record_id": "a"}, BAKER | {"record_id": "a"}])
    build.con.execute("drop table intermediate.int_linkage_companies")
    with pytest.raises(KlantbeeldError, match="int_linkage_companies"):
        link_companies(build.con, build.settings, build.control, "run")


def test_ids_of_different_things_never_look_alike() -> None:
    assert len({space.prefix for space in ID_SPACES}) == len(ID_SPACES)
    assert len({space.state_key for space in ID_SPACES}) == len(ID_SPACES)
