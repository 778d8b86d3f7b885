"""The link stage on a build: a floor on precision and recall, and what a run leaves behind."""

import json
import re
from collections.abc import Iterator, Set
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from benchmarks.populations import Noise
from klantbeeld import identity
from klantbeeld.cli import cli
from klantbeeld.control.tables import profile_id_events
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.charts import candidate_folder
from klantbeeld.identity.overview import as_rows
from klantbeeld.identity.promotion import read_changes
from tests.fixtures.linkage_build import Build, make_build

TABLES = {
    "profile_records",
    "pairs",
    "suppressed_values",
    "profile_id_changes",
    "current_profile_ids",
    "linkage_state",
    "review_queue",
    "linkage_report",
}


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made = make_build(tmp_path, 1_500, 11)
    yield made
    made.con.close()
    made.control.close()


def test_the_default_model_links_well(build: Build) -> None:
    report = build.link()
    quality = build.quality()
    assert quality.pair_precision >= 0.93
    assert quality.pair_recall >= 0.95
    assert quality.bcubed_f1 >= 0.97
    assert report.status == "linked"
    assert report.records == build.records.num_rows == quality.records
    assert report.profiles == len(set(build.profiles().values()))
    assert report.suppressed["birth_date"] >= 1
    assert not [warning for warning in report.warnings if "identity queue" not in warning]
    decisions = dict(
        build.con.execute("select decision, count(*) from identity.pairs group by 1").fetchall()
    )
    assert set(decisions) >= {"joined", "refused", "below_threshold"}

    # Nothing else is left in the warehouse, and nothing personal in what people and logs see.
    found = build.con.execute("select schema_name, table_name from duckdb_tables()").fetchall()
    assert {name for schema, name in found if schema == "identity"} == TABLES
    assert {schema for schema, _ in found} == {"identity", "intermediate"}
    assert build.con.execute(
        "select count(*) from duckdb_views() where not internal"
    ).fetchone() == (0,)
    emails = {value for value in build.records.column("email_std").to_pylist() if value}
    shown = repr(report.as_dict())
    charts = identity.draw_charts(build.con, build.settings, build.control, {1: 10, 2: 5})
    assert charts is not None
    assert charts.is_new
    assert [path.name for path in charts.files] == [
        "linkage.html",
        "match_weights.html",
        "parameters.html",
        "unlinkable_records.html",
    ]
    overview = charts.overview
    assert sum(rule.pairs for rule in overview.rules) == sum(decisions.values())
    assert sum(size.profiles for size in overview.sizes) == report.profiles
    assert [size.before for size in overview.sizes[:3]] == [10, 5, 0]
    assert sum(rule.joined for rule in overview.rules) == report.joined_pairs
    for figures in (overview.rules, overview.sizes, overview.weights):
        rows = as_rows(figures)
        assert len({tuple(row) for row in rows}) == 1
        dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
    again = identity.draw_charts(build.con, build.settings, build.control, {1: 10, 2: 5})
    assert again is not None
    assert (again.is_new, again.files) == (False, charts.files)
    for chart in charts.files:
        content = chart.read_text()
        assert not re.search(r"<(script|link)[^>]+(src|href)=", content)
        shown += content
    assert not [email for email in emails if email in shown]
    records = build.records.column("record_id").to_pylist()
    assert not [record for record in records[:200] if record in shown]


def test_twice_the_errors(tmp_path: Path) -> None:
    build = make_build(tmp_path, 1_500, 12, Noise(scale=2.0))
    build.link()
    quality = build.quality()
    assert quality.pair_precision >= 0.92
    assert quality.bcubed_f1 >= 0.94


