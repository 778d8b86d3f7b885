"""Linking only what changed gives what linking everything gives, under one model version."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from benchmarks.populations import population
from klantbeeld import identity
from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import incremental, registry
from klantbeeld.identity.aliases import add_aliases
from klantbeeld.identity.decisions import active_decisions, decide, revoke
from klantbeeld.identity.promotion import SCHEMA, read_changes
from klantbeeld.identity.stage import How
from klantbeeld.settings import Settings, load_settings

PERSONS = 120
# What an edit gives to a record: something of another record, so that it meets others than before.
FIELDS = (
    "first_name_std",
    "last_name_std",
    "birth_date",
    "email_std",
    "mobile_phone_std",
    "phone_std",
    "postal_code_std",
    "city_std",
    "deterministic_key",
    "linked_record_id",
)
FIGURES = (
    "profiles",
    "pairs",
    "joined_pairs",
    "refused_pairs",
    "moved_records",
    "held_records",
    "weak_bridges",
    "large_clusters",
    "review_items",
)
VERDICTS = ("same", "different", "pass_through", "undo")
Row = dict[str, Any]


@dataclass
class Home:
    """A build and a control plane, with what is loaded."""

    con: duckdb.DuckDBPyConnection
    settings: Settings
    control: ControlPlane
    schema: pa.Schema
    versions: int = 0

    def load(self, rows: list[Row]) -> None:
        self.con.register("given", pa.Table.from_pylist(rows, schema=self.schema))
        self.con.execute("create schema if not exists intermediate")
        self.con.execute("create or replace table intermediate.int_linkage_records as from given")
        self.con.unregister("given")

    def link(self, how: How = How.CHANGES) -> identity.LinkReport:
        return identity.link(self.con, self.settings, self.control, "run", how)

    def publish(self) -> None:
        self.versions += 1
        pending = identity.read_pending_profile_ids(self.con, self.control)
        with self.control.begin() as connection:
            identity.commit_profile_ids(connection, pending, f"v{self.versions}")

    def outcome(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything published, and what the next linkage starts from, whatever its numbers."""
        queries = {
            "profiles": "from identity.profile_records order by all",
            "pairs": "from identity.pairs order by all",
            "suppressed": "from identity.suppressed_values order by all",
            "queue": "from identity.review_queue order by all",
            "ids": "from identity.current_profile_ids order by all",
            "people": """
                select * replace (
                    min(record_id) over (partition by component) as component,
                    min(record_id) over (partition by cluster) as cluster
                )
                from identity.linkage_state order by record_id
            """,
        }
        return {name: self.con.execute(sql).fetchall() for name, sql in queries.items()}


def _home(folder: Path, schema: pa.Schema) -> Home:
    chosen = load_settings(home=folder / "home")
    # So that clusters and bridges are held among so few people, and the queue leaves some out.
    review = {"review_size": 4, "review_probability": 0.999, "review_pairs": 15}
    asked = chosen.identity.model_copy(update=review)
    chosen = chosen.model_copy(update={"identity": asked})
    return Home(duckdb.connect(), chosen, open_control(chosen), schema)


def _apply(rows: dict[str, Row], step: tuple[str, int, int, str]) -> None:
    """Add, change or remove a record."""
    kind, at, other, field = step
    names = sorted(rows)
    name = names[at % len(names)]
    # Few records have a key; an edit of one should give one.
    givers = [known for known in names if field not in rows[known] or rows[known][field]] or names
    giver = givers[other % len(givers)]
    if kind == "remove":
        del rows[name]
    elif kind == "change":
        value = giver if field == "linked_record_id" else rows[giver][field]
        rows[name] = rows[name] | {field: value}
    else:
        # Half of them sort before every record there is, so that all numbers shift.
        new = f"{'aaa' if other % 2 else 'zzz'}:person:{len(rows)}-{at}-{other}"
        rows[new] = rows[name] | {"record_id": new, field: rows[giver].get(field)}


def _steward(home: Home, names: list[str], step: tuple[str, int, int, str]) -> bool:
    """Decide about two records or one, or undo what was decided; whether anything was."""
    verdict, at, other, _ = step
    try:
        if verdict == "undo":
            known = active_decisions(home.control)["decision_id"].to_pylist()
            revoke(home.control, known[at % len(known)], by="ilse", why="asked")
        else:
            second = None if verdict == "pass_through" else names[other % len(names)]
            decide(
                home.control, verdict, [(names[at % len(names)], second)], by="ilse", why="asked"
            )
    except KlantbeeldError:
        # It is decided already, or contradicts what is.
        return False
    return True


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "change", "change", "remove", *VERDICTS]),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
        st.sampled_from(FIELDS),
    ),
    min_size=1,
    max_size=12,
)


