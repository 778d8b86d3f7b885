"""Weak bridges are those of graph theory, and what is held changes nothing."""

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.identity.clustering import Constraints, connected_components
from klantbeeld.identity.constraints import Binding
from klantbeeld.identity.review import hold
from klantbeeld.settings import IdentitySettings

COUNT = 9
STRONG, WEAK = 9.0, 1.0
records = st.integers(0, COUNT - 1)
pairs = st.tuples(records, records).filter(lambda pair: pair[0] < pair[1])
graphs = st.dictionaries(pairs, st.sampled_from([STRONG, STRONG, WEAK]), max_size=14)
groupings = st.lists(st.integers(-1, 4), min_size=COUNT, max_size=COUNT)


def _engine(graph: dict[tuple[int, int], float]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("create table people as select i as id, 'r' || i as record_id from range(9) t(i)")
    con.execute("create table scored_pairs (id_l bigint, id_r bigint, match_weight double)")
    con.execute("create table deterministic_pairs (id_l bigint, id_r bigint)")
    for (one, other), weight in graph.items():
        con.execute("insert into scored_pairs values (?, ?, ?)", [one, other, weight])
    return con


def _components(edges: list[tuple[int, int]]) -> list[int]:
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return connected_components(COUNT, ends[:, 0], ends[:, 1]).tolist()


def _binding(same: list[tuple[int, int]], disputed: list[int]) -> Binding:
    nobody = np.empty(0, dtype=np.int64)
    representative = np.array(_components(same))
    of = np.full(COUNT, -1)
    of[disputed] = 0
    return Binding(Constraints(representative, nobody, nobody), of, 0, 0, (), pa.table({}))


def _members(profiles: list[int]) -> pa.Table:
    known = [(f"r{record}", f"p{profile}") for record, profile in enumerate(profiles)]
    known = [row for row, profile in zip(known, profiles, strict=True) if profile >= 0]
    return pa.table(
        {
            "record_id": pa.array([row[0] for row in known], pa.string()),
            "profile_id": pa.array([row[1] for row in known], pa.string()),
        }
    )


@given(
    graph=graphs,
    profiles=groupings,
    same=st.lists(pairs, max_size=2),
    disputed=st.lists(records, max_size=2),
    size=st.integers(3, COUNT),
)
@settings(max_examples=25, derandomize=True)
def test_what_is_held_stays_where_it_was(
    graph: dict[tuple[int, int], float],
    profiles: list[int],
    same: list[tuple[int, int]],
    disputed: list[int],
    size: int,
) -> None:
    base = _components([*graph, *same])
    binding = _binding(same, disputed)
    assert binding.constraints is not None
    representative = binding.constraints.representative.tolist()
    held = hold(
        _engine(graph),
        np.array(base),
        binding,
        _members(profiles),
        IdentitySettings(join_probability=0.5, review_size=size),
    )
    bridges = {
        pair
        for pair, weight in graph.items()
        if weight == WEAK
        and (rest := _components([*[other for other in graph if other != pair], *same]))
        and rest[pair[0]] != rest[pair[1]]
        and min(rest.count(rest[end]) for end in pair) >= 2
    }
    found = set(zip(*(ends.tolist() for ends in held.bridges), strict=True))
    assert found == bridges

    large = {
        label
        for label in base
        if base.count(label) > size
        and len({representative[n] for n in range(COUNT) if base[n] == label}) > 1
    }
    assert set(held.large.tolist()) == large
    in_dispute = {base[record] for record in disputed}
    bridged = {base[one] for one, _ in bridges}
    waiting = [record for record in range(COUNT) if base[record] in large | bridged | in_dispute]
    assert np.flatnonzero(held.is_held).tolist() == waiting
    edges = [pair for pair in same if pair[0] in waiting]
    for one in waiting:
        for other in waiting:
            same_area = base[one] == base[other] or {base[one], base[other]} <= in_dispute
            if profiles[one] == profiles[other] >= 0 and same_area:
                edges.append((one, other))
    edges += [
        pair
        for pair in graph
        if pair not in bridges and base[pair[0]] not in large | in_dispute and pair[0] in waiting
    ]
    expected = _components(edges)
    assert held.labels.tolist() == [expected[n] if n in waiting else base[n] for n in range(COUNT)]
    # Published as it is, it is held the same again.
    again = hold(
        _engine(graph),
        np.array(base),
        binding,
        _members(held.labels.tolist()),
        IdentitySettings(join_probability=0.5, review_size=size),
    )
    assert again.labels.tolist() == held.labels.tolist()


def test_a_decision_binds_what_a_contradiction_would_hold_together() -> None:
    # All of one profile; 0 and 1 are in a contradiction, 0 and 3 are decided to differ.
    nobody = np.empty(0, dtype=np.int64)
    base = np.array([0, 0, 0, 3, 4, 5, 6, 7, 8])
    disputed = np.array([0, 0, -1, 0, -1, -1, -1, -1, -1])
    members = _members([1, 1, 1, 1, 2, 3, 4, 5, 6])
    together = Binding(Constraints(np.arange(9), nobody, nobody), disputed, 0, 0, (), pa.table({}))
    labels = hold(_engine({}), base, together, members, IdentitySettings()).labels
    assert labels.tolist() == [0, 0, 0, 0, 4, 5, 6, 7, 8]
    apart = Constraints(np.arange(9), np.array([0]), np.array([3]))
    binding = Binding(apart, disputed, 0, 0, (), pa.table({}))
    labels = hold(_engine({}), base, binding, members, IdentitySettings()).labels
    assert labels.tolist() == [0, 0, 0, 3, 4, 5, 6, 7, 8]
