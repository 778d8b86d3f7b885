"""The main job, end to end on a small demo world: real systems, real runs, nothing replaced.

load -> clean -> harmonise -> link -> publish -> measure -> choose -> shape -> send, and again: with
nothing new, after a day, and after a kill in the middle.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import requests
import sqlalchemy as sa
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from demo import world
from klantbeeld.control import ControlPlane, open_control
from klantbeeld.identity import ID_SPACES
from klantbeeld.identity.id_spaces import IdSpace
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import Warehouse
from orchestration.instance import open_instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


Rows = dict[str, dict[str, Any]]


@dataclass
class Place:
    """A demo world and the home beside it."""

    home: Path
    settings: Settings

    def run(self, *arguments: str, failpoint: str | None = None) -> dict[str, Any]:
        """One run from the command line; its figures, with the exit code."""
        figures = self.home.parent / "figures.json"
        figures.unlink(missing_ok=True)
        command = [sys.executable, "-m", "orchestration.run", "--json", str(figures), *arguments]
        environment = dict(os.environ)
        if failpoint is not None:
            environment["KLANTBEELD_FAILPOINT"] = failpoint
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        summary: dict[str, Any] = json.loads(figures.read_text()) if figures.exists() else {}
        assert "Traceback" not in done.stderr, done.stderr
        return {**summary, "exit_code": done.returncode, "words": done.stderr}

    def crm(self, entity: str, key: str) -> Rows:
        """What the CRM holds, asked as the platform asks it."""
        base = str(self.settings.sources["crm"]["base_url"])
        token = requests.post(
            base.replace("/api/data/v9.2/", "/token"),
            data={
                "client_id": self.settings.sources["crm"]["client_id"],
                "client_secret": self.settings.sources["crm"]["client_secret"],
                "grant_type": "client_credentials",
            },
            timeout=30,
        ).json()["access_token"]
        rows: Rows = {}
        url: str | None = base + entity
        while url:
            page = requests.get(
                url, headers={"Authorization": f"Bearer {token}"}, timeout=30
            ).json()
            rows |= {str(row[key]): row for row in page["value"]}
            url = page.get("@odata.nextLink")
        return rows

    def profiles_in_crm(self) -> Rows:
        """The CustomerProfile of every contact."""
        return self.crm("cdp_customerprofiles", "_cdp_contactid_value")

    def published(self) -> Rows:
        """The rows that the current version wants the CRM to hold."""
        with self.reading() as (connection, _):
            return _rows(connection, "activation.sync_crm__customer_profiles", "contact_id")

    @contextmanager
    def reading(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, ControlPlane]]:
        """The current version, and the control plane beside it."""
        control = open_control(self.settings)
        try:
            with Warehouse(self.settings, control).read() as connection:
                yield connection, control
        finally:
            control.close()

    def rows_version(self) -> str:
        """The version of the CRM's contacts by which the UI tells what is out of date."""
        return self._materialized("raw_crm", "contacts").tags[DATA_VERSION_TAG]

    def columns_in_ui(self, *path: str) -> list[str]:
        """The columns that the UI shows of an asset."""
        shown = self._materialized(*path).metadata["dagster/column_schema"]
        assert isinstance(shown, dg.TableSchemaMetadataValue)
        return [column.name for column in shown.schema.columns]

    def _materialized(self, *path: str) -> dg.AssetMaterialization:
        with open_instance(self.settings) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(path))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization

    def ids(self, space: IdSpace) -> tuple[set[str], set[str]]:
        """The ids of one kind that the current version has, and those that are official."""
        with self.reading() as (connection, control):
            query = f"select {space.id_column} from identity.{space.members_table}"
            published = {str(name) for (name,) in connection.execute(query).fetchall()}
            with control.read() as ledger:
                members = sa.select(space.ledger.members.c.profile_id)
                return published, set(ledger.scalars(members))


def _rows(connection: duckdb.DuckDBPyConnection, table: str, key: str) -> Rows:
    rows = connection.execute(f"select * from {table}").to_arrow_table().to_pylist()
    return {str(row[key]): row for row in rows}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("whole_path")
    home = folder / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KLANTBEELD_HOME", str(home))
        patch.setenv("KLANTBEELD_DEMO__DIR", str(folder / "world"))
        patch.setenv("KLANTBEELD_DEMO__PERSONS", "300")
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        settings = load_settings()
        try:
            world.start(settings)
            yield Place(home, load_settings())
        finally:
            world.reset(settings)


def test_the_whole_path(place: Place) -> None:
    contacts_before = place.crm("contacts", "contactid")

    # The first run: every contact in a profile gets its CustomerProfile.
    first = place.run()
    assert first["exit_code"] == 0, first["words"]
    wanted = place.published()
    held = place.profiles_in_crm()
    assert set(held) == set(wanted)
    assert len(held) > 100
    assert all(held[key]["cdp_fullname"] == row["full_name"] for key, row in wanted.items())
    # A contact's own fields, modifiedon among them, are never touched.
    assert place.crm("contacts", "contactid") == contacts_before
    exported = sorted(place.home.parent.rglob("*.manifest.json"))
    assert len(exported) == 5
    rows_of_first = place.rows_version()
    assert place.columns_in_ui("identity", "profile_records")[:2] == ["record_id", "profile_id"]

    # The second run: nothing new, nothing built, nothing written.
    second = place.run()
    assert second["exit_code"] == 0, second["words"]
    assert second["version_id"] == first["version_id"]
    assert place.profiles_in_crm() == held
    # Another version of the rows would make the UI call all that is built from them out of date.
    assert place.rows_version() == rows_of_first

    # A day passes, and the run of that day is killed in the middle, after the link stage.
    world.advance(place.settings, 1)
    contacts_of_the_day = place.crm("contacts", "contactid")
    # The CRM itself removes the profile of a contact that is deleted in it.
    held = {key: row for key, row in held.items() if key in contacts_of_the_day}
    killed = place.run(failpoint="link.after")
    assert killed["exit_code"] == -signal.SIGKILL
    assert place.rows_version() != rows_of_first
    assert place.published() == wanted
    assert place.profiles_in_crm() == held

    # Started again, it converges: exactly the contacts of whom a column changed are rewritten.
    third = place.run()
    assert third["exit_code"] in (0, 3), third["words"]
    now_wanted = place.published()
    now_held = place.profiles_in_crm()
    assert set(now_held) == set(now_wanted)
    changed = {key for key in now_wanted if wanted.get(key) != now_wanted[key]}
    rewritten = {
        key for key in now_held
        if key not in held or held[key]["modifiedon"] != now_held[key]["modifiedon"]
    }  # fmt: skip
    assert rewritten == changed
    assert 0 < len(changed) < len(now_held)
    assert place.crm("contacts", "contactid") == contacts_of_the_day

    # Nobody's id changed without a reason: the most of them are as they were.
    same = [
        k
        for k in wanted
        if k in now_wanted and wanted[k]["profile_id"] == now_wanted[k]["profile_id"]
    ]
    assert len(same) > 0.95 * len(wanted)
    for space in ID_SPACES:
        published, official = place.ids(space)
        assert published == official != set(), space.name
