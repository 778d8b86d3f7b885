"""Lasting ids: against a small reference model, through the real control plane."""

import itertools
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.control.store import raise_epoch
from klantbeeld.control.tables import profile_id_events, profile_ids, profile_records
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.aliases import add_aliases, carry_over, read_aliases
from klantbeeld.identity.clustering import Evidence, Scale, cluster_records
from klantbeeld.identity.constraints import bind, read_decided
from klantbeeld.identity.decisions import DIFFERENT, SAME, decide, read_decisions, revoke
from klantbeeld.identity.profile_ids import (
    PendingProfileIds,
    assign_profile_ids,
    commit_profile_ids,
    match_greedily,
    read_history,
    render_ids,
)
from klantbeeld.settings import load_settings

KEY = bytes(range(32))
RECORDS = [f"crm:contact:{number:02d}" for number in range(14)]
Partition = list[set[str]]


@dataclass
class Reference:
    """The rule, written as it reads."""

    members: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    former: dict[str, set[str]] = field(default_factory=dict)
    resolves: dict[str, str | None] = field(default_factory=dict)
    last: int = 0

    def rekey(self, old: str, new: str) -> None:
        """The new record stands where the old one stood."""
        if old in self.members:
            self.members[new] = self.members.pop(old)
        for records in self.former.values():
            if old in records:
                records.remove(old)
                records.add(new)

    def publish(self, clusters: Partition) -> None:
        clusters = sorted(clusters, key=min)
        given: dict[int, str] = {}
        held = {
            profile: {record for record, owner in self.members.items() if owner == profile}
            for profile, status in self.status.items()
            if status == "active"
        }
        self._greedy(given, held, clusters, dict.fromkeys(range(len(clusters)), 1))
        known = set(self.members) | {
            record for records in self.former.values() for record in records
        }
        needed = {
            number: len(cluster & known)
            for number, cluster in enumerate(clusters)
            if number not in given
        }
        self._greedy(given, self.former, clusters, needed)
        for number in range(len(clusters)):
            if number not in given:
                self.last += 1
                given[number] = str(render_ids(np.array([self.last], dtype=np.uint64), KEY)[0])
                self.numbers[given[number]] = self.last
        members = {
            record: given[number] for number, cluster in enumerate(clusters) for record in cluster
        }
        for profile, records in held.items():
            if profile not in given.values():
                self.former[profile] = records
        for profile in given.values():
            self.former.pop(profile, None)
        self.members = members
        active = set(given.values())
        resolved: dict[str, str | None] = dict.fromkeys(active)
        for profile in self.numbers:
            if profile in active:
                self.status[profile] = "active"
                continue
            heirs = [members[record] for record in self.former[profile] if record in members]
            if heirs:
                best = min(set(heirs), key=lambda heir: (-heirs.count(heir), self.numbers[heir]))
                resolved[profile] = best
        for profile in self.numbers:
            if profile not in resolved:
                target = self.resolves.get(profile)
                while target is not None and target not in active:
                    target = resolved.get(target) or self.resolves.get(target)
                resolved[profile] = target
            if profile not in active:
                self.status[profile] = "merged" if resolved[profile] else "retired"
        self.resolves = resolved

    def _greedy(
        self,
        given: dict[int, str],
        sets: dict[str, set[str]],
        clusters: Partition,
        at_least: dict[int, int],
    ) -> None:
        pairs = sorted(
            (-len(records & clusters[number]), self.numbers[profile], number, profile)
            for profile, records in sets.items()
            for number in range(len(clusters))
            if number in at_least and len(records & clusters[number]) >= max(at_least[number], 1)
        )
        for _, _, number, profile in pairs:
            if number not in given and profile not in given.values():
                given[number] = profile


def _clusters(partition: Partition, order: random.Random | None = None) -> pa.Table:
    rows = [(record, number) for number, cluster in enumerate(partition) for record in cluster]
    if order is not None:
        names = list(range(100, 100 + len(partition)))
        order.shuffle(names)
        order.shuffle(rows)
        rows = [(record, names[number]) for record, number in rows]
    return pa.table(
        {
            "record_id": pa.array([row[0] for row in rows], pa.string()),
            "cluster": pa.array([row[1] for row in rows], pa.int64()),
        }
    )