def test_ids_last_and_an_unchanged_run_keeps_its_tables(build: Build) -> None:
    late = pa.array([number % 100 == 0 for number in range(build.records.num_rows)])
    build.load(build.records.filter(pc.invert(late)))
    assert build.link("one").created_ids > 0
    assert build.link("two").status == "unchanged"
    build.publish("v1")
    first = build.profiles()
    settled = build.link("three")
    assert (settled.status, settled.created_ids) == ("unchanged", 0)
    assert build.con.execute("select count(*) from identity.profile_id_changes").fetchone() == (0,)
    build.publish("v2")

    # One record in a hundred joins; those known before keep their ids.
    build.load(build.records)
    grown = build.link("four")
    assert grown.records == build.records.num_rows
    assert grown.known_records == len(first)
    assert grown.moved_records <= 0.003 * grown.known_records
    after = build.profiles()
    assert sum(after[record] != profile for record, profile in first.items()) == grown.moved_records

    # A killed run that is repeated, and a warehouse that is built anew, give the same ids.
    build.con.execute("drop schema identity cascade")
    build.link("five")
    assert build.profiles() == after
    build.publish("v3")
    build.con.execute("drop schema identity cascade")
    assert build.link("six").moved_records == 0
    assert build.profiles() == after

    # Every id ever issued leads somewhere.
    ids = build.con.execute(
        "select profile_id, current_profile_id, status from identity.current_profile_ids"
    ).fetchall()
    assert set(first.values()) <= {profile for profile, _, _ in ids}
    held = set(after.values())
    assert all(current in held for _, current, status in ids if status != "retired")


@pytest.mark.long
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_one_per_cent_more_records_moves_one_in_a_thousand_at_most(
    tmp_path: Path, scale: float
) -> None:
    build = make_build(tmp_path, 15_000, 23, Noise(scale=scale))
    late = pa.array([number % 101 == 100 for number in range(build.records.num_rows)])
    build.load(build.records.filter(pc.invert(late)))
    build.link("before")
    build.publish("v1")
    before = build.profiles()
    build.load(build.records)
    grown = build.link("after")
    assert grown.records - grown.known_records == pc.sum(late).as_py()
    assert grown.moved_records <= 0.001 * grown.known_records
    assert grown.moved_share == round(grown.moved_records / grown.known_records, 6)
    # Each of them is in the feed, and so is what became of its id.
    after = build.profiles()
    moved = {
        (record, before[record], after[record])
        for record in before
        if before[record] != after[record]
    }
    feed = build.con.execute(
        "select record_id, other_profile_id, profile_id from identity.profile_id_changes "
        "where event = 'record_moved'"
    ).fetchall()
    assert set(feed) == moved
    assert len(feed) == grown.moved_records
    build.publish("v2")
    with build.control.read() as connection:
        told = set(
            connection.scalars(
                sa.select(profile_id_events.c.profile_id).where(
                    profile_id_events.c.version_id == "v2"
                )
            )
        )
    gone, new = (
        set(before.values()) - set(after.values()),
        set(after.values()) - set(before.values()),
    )
    assert told == gone | new


def test_a_trained_model_is_used_once_promoted(build: Build) -> None:
    build.link()
    build.publish("v1")
    before = build.profiles()
    report = identity.train(build.con, build.settings, build.control)
    assert (report.model_version, report.compared_with) == ("model-0001", "default-1.1")
    assert report.same_pairs > 0.97
    folder = build.settings.paths.models_dir / report.model_version
    changes = read_changes(folder)
    assert changes is not None
    assert report.changed_profiles > 0
    runner = CliRunner(env={"KLANTBEELD_HOME": str(build.settings.home)})
    named = ["identity", "models", report.model_version, "--limit", "1"]
    shown = runner.invoke(cli, named, catch_exceptions=False).output.splitlines()
    largest = changes.slice(0, 1).to_pylist()[0]
    assert shown[0].startswith("model-0001  candidate")
    assert all(profile in shown[1] for profile in largest["profile_ids"])
    assert f"{changes.num_rows} change(s), {changes.num_rows - 1} more" in shown[2]
    told = json.loads(runner.invoke(cli, [*named, "--json"], catch_exceptions=False).output)
    assert (told["changes_total"], told["changes"]) == (changes.num_rows, [largest])
    assert build.link().status == "unchanged"
    with pytest.raises(KlantbeeldError, match="no linkage model"):
        identity.promote(build.settings, build.control, "model-0009")
    identity.promote(build.settings, build.control, report.model_version)
    promoted = build.link()
    assert promoted.model_version == "model-0001"
    assert build.quality().bcubed_f1 >= 0.97

    # What the comparison foretold came true, record by record, and nothing else.
    after = build.profiles()
    assert promoted.moved_records == report.moved_records
    foretold = changes.to_pylist()
    assert sorted(changes.column("moved_records").to_pylist(), reverse=True) == [
        change["moved_records"] for change in foretold
    ]
    listed = {profile for change in foretold for profile in change["profile_ids"]}
    for change in foretold:
        parts = {frozenset(part) for part in change["becomes"]}
        records = frozenset().union(*parts)
        assert {before[record] for record in records} == set(change["profile_ids"])
        assert parts == _parts(after, records)
        assert sum(change["profile_records"]) == change["records"] == len(records)
        kinds = (len(change["profile_ids"]) > 1, len(parts) > 1)
        assert kinds == {"joined": (True, False), "split": (False, True)}.get(
            change["kind"], (True, True)
        )
    rest = {record for record, profile in before.items() if profile not in listed}
    assert _parts(before, rest) == _parts(after, rest)
    assert len(listed) == report.changed_profiles
    charts = list(candidate_folder(build.settings, "model-0001").glob("*.html"))
    assert len(charts) == 4
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    content = (folder / "model.json").read_text()
    surnames = {name for name in build.records.column("last_name_std").to_pylist() if name}
    assert not [name for name in surnames if f'"{name}"' in content]
    identity.promote(build.settings, build.control, "default-1")
    # The default that ships holds no values: they are frozen anew with its next linkage.
    assert build.link().model_version == "default-1.2"