def _check(
    batches: list[list[tuple[str, int, int, str]]], largest_block: int, is_rekeyed: bool = False
) -> None:
    records, _ = population(PERSONS, 5)
    rows = {row["record_id"]: row for row in records.to_pylist()}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Of so few people, the decisions alone are about many.
        patch.setattr(incremental, "MOST_CHANGED", 0.5)
        home = _home(Path(folder), records.schema)
        home.load(list(rows.values()))
        home.link()
        _narrow_blocks(home, largest_block)
        _decide(home, sorted(rows))
        if is_rekeyed:
            _rekey(home, sorted(rows), Path(folder))
        home.link(How.ALL)
        home.publish()
        for steps in batches:
            linked = dict(rows)
            is_decided = False
            for step in steps:
                if step[0] in VERDICTS:
                    is_decided |= _steward(home, sorted(rows), step)
                else:
                    _apply(rows, step)
            home.load(list(rows.values()))
            report = home.link()
            # An edit may give a record what it has, and a later one take an earlier one back.
            is_same = rows == linked and not is_decided
            assert (report.status == "unchanged") == is_same
            if is_same:
                continue
            assert report.mode == "incremental"
            part = home.outcome()
            home.con.execute("drop schema identity cascade")
            full = home.link()
            assert (full.mode, full.model_version) == ("full", report.model_version)
            assert full.scored_records > report.scored_records
            everything = home.outcome()
            for name in everything:
                assert part[name] == everything[name], name
            for name in FIGURES:
                assert getattr(full, name) == getattr(report, name), name
            home.publish()
        home.con.close()
        home.control.close()


def _decide(home: Home, names: list[str]) -> None:
    """What stewards decided, about records that may change and may go."""
    for verdict, pairs in (
        ("same", [(names[0], names[40]), (names[40], names[80])]),
        ("different", [(names[3], names[44]), (names[0], names[90])]),
        ("pass_through", [(names[11], None)]),
    ):
        decide(home.control, verdict, pairs, by="ilse", why="asked")


def _rekey(home: Home, names: list[str], folder: Path) -> None:
    """Records that took over from others, which may still be there, or go; one is still to come."""
    aliases = [(20, names[21]), (30, names[32]), (31, names[32]), (0, names[50]), (60, "new:60")]
    path = folder / "rekeyed.csv"
    lines = [f"{names[old]},{new}\n" for old, new in aliases]
    path.write_text("old_record_id,new_record_id\n" + "".join(lines))
    add_aliases(home.control, path, by="ilse", why=None, home_key=home.settings.home_key())


def _narrow_blocks(home: Home, largest: int) -> None:
    """Make blocks cross the largest size allowed often: as if the version had found them large."""
    path = home.settings.paths.models_dir / "default-1.1" / "frozen.json"
    figures = json.loads(path.read_text())
    figures["largest_blocks"] = {
        rule: min(size, largest) for rule, size in figures["largest_blocks"].items()
    }
    path.write_text(json.dumps(figures))


# Every kind of step, with blocks that cross the largest size allowed in both directions.
EVERYTHING = [
    [(kind, 37 * at, 11 * at + 3, field) for at, field in enumerate(FIELDS)]
    for kind in ("add", "change", "remove")
]
# What is decided anew hides a record and shows one, joins and parts.
EVERYTHING[1] += [
    ("pass_through", 25, 0, ""), ("same", 61, 140, ""), ("different", 70, 71, ""),
    ("undo", 0, 0, ""), ("undo", 4, 0, ""),
]  # fmt: skip
# Keys of other records, on records that come before them.
EVERYTHING[0] += [("add", 7 * at, 2 * at + 1, "deterministic_key") for at in range(8)]


@settings(
    max_examples=1,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=(Phase.explicit,),
)
@example(EVERYTHING, 3)
@given(st.lists(STEPS, min_size=1, max_size=2), st.sampled_from([3, 5, 1000]))
def test_what_changed_is_linked_as_everything_would_be(
    batches: list[list[tuple[str, int, int, str]]], largest_block: int
) -> None:
    _check(batches, largest_block)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
@given(
    st.lists(STEPS, min_size=1, max_size=3), st.sampled_from([2, 3, 4, 6, 10, 1000]), st.booleans()
)
def test_what_changed_is_linked_as_everything_would_be_many_times(
    batches: list[list[tuple[str, int, int, str]]], largest_block: int, is_rekeyed: bool
) -> None:
    _check(batches, largest_block, is_rekeyed)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    records, _ = population(PERSONS, 6)
    made = _home(tmp_path, records.schema)
    made.load(records.to_pylist())
    yield made
    made.con.close()
    made.control.close()


