"""What was sent, to read: as it is now in the terminal, and as tables of the next version."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from klantbeeld.activation import read_manifest
from klantbeeld.activation.logs import write_tables
from klantbeeld.cli.sync import sync
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash
from tests.fixtures.activation import SYNC, World, contact_id, profile_rows


@pytest.fixture
def sent(world: World) -> World:
    """Five rows, of which one is refused, sent twice."""
    rows = profile_rows(5)
    rows[2]["lifecycle_stage"] = "Onbestaand"
    world.publish(rows)
    world.sync()
    world.sync()
    return world


def test_the_runs_of_a_sync_are_listed_newest_first(
    sent: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(sent.home))
    told = CliRunner().invoke(sync, ["log", SYNC, "--json"], catch_exceptions=False)
    runs = [json.loads(line) for line in told.output.splitlines()]
    counts = [(run["status"], run["acknowledged"], run["rejected"]) for run in runs]
    assert counts == [("degraded", 0, 1), ("degraded", 4, 1)]
    shown = CliRunner().invoke(sync, ["log", SYNC, "--limit", "1"], catch_exceptions=False)
    assert "1 rejected" in shown.output
    assert "see `klantbeeld sync rows" in shown.output
    short = CliRunner().invoke(sync, ["log", SYNC.removeprefix("sync_"), "--limit", "1"])
    assert short.output == shown.output
    wrong = CliRunner().invoke(sync, ["log", "sync_crm__nothing"])
    assert isinstance(wrong.exception, KlantbeeldError)
    assert wrong.exception.exit_code == 1
    assert SYNC in str(wrong.exception.hint)


def test_the_logs_are_tables_of_the_next_version_with_ids_only(sent: World) -> None:
    version = sent.warehouse.current()
    assert version is not None
    manifest = read_manifest(version.manifest)
    with sent.warehouse.build() as connection:
        write_tables(connection, sent.control, manifest, sent.settings.home_key())
        rows = connection.execute(
            "select destination_key, state, attempts, rejections, reason from delivery.sync_rows"
            " order by state, destination_key"
        ).fetchall()
        runs = connection.execute(
            "select status, acknowledged, finished_at >= started_at from delivery.sync_runs"
        ).fetchall()
    assert len(rows) == 5
    assert {row[1] for row in rows[:4]} == {"acknowledged"}
    key, state, attempts, rejections, reason = rows[4]
    assert (key, state, rejections) == (contact_id(2), "rejected", 2)
    assert attempts == 0, "refused before it was sent"
    assert "Onbestaand" not in reason
    assert sorted(runs) == [("degraded", 0, True), ("degraded", 4, True)]


def test_keys_that_may_be_personal_are_hashed_in_the_tables(sent: World) -> None:
    home_key = sent.settings.home_key()
    with sent.warehouse.build() as connection:
        write_tables(connection, sent.control, {"nodes": {}}, home_key)
        keys = connection.execute("select destination_key from delivery.sync_rows").fetchall()
    assert {key for (key,) in keys} == {keyed_hash(contact_id(n), home_key) for n in range(5)}