def _pending(control: ControlPlane, clusters: pa.Table, state: str) -> PendingProfileIds:
    con = duckdb.connect()
    con.register("people", clusters)
    official = read_history(control)
    history = carry_over(con, official, read_aliases(control))
    con.unregister("people")
    assign_profile_ids(con, clusters, history, KEY)
    pending = PendingProfileIds(
        con.execute("from assigned_records").to_arrow_table(),
        con.execute("from current_profile_ids").to_arrow_table(),
        con.execute(
            "select profile_id, event, other_profile_id from profile_id_changes "
            "where record_id is null"
        ).to_arrow_table(),
        based_on=history.state,
        state=f"{history.epoch}:{state}",
        official=official,
    )
    con.close()
    return pending


def _publish(control: ControlPlane, partition: Partition, version: str) -> PendingProfileIds:
    pending = _pending(control, _clusters(partition, random.Random(version)), version)
    with control.begin() as connection:
        commit_profile_ids(connection, pending, version)
    return pending


def _official(control: ControlPlane) -> dict[str, str]:
    with control.read() as connection:
        rows = connection.execute(
            sa.select(profile_records.c.record_id, profile_records.c.profile_id)
        )
        return {row.record_id: row.profile_id for row in rows}


def _current(pending: PendingProfileIds) -> dict[str, str | None]:
    return {row["profile_id"]: row["current_profile_id"] for row in pending.ids.to_pylist()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("template")
    open_control(load_settings(home=home)).close()
    return home


@pytest.fixture
def control(template: Path, tmp_path: Path) -> ControlPlane:
    shutil.copytree(template, tmp_path / "home")
    return open_control(load_settings(home=tmp_path / "home"))


partitions = st.lists(
    st.integers(min_value=-1, max_value=5), min_size=len(RECORDS), max_size=len(RECORDS)
).map(
    lambda labels: [
        {record for record, label in zip(RECORDS, labels, strict=True) if label == wanted}
        for wanted in sorted(set(labels) - {-1})
    ]
)


class Lifetimes(RuleBasedStateMachine):
    """Runs, one after another: what evidence says, what people decide, under which keys.

    Every publish gets its records in another order and under other cluster numbers, and is made
    from the control plane alone, as after the loss of the warehouse.
    """

    home_template: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ids-"))
        shutil.copytree(self.home_template, self.folder / "home")
        self.control = open_control(load_settings(home=self.folder / "home"))
        self.reference = Reference()
        self.evidence: Partition = []
        self.partition: Partition = []
        self.before_merge: Partition = []
        self.undecided: dict[str, str] = {}
        self.keys = {record: record for record in RECORDS}
        self.version = 0
        self.pending: PendingProfileIds | None = None

    def _go(self, evidence: Partition) -> None:
        if evidence != self.evidence:
            self.undecided = {}
        self.evidence = [set(cluster) for cluster in evidence if cluster]
        self.partition = self._clusters()
        self.version += 1
        self.pending = _publish(self.control, self.partition, f"v{self.version}")
        self.reference.publish(self.partition)

    def _clusters(self) -> Partition:
        """What the clustering makes of the evidence and the decisions in force."""
        names = sorted(self.keys[record] for cluster in self.evidence for record in cluster)
        con = duckdb.connect()
        con.execute("create table people (id bigint, record_id varchar)")
        con.executemany("insert into people values (?, ?)", list(enumerate(names)) or [[0, ""]])
        binding = bind(con, read_decided(self.control), len(names))
        con.close()
        number = {name: place for place, name in enumerate(names)}
        pairs = [
            sorted((number[self.keys[one]], number[self.keys[other]]))
            for cluster in self.evidence
            for one, other in itertools.combinations(sorted(cluster), 2)
        ]
        ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        weight = np.full(len(ends), 9.0)
        levels = np.empty((len(ends), 0), dtype=np.int8)
        evidence = Evidence(levels, weight, np.zeros(len(ends)), Scale())
        labels = cluster_records(
            len(names), ends[:, 0], ends[:, 1], weight, evidence, 0.0, None, binding.constraints
        ).labels
        return [
            {name for name, label in zip(names, labels.tolist(), strict=True) if label == wanted}
            for wanted in sorted(set(labels.tolist()))
        ]

    @rule(partition=partitions)
    def new_evidence(self, partition: Partition) -> None:
        self._go(partition)

    @rule(data=st.data())
    def merge_two(self, data: st.DataObject) -> None:
        if len(self.evidence) < 2:
            return
        one, two = data.draw(
            st.lists(
                st.sampled_from(range(len(self.evidence))), min_size=2, max_size=2, unique=True
            )
        )
        rest = [c for n, c in enumerate(self.evidence) if n not in (one, two)]
        self.before_merge = self.evidence
        self._go([*rest, self.evidence[one] | self.evidence[two]])

    @rule()
    def undo_merge(self) -> None:
        self._go(self.before_merge or self.evidence)

    @rule(data=st.data())
    def split_one(self, data: st.DataObject) -> None:
        large = [n for n, cluster in enumerate(self.evidence) if len(cluster) > 1]
        if not large:
            return
        number = data.draw(st.sampled_from(large))
        records = sorted(self.evidence[number])
        at = data.draw(st.integers(1, len(records) - 1))
        rest = [c for n, c in enumerate(self.evidence) if n != number]
        self._go([*rest, set(records[:at]), set(records[at:])])

    @rule()
    def again(self) -> None:
        before = dict(self.reference.members)
        self._go(self.evidence)
        assert self.reference.members == before

    @rule(data=st.data())
    def rekey(self, data: st.DataObject) -> None:
        record = data.draw(st.sampled_from(RECORDS))
        old, new = self.keys[record], f"{record}+{self.version}"
        path = self.folder / "rekey.csv"
        path.write_text(f"old_record_id,new_record_id\n{old},{new}\n")
        add_aliases(self.control, path, by="x", why=None, home_key=KEY)
        self.keys[record] = new
        self.reference.rekey(old, new)
        if old in self.undecided:
            self.undecided[new] = self.undecided.pop(old)
        before = dict(self.reference.members)
        self._go(self.evidence)
        assert self.reference.members == before

    @rule(data=st.data(), verdict=st.sampled_from([SAME, DIFFERENT]))
    def decide(self, data: st.DataObject, verdict: str) -> None:
        known = sorted(record for cluster in self.evidence for record in cluster)
        if len(known) < 2 or read_decisions(self.control):
            return
        one, other = (
            self.keys[record]
            for record in data.draw(
                st.lists(st.sampled_from(known), min_size=2, max_size=2, unique=True)
            )
        )
        before = dict(self.reference.members)
        decide(self.control, verdict, [(one, other)], by="x", why="y")
        self._go(self.evidence)
        self.undecided = before
        together = self.reference.members[one] == self.reference.members[other]
        assert together == (verdict == SAME)

    @rule()
    def undo_decision(self) -> None:
        for decision in read_decisions(self.control):
            revoke(self.control, decision.decision_id, by="x", why="y")
        expected = self.undecided
        self._go(self.evidence)
        # With nothing else changed in between, everybody has the id from before it.
        if expected:
            assert self.reference.members == expected
        self.undecided = {}

    @invariant()
    def as_the_reference_says(self) -> None:
        if getattr(self, "pending", None) is None:
            return
        assert _official(self.control) == self.reference.members
        assert {k: v for k, v in _current(self.pending).items() if k != v} == {
            k: v for k, v in self.reference.resolves.items() if self.reference.status[k] != "active"
        }
        with self.control.read() as connection:
            rows = connection.execute(sa.select(profile_ids)).all()
        assert {row.profile_id: row.number for row in rows} == self.reference.numbers
        assert {row.profile_id: row.status for row in rows} == self.reference.status

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.control.close()
            shutil.rmtree(self.folder)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("examples", "steps"), [(6, 6), pytest.param(40, 15, marks=pytest.mark.long)]
)
def test_ids_live_as_the_reference_says(template: Path, examples: int, steps: int) -> None:
    Lifetimes.home_template = template
    case = Lifetimes.TestCase()
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case.runTest()


