"""What holds of a whole home, seen from outside: two things that no part of it can promise alone.

A run that is killed and started again ends as if it had never been killed. Two homes with the same
key on one world: one is run undisturbed, the other is killed again and again, each kill in a later
stage, and then run to its end. All that was published (profile ids included), what the CRM holds
and the files that were sent must be the same. A few kills here; every failpoint, and kills at
random moments, in `make test-long`.

Nothing of a person is left where it does not belong: logs, event logs, reports, what is shown. It
belongs in the warehouse and its versions, in the landing folder, in the quarantine of the control
plane (here it is empty), and in the files that were sent. Everything else that a run leaves is
searched.
"""

import random
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.living_home import CalmHome, LivingHome

pytestmark = pytest.mark.timeout(1800)

SOURCES = ("crm", "newsletter", "pos", "shop", "web")
# One step of every source for each home: what a killed load had got so far is finished by the next
# run, which then does not pass the source's later steps again.
FAILPOINTS = {
    "before_loads": [*(f"load.before_{source}" for source in SOURCES), "load.after_web"],
    "validated": [f"ingestion.{source}.validated" for source in SOURCES],
    "extracted": [f"ingestion.{source}.extracted" for source in SOURCES],
    "normalized": [f"ingestion.{source}.normalized" for source in SOURCES],
    "loaded": [f"ingestion.{source}.loaded" for source in SOURCES],
    "builds": [
        *("dbt.before_staging", "dbt.after_staging", "link.before", "link.after"),
        *("dbt.before_marts", "dbt.after_marts", "publish.before_rename", "publish.before_commit"),
    ],
    "sends": [
        *("publish.after_commit", "sync.after_plan", "sync.before_send:2", "sync.after_send:2"),
        *("sync.before_ack:2", "sync.after_ack:2"),
    ],
    # Written beside what goes to the CRM: a run that is killed there may have written them all.
    "exports": ["export.before_rename", "export.after_rename:3"],
}

_WHERE_IT_BELONGS = ("build", "versions", "landing")
# A number that nobody has, and that a rule of ours names.
_JUNK = {"0612345678"}
_WORD = re.compile(r"\w+")


def assert_nothing_is_left(home: LivingHome) -> None:
    """A killed run leaves no process and no lock; what watches over its output ends by itself."""
    assert not home.is_locked()
    deadline = time.monotonic() + 15
    while (left := home.leftovers()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def kill_at(home: LivingHome, failpoints: Sequence[str]) -> None:
    for failpoint in failpoints:
        home.run_until(failpoint)
        assert_nothing_is_left(home)


def runs_by_status(home: LivingHome) -> dict[str, int]:
    with closing(sqlite3.connect(home.home / "dagster" / "history" / "runs.db")) as connection:
        return dict(connection.execute("select status, count(*) from runs group by status"))


def test_a_run_killed_in_every_stage_ends_as_an_undisturbed_one(calm: CalmHome) -> None:
    home = calm.another_home("killed")
    # A load that is killed is tested by itself, source by source.
    kills = ["dbt.after_staging", "sync.after_send:2"]
    kill_at(home, kills)
    said = home.run()
    calm.assert_same(home)
    # What was in flight was read back, and not written a second time.
    writes = home.crm_versions("cdp_customerprofiles", "cdp_contactid")
    assert len(writes) == len(calm.profiles)
    assert "all good" in said
    # The killed runs are failed in Dagster, and none is left as running.
    assert runs_by_status(home)["FAILURE"] == len(kills)
    assert runs_by_status(home).keys() == {"FAILURE", "SUCCESS"}


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("failpoints", FAILPOINTS.values(), ids=FAILPOINTS)
def test_a_run_killed_at_every_failpoint_ends_as_an_undisturbed_one(
    calm: CalmHome, failpoints: list[str]
) -> None:
    home = calm.another_home(f"failpoints-{failpoints[0]}")
    kill_at(home, failpoints)
    home.run()
    calm.assert_same(home)
    assert runs_by_status(home)["FAILURE"] == len(failpoints)


@pytest.mark.long
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("seed", range(8))
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(
    calm: CalmHome, seed: int
) -> None:
    home = calm.another_home(f"random-{seed}")
    chance = random.Random(seed)
    for _ in range(15):
        process = home.start("run")
        try:
            process.wait(chance.uniform(0, 1.2 * calm.seconds))
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.wait() in (0, -signal.SIGKILL), home.said()
        assert_nothing_is_left(home)
    home.run()
    calm.assert_same(home)


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
