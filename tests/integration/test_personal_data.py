"""Nothing of a person is left where it does not belong: logs, event logs, reports, what is shown.

It belongs in the warehouse and its versions, in the landing folder, in the quarantine of the
control plane (here it is empty), and in the files that were sent. Everything else that a run leaves
is searched.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.living_home import CalmHome

pytestmark = pytest.mark.timeout(900)

_WHERE_IT_BELONGS = ("build", "versions", "landing")
# A number that nobody has, and that a rule of ours names.
_JUNK = {"0612345678"}
_WORD = re.compile(r"\w+")


def of_people(crm: Path) -> list[str]:
    """What the CRM knows of people, as somebody would look for it."""
    with closing(sqlite3.connect(crm)) as connection:
        rows = connection.execute(
            """
            select emailaddress1 from contacts
            union select telephone1 from contacts
            union select mobilephone from contacts
            union select address1_line1 from contacts
            union select firstname || ' ' || lastname from contacts where length(firstname) > 3
            union select cdp_fullname from cdp_customerprofiles where cdp_fullname like '% %'
            """
        )
        return sorted({value.lower() for (value,) in rows if value and len(value) > 7} - _JUNK)


def text_of(path: Path) -> str:
    """What a file holds, as text; of a database its rows, as its pages keep what was deleted."""
    if path.name == "control.db":
        with closing(sqlite3.connect(path)) as connection:
            return "\n".join(connection.iterdump())
    return path.read_bytes().decode("utf-8", "replace")


def found_in(text: str, values: list[str]) -> list[str]:
    """The values that a text holds. By their words first: most texts hold none of them."""
    lowered = text.lower()
    words = set(_WORD.findall(lowered))
    likely = [value for value in values if words.issuperset(_WORD.findall(value))]
    return [value for value in likely if value in lowered]


def test_a_run_leaves_nothing_of_a_person_outside_the_warehouse(calm: CalmHome) -> None:
    values = of_people(calm.home.crm)
    assert len(values) > 500
    home = calm.home.home
    places = {"what was shown": calm.said} | {
        str(path.relative_to(home)): text_of(path)
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.relative_to(home).parts[0] not in _WHERE_IT_BELONGS
    }
    assert {"control.db", "dagster/run.log", "dagster/history/runs.db"} < places.keys()
    assert [place for place, text in places.items() if found_in(text, values)] == []


def test_what_is_looked_for_would_be_found(calm: CalmHome) -> None:
    values = of_people(calm.home.crm)
    told = calm.home.published_rows("select full_name, email from marts.dim_profiles")
    assert len(found_in(f"INFO loaded {told}", values)) > 100


def test_whatever_a_run_leaves_is_readable_by_its_owner_alone(calm: CalmHome) -> None:
    home = calm.home.home
    assert [str(p) for p in [home, *home.rglob("*")] if p.stat().st_mode & 0o077] == []