def test_an_undone_merge_gives_the_id_back_to_its_records(control: ControlPlane) -> None:
    a, b = set(RECORDS[:3]), set(RECORDS[3:5])
    _publish(control, [a, b], "v1")
    before = _official(control)
    merged = _publish(control, [a | b], "v2")
    lost = before[RECORDS[3]]
    assert _current(merged)[lost] == before[RECORDS[0]]
    revived = _publish(control, [a, b], "v3")
    assert _official(control) == before
    assert _current(revived)[lost] == lost
    _publish(control, [a | b], "v4")
    _publish(control, [a, b | {RECORDS[2]}], "v5")
    assert _official(control)[RECORDS[3]] not in before.values()
    with control.read() as connection:
        events = connection.execute(
            sa.select(profile_id_events.c.version_id, profile_id_events.c.event)
        ).all()
    assert [tuple(row) for row in events if row.version_id != "v1"] == [
        ("v2", "merged"),
        ("v3", "revived"),
        ("v4", "merged"),
        ("v5", "split"),
    ]


def test_a_source_that_is_away_for_a_run_finds_its_ids_again(control: ControlPlane) -> None:
    everyone = [{record} for record in RECORDS]
    _publish(control, everyone, "v1")
    before = _official(control)
    away = _publish(control, everyone[:4], "v2")
    assert _current(away)[before[RECORDS[9]]] is None
    _publish(control, everyone, "v3")
    assert _official(control) == before


