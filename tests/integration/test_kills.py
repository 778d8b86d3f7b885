"""A run that is killed in the middle and started again ends as if it had never been killed.

Two homes with the same key on one world: one is run undisturbed, the other is killed again and
again, each kill in a later stage, and then run to its end. All that was published (profile ids
included), what the CRM holds and the files that were sent must be the same. A few kills here; every
failpoint, and kills at random moments, in `make test-long`.
"""

import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from tests.fixtures.living_home import CalmHome, LivingHome

pytestmark = pytest.mark.timeout(1800)

LOADS = [
    *(f"load.before_{source}" for source in ("crm", "newsletter", "pos", "shop", "web")),
    *(
        f"ingestion.{source}.{step}"
        for source in ("crm", "newsletter", "pos", "shop", "web")
        for step in ("validated", "extracted", "normalized", "loaded")
    ),
    "load.after_web",
]
BUILDS = ["dbt.before_staging", "dbt.after_staging", "link.before", "link.after"]
BUILDS += ["dbt.before_marts", "dbt.after_marts", "publish.before_rename", "publish.before_commit"]
SENDS = ["publish.after_commit", "sync.after_plan", "sync.before_send:2", "sync.after_send:2"]
SENDS += ["sync.before_ack:2", "sync.after_ack:2", "export.before_rename", "export.after_rename:3"]


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
    kills = ["ingestion.pos.normalized", "dbt.after_staging", "sync.after_send:2"]
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
@pytest.mark.parametrize("failpoints", [LOADS, BUILDS, SENDS], ids=["loads", "builds", "sends"])
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
