"""Households: who lives together, without ever becoming one person."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import commit_profile_ids, read_pending_profile_ids
from klantbeeld.identity.households import (
    CONTACT_PROFILES,
    CROWD_PROFILES,
    HouseholdReport,
    form_households,
)
from klantbeeld.identity.id_spaces import HOUSEHOLDS
from klantbeeld.settings import Settings, load_settings

COLUMNS = (
    "record_id", "last_name_std", "maiden_name_std", "email_std", "phone_std", "mobile_phone_std",
    "street_std", "house_number_std", "house_number_suffix_std", "postal_code_std", "city_std",
    "country_code", "company_record_id", "updated_at",
)  # fmt: skip
Row = dict[str, Any]


def person(profile: str, surname: str | None, home: str | None = "1000AA 1", **more: Any) -> Row:
    """A record of a profile; `home` is a postcode and a house number."""
    place, _, number = (home or "").partition(" ")
    return {
        "profile_id": profile,
        "last_name_std": surname,
        "postal_code_std": place or None,
        "house_number_std": number or None,
        "country_code": "NL",
        "updated_at": "2026-01-01 00:00:00+00",
        **more,
    }


class Build:
    """A build with linked records and a home."""

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = load_settings(home=folder)
        self.control: ControlPlane = open_control(self.settings)
        self.con = duckdb.connect()
        self.con.execute("set TimeZone = 'UTC'")
        self.con.execute("create schema intermediate")
        self.con.execute("create schema identity")

    def form(self, rows: list[Row], offices: list[Row] | None = None) -> HouseholdReport:
        rows = [{"record_id": f"r{n}", **row} for n, row in enumerate(rows)]
        self._table("intermediate.int_linkage_records", COLUMNS, rows)
        self._table("intermediate.int_linkage_companies", COLUMNS, offices or [])
        self._table("identity.profile_records", ("record_id", "profile_id"), rows)
        return form_households(self.con, self.settings, self.control, "run")

    def _table(self, name: str, columns: tuple[str, ...], rows: list[Row]) -> None:
        given = pa.table(
            {column: pa.array([r.get(column) for r in rows], pa.string()) for column in columns}
        )
        self.con.register("given", given)
        shown = "* replace (updated_at::timestamptz as updated_at)"
        self.con.execute(
            f"create or replace table {name} as "
            f"select {shown if 'updated_at' in columns else '*'} from given"
        )

    def households(self) -> dict[str, str]:
        query = "select profile_id, household_id from identity.household_profiles"
        return dict(self.con.execute(query).fetchall())

    def together(self) -> set[frozenset[str]]:
        found: dict[str, set[str]] = {}
        for profile, household in self.households().items():
            found.setdefault(household, set()).add(profile)
        return {frozenset(group) for group in found.values()}

    def publish(self, version: str) -> None:
        pending = read_pending_profile_ids(self.con, self.control, HOUSEHOLDS)
        with self.control.begin() as connection:
            commit_profile_ids(connection, pending, version)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """A home in which nothing is published."""
    made = Build(tmp_path_factory.mktemp("households"))
    with closing(made.control), made.con:
        yield made


CROWD = [person(f"x{n}", f"name {n}") for n in range(CROWD_PROFILES)]

CASES: dict[str, tuple[list[Row], list[str]]] = {
    "a surname at one address": ([person("a", "berg"), person("b", "berg")], ["ab"]),
    "an address alone says nothing": ([person("a", "berg"), person("b", "dijk")], []),
    "a surname alone says nothing": ([person("a", "berg"), person("b", "berg", "2000BB 1")], []),
    "nor does the flat next door": (
        [person("a", "berg"), person("b", "berg", house_number_suffix_std="a")],
        [],
    ),
    "a maiden name is a surname": (
        [person("a", "berg", maiden_name_std="dijk"), person("b", "dijk"), person("c", "berg")],
        ["abc"],
    ),
    "a landline or a mailbox": (
        [
            person("a", "berg", phone_std="+31201", email_std="home@example.org"),
            person("b", "dijk", phone_std="+31201"),
            person("c", "meer", email_std="home@example.org"),
        ],
        ["abc"],
    ),
    "a mailbox at two addresses": (
        [
            person("a", "berg", email_std="home@example.org"),
            person("b", "berg", "2000BB 1", email_std="home@example.org"),
        ],
        [],
    ),
    "two records of one person are no household": ([person("a", "berg")] * 2, []),
    "who moved lives at the newest address": (
        [
            person("a", "berg"),
            person("a", "berg", "2000BB 1", updated_at="2026-02-01 00:00:00+00"),
            person("a", "berg", None, updated_at="2026-03-01 00:00:00+00"),
            person("b", "berg"),
            person("c", "berg", "2000BB 1"),
        ],
        ["ac"],
    ),
    "no address, no household": ([person("a", "berg", None), person("b", "berg", None)], []),
    "a place abroad has its own postcodes": (
        [person("a", "berg", "1000 1"), person("b", "berg", "1000 1", country_code="BE")],
        [],
    ),
    "among very many a surname is not enough": (
        [person("a", "berg"), person("b", "berg"), *CROWD],
        [],
    ),
    "a surname and a number are": (
        [
            person("a", "berg", phone_std="+31201"),
            person("b", "berg", phone_std="+31201"),
            person("c", "dijk", phone_std="+31201"),
            *CROWD,
        ],
        ["ab"],
    ),
    "the number of an office is nobody's own": (
        [
            person(name, f"name {name}", phone_std="+31201")
            for name in "abcdefghij"[:CONTACT_PROFILES]
        ],
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_who_lives_together(case: str, build: Build) -> None:
    rows, groups = CASES[case]
    build.form(rows)
    assert build.together() == {frozenset(group) for group in groups}


def test_an_office_is_no_home(build: Build) -> None:
    office = person("", None, "3000CC 5") | {"record_id": "firm"}
    later = {"updated_at": "2026-02-01 00:00:00+00", "company_record_id": "firm"}
    rows = [
        person("a", "berg"),
        person("a", "berg", "3000CC 5", **later),
        person("b", "berg", "3000CC 5", **later),
        person("c", "berg"),
        # Another company's address is a home like any other.
        person("d", "dijk", "4000DD 1", **later),
        person("e", "dijk", "4000DD 1"),
    ]
    build.form(rows, [office])
    assert build.together() == {frozenset("ac"), frozenset("de")}
    homes = build.con.execute(
        "select profile_id, shared, home_record_id from identity.household_profiles"
    ).fetchall()
    assert homes[0] == ("a", "surname", "r0")


def test_a_household_lives_on_while_people_come_and_go(tmp_path: Path) -> None:
    build = Build(tmp_path)
    away = person("c", "berg", "2000BB 1")
    couple = [person("a", "berg"), person("b", "berg")]
    with closing(build.control), build.con:
        report = build.form([*couple, person("c", "berg")])
        assert (report.status, report.households, report.members) == ("formed", 1, 3)
        assert build.form([*couple, person("c", "berg")]).status == "unchanged"
        build.publish("v1")
        (home,) = set(build.households().values())
        assert home.startswith("H")

        # The child leaves, a partner joins it, a grandparent comes; then the couple parts.
        report = build.form([*couple, away, person("d", "berg", "2000BB 1"), person("e", "berg")])
        assert report.households == 2
        now = build.households()
        assert now["a"] == now["b"] == now["e"] == home != now["c"] == now["d"]
        build.publish("v2")
        report = build.form([couple[0], person("b", "berg", "3000CC 1"), away])
        assert (report.households, report.largest_household, report.retired_ids) == (0, 0, 2)
        build.publish("v3")

        # Who makes it up again has the household of before, also in a warehouse made anew.
        build.con.execute("drop table identity.household_profiles")
        build.con.execute("drop table identity.household_report")
        build.form([*couple, away])
        assert build.households() == {"a": home, "b": home}
        build.con.execute("drop table identity.profile_records")
        with pytest.raises(KlantbeeldError, match="where profiles live"):
            form_households(build.con, build.settings, build.control, "run")