def test_what_does_not_fit_is_linked_whole(home: Home) -> None:
    rows = home.con.execute("from intermediate.int_linkage_records").to_arrow_table().to_pylist()
    assert home.link().mode == "full"
    # The ids of the build are not official yet.
    home.load(rows[1:])
    assert home.link().mode == "full"
    home.publish()
    home.load(rows[2:])
    part = home.link()
    assert (part.mode, part.scored_records < 40) == ("incremental", True)
    home.publish()

    # A setting, many changes at once, a state that is gone.
    asked = home.settings.identity.model_copy(update={"join_probability": 0.6})
    home.settings = home.settings.model_copy(update={"identity": asked})
    home.load(rows[3:])
    assert home.link().mode == "full"
    home.publish()
    home.load(rows[len(rows) // 3 :])
    assert home.link().mode == "full"
    home.publish()
    home.con.execute("drop table identity.linkage_state")
    home.load(rows[1 + len(rows) // 3 :])
    assert home.link().mode == "full"
    home.publish()

    # A view: its rows have no place by which to read those that changed.
    home.con.execute("alter table intermediate.int_linkage_records rename to given")
    home.con.execute("create view intermediate.int_linkage_records as from intermediate.given")
    count = home.link().records
    home.con.execute("delete from intermediate.given where rowid = 0")
    last = home.link()
    assert (last.status, last.mode, last.records) == ("linked", "full", count - 1)


def test_reconciliation_freezes_anew_unless_that_moves_too_much(home: Home) -> None:
    first = home.link()
    home.publish()
    again = home.link(How.RECONCILE)
    assert (again.mode, again.model_version) == ("full", "default-1.2")
    assert (again.frozen_because, again.moved_records) == ("reconciliation", 0)
    assert again.profiles == first.profiles
    home.publish()

    # Under a version that brings hardly anybody together, values counted anew move many records.
    path = home.settings.paths.models_dir / "default-1.2" / "frozen.json"
    figures = json.loads(path.read_text())
    path.write_text(json.dumps(figures | {"largest_blocks": {"SAME_EMAIL": 2}}))
    apart = home.link()
    home.publish()
    assert apart.profiles > first.profiles + 50
    held = home.link(How.RECONCILE)
    assert (held.model_version, held.waiting_version) == ("default-1.2", "default-1.3")
    assert (held.moved_records, held.profiles) == (0, apart.profiles)
    home.publish()
    changes = read_changes(home.settings.paths.models_dir / "default-1.3")
    assert changes is not None
    identity.promote(home.settings, home.control, "default-1.3")
    promoted = home.link()
    assert promoted.moved_records == sum(changes.column("moved_records").to_pylist())
    assert promoted.model_version == "default-1.3"
    assert promoted.profiles < apart.profiles - 50
    assert promoted.moved_records > 50


def test_versions_of_long_ago_lose_their_values_and_no_other_does(home: Home) -> None:
    home.link()
    first = registry.current_version(home.settings, home.control)
    frozen = first.frozen()
    assert frozen is not None
    for _ in range(5):
        last = registry.write_frozen_version(home.settings, home.control, first, frozen, {})
    waiting = registry.write_frozen_version(
        home.settings, home.control, first, frozen, {}, changes=SCHEMA.empty_table()
    )
    old = identity.list_old(home.control)
    assert sorted(old) == ["default-1.1", "default-1.2"]
    # One of them is still referred to; what is current or waits cannot be removed by name either.
    asked = ["default-1.1", last.name, waiting.name]
    identity.remove_values(home.settings, home.control, asked)
    kept = {path.name for path in home.settings.paths.models_dir.iterdir()}
    assert kept == {f"default-1.{number}" for number in range(2, 8)}
    for refused in (identity.promote, registry.named_version):
        with pytest.raises(KlantbeeldError, match="not kept any more"):
            refused(home.settings, home.control, "default-1.1")
    assert registry.current_version(home.settings, home.control).name == last.name
    made = registry.write_frozen_version(home.settings, home.control, first, frozen, {})
    assert made.name == "default-1.8"

    # Another one that waits takes the place of the one before.
    newer = registry.write_frozen_version(
        home.settings, home.control, first, frozen, {}, changes=SCHEMA.empty_table()
    )
    waits = {one.model_version: one.status for one in registry.list_versions(home.control)}
    assert (waits[waiting.name], waits[newer.name]) == ("retired", "candidate")


def test_new_junk_is_counted_until_values_are_frozen_anew(home: Home) -> None:
    rows = home.con.execute("from intermediate.int_linkage_records").to_arrow_table().to_pylist()
    home.link()
    home.publish()
    for row in rows[::20]:
        row["email_std"] = "nieuw@kassa.example"
    home.load(rows)
    part = home.link()
    home.publish()
    assert part.mode == "incremental"
    full = home.link(How.RECONCILE)
    assert full.suppressed.get("email", 0) == part.suppressed.get("email", 0) + 1
    assert full.unlisted_values == 0