@given(partition=partitions, seed=st.integers(0, 10_000))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_order_and_labels_of_the_input_do_not_matter(
    control: ControlPlane, partition: Partition, seed: int
) -> None:
    plain = _pending(control, _clusters(partition), "x")
    shuffled = _pending(control, _clusters(partition, random.Random(seed)), "x")
    assert plain == shuffled


def test_a_repeated_run_hands_out_the_same_ids(control: ControlPlane) -> None:
    first = _pending(control, _clusters([{record} for record in RECORDS]), "v1")
    second = _pending(control, _clusters([{record} for record in RECORDS]), "v1")
    assert first == second


def test_a_restored_home_never_issues_an_id_a_second_time(control: ControlPlane) -> None:
    _publish(control, [{RECORDS[0]}], "v1")
    backup = control.path.with_name("backup.db")
    control.copy_to(backup)
    lost = _publish(control, [{RECORDS[0]}, {RECORDS[1]}], "v2")
    control.close()
    shutil.copy(backup, control.path)
    raise_epoch(control.path)
    restored = open_control(load_settings(home=control.path.parent))
    again = _publish(restored, [{RECORDS[0]}, {RECORDS[2]}], "v2")
    issued_twice = set(_current(lost)) & set(_current(again))
    assert issued_twice == {_official(restored)[RECORDS[0]]}


def test_ids_made_from_an_older_state_are_refused(control: ControlPlane) -> None:
    stale = _pending(control, _clusters([{RECORDS[0]}]), "stale")
    _publish(control, [{RECORDS[1]}], "v1")
    with pytest.raises(KlantbeeldError, match="published since"), control.begin() as connection:
        commit_profile_ids(connection, stale, "v2")


def test_committing_twice_writes_once(control: ControlPlane) -> None:
    pending = _publish(control, [{RECORDS[0]}, {RECORDS[1]}], "v1")
    with control.begin() as connection:
        commit_profile_ids(connection, pending, "v1-again")
        events = connection.scalar(sa.select(sa.func.count()).select_from(profile_id_events))
    assert events == 2


def test_rendered_ids_are_one_to_one_and_tell_nothing() -> None:
    numbers = np.arange(1, 200_001, dtype=np.uint64)
    ids = render_ids(numbers, KEY)
    assert len(set(ids)) == len(ids)
    assert all(len(name) == 14 and name[0] == "P" for name in ids[:1000])
    assert not set("".join(ids[:1000])) & set("ILOU")
    assert list(render_ids(numbers[:3], KEY)) == list(ids[:3])
    assert not set(ids) & set(render_ids(numbers, b"another key" * 3))
    # Neighbours agree in no more places than chance has it (1 in 32).
    same = sum(
        a == b
        for one, two in itertools.pairwise(ids[:501])
        for a, b in zip(one[1:], two[1:], strict=True)
    )
    assert same / (500 * 13) < 0.06


@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4)), max_size=25)
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_rounds_match_as_the_sequential_rule(pairs: list[tuple[int, int, int]]) -> None:
    unique = {(one, two): shared for one, two, shared in pairs}
    expected: dict[int, int] = {}
    for (one, two), _ in sorted(unique.items(), key=lambda item: (-item[1], item[0])):
        if two not in expected and one not in expected.values():
            expected[two] = one
    ids, clusters, shared = (
        np.array([row[n] for row in [(a, b, s) for (a, b), s in unique.items()]], dtype=np.int64)
        for n in range(3)
    )
    given_ids = np.full(7, -1, dtype=np.int64)
    match_greedily(given_ids, 7, ids, clusters, shared)
    assert {n: int(one) for n, one in enumerate(given_ids) if one >= 0} == expected