def _parts(profiles: dict[str, str], records: Set[str]) -> set[frozenset[str]]:
    """Records by their profile, whatever its id."""
    parts: dict[str, set[str]] = {}
    for record in records:
        parts.setdefault(profiles[record], set()).add(record)
    return {frozenset(part) for part in parts.values()}


def test_frozen_values_hold_until_the_records_are_others(build: Build) -> None:
    late = pa.array([number % 20 == 0 for number in range(build.records.num_rows)])
    build.load(build.records.filter(pc.invert(late)))
    first = build.link()
    assert first.model_version == "default-1.1"
    pairs = (
        "select (record_id_l, record_id_r), match_weight from identity.pairs "
        "where match_weight is not null"
    )
    weighed = dict(build.con.execute(pairs).fetchall())

    # Linked again with what was frozen, and with other records beside them: the same weights.
    build.con.execute("drop schema identity cascade")
    again = build.link()
    assert (again.model_version, again.matches_per_record) == (
        "default-1.1",
        first.matches_per_record,
    )
    assert dict(build.con.execute(pairs).fetchall()) == weighed
    build.load(build.records)
    assert build.link().model_version == "default-1.1"
    after = dict(build.con.execute(pairs).fetchall())
    assert len(after.keys() & weighed.keys()) >= 0.9 * len(weighed)
    assert all(weight == after[pair] for pair, weight in weighed.items() if pair in after)

    # Half as many again, or half of them gone: frozen anew.
    build.load(build.records.slice(0, build.records.num_rows // 3))
    assert build.link().model_version == "default-1.2"
    build.load(build.records)
    grown = build.link()
    assert grown.model_version == "default-1.3"
    assert grown.frozen_because


def test_a_version_that_is_damaged_is_refused(build: Build) -> None:
    build.link()
    frozen = build.settings.paths.models_dir / "default-1.1" / "term_frequencies.parquet"
    frozen.write_bytes(b"PAR1")
    build.con.execute("drop schema identity cascade")
    with pytest.raises(KlantbeeldError, match="frozen values"):
        build.link()


def test_input_that_is_missing_or_empty(tmp_path: Path) -> None:
    build = make_build(tmp_path, 60, 3)
    build.load(build.records.slice(0, 0))
    empty = build.link()
    assert (empty.records, empty.profiles) == (0, 0)
    assert "nothing to link" in empty.warnings[0]
    build.publish("v1")
    build.load(build.records.slice(0, 1))
    assert build.link().profiles == 1
    build.con.execute("drop table intermediate.int_linkage_records")
    with pytest.raises(KlantbeeldError, match="int_linkage_records"):
        build.link()
    build.load(build.records)
    with pytest.raises(KlantbeeldError, match="too few"):
        identity.train(build.con, build.settings, build.control)
