"""Conflict-aware clusters: the rounds give the partition of the sequential greedy merge."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from klantbeeld.identity.clustering import (
    DETERMINISTIC_WEIGHT,
    NEVER_MET,
    REPEATED,
    REPEATED_AT_MOST,
    Constraints,
    Evidence,
    Scale,
    Step,
    cluster_records,
    connected_components,
)

Pair = tuple[int, int, float, float]


def _evidence(bits: NDArray[np.float64]) -> Evidence:
    """What pairs say, all of it of one kind."""
    levels = np.empty((len(bits), 0), dtype=np.int8)
    return Evidence(levels, bits, np.zeros(len(bits)), Scale())


def _run(
    count: int,
    pairs: list[Pair],
    threshold: float = 0.0,
    constraints: Constraints | None = None,
) -> list[int]:
    left, right, weight, evidence = (
        np.array([pair[n] for pair in pairs], dtype=kind)
        for n, kind in enumerate((np.int64, np.int64, np.float64, np.float64))
    )
    clusters = cluster_records(
        count, left, right, weight, _evidence(evidence), threshold, constraints=constraints
    )
    return [int(label) for label in clusters.labels]


def _sequential(count: int, pairs: list[Pair], threshold: float = 0.0) -> list[int]:
    """Strongest pair first; merge if all that is known between the two clusters is in favour."""
    labels = list(range(count))
    clean = list(range(count))
    for left, right, weight, _ in pairs:
        if weight >= threshold:
            old, new = max(clean[left], clean[right]), min(clean[left], clean[right])
            clean = [new if label == old else label for label in clean]
    conflicted = {
        clean[left]
        for left, right, weight, _ in pairs
        if clean[left] == clean[right] and weight < 0
    }
    for left, right, weight, _ in sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1])):
        a, b = labels[left], labels[right]
        if weight < threshold or a == b:
            continue
        between = [pair for pair in pairs if {labels[pair[0]], labels[pair[1]]} == {a, b}]
        said = [pair[3] for pair in between if pair[2] < DETERMINISTIC_WEIGHT and pair[3]]
        said_by = max(len(said), 1)
        total = sum(said) / said_by * min(said_by, REPEATED_AT_MOST) ** REPEATED
        total += sum(pair[2] for pair in between if pair[2] >= DETERMINISTIC_WEIGHT)
        pairs_between = labels.count(a) * labels.count(b)
        total += NEVER_MET * (pairs_between - len(between)) / pairs_between
        if total > 0:
            labels = [min(a, b) if label in (a, b) else label for label in labels]
    return [
        labels[record] if clean[record] in conflicted else clean[record] for record in range(count)
    ]


weights = st.integers(-15, 15).map(float)
graphs = st.integers(2, 9).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.dictionaries(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(
                lambda pair: pair[0] < pair[1]
            ),
            st.tuples(weights | st.just(DETERMINISTIC_WEIGHT), st.integers(0, 8)),
            max_size=20,
        ),
    )
)


@given(graph=graphs)
@settings(max_examples=300, derandomize=True)
def test_rounds_give_the_partition_of_the_sequential_merge(
    graph: tuple[int, dict[tuple[int, int], tuple[float, int]]],
) -> None:
    count, found = graph
    pairs = [
        (left, right, weight, weight if weight >= DETERMINISTIC_WEIGHT else weight + more)
        for (left, right), (weight, more) in found.items()
    ]
    assert _run(count, pairs) == _sequential(count, pairs)


@given(graph=graphs)
@settings(max_examples=100, derandomize=True)
def test_steps_tell_how_the_conflicted_clusters_were_made(
    graph: tuple[int, dict[tuple[int, int], tuple[float, int]]],
) -> None:
    count, found = graph
    left, right = (np.array([pair[n] for pair in found], dtype=np.int64) for n in (0, 1))
    weight = np.array([weight for weight, _ in found.values()], dtype=np.float64)
    steps: list[Step] = []
    clusters = cluster_records(count, left, right, weight, _evidence(weight), 0.0, steps)
    labels = np.arange(count)
    for step in steps:
        a, b = labels[left[step.edge]], labels[right[step.edge]]
        assert a != b
        assert step.is_accepted == (step.in_favour > 0)
        if step.is_accepted:
            labels[labels == max(a, b)] = min(a, b)
    assert [weight[step.edge] for step in steps] == sorted(
        (weight[step.edge] for step in steps), reverse=True
    )
    merged = {int(labels[left[step.edge]]) for step in steps}
    for record in range(count):
        if int(labels[record]) in merged:
            assert labels[record] == clusters.labels[record]


def test_a_chain_without_contradiction_is_one_person() -> None:
    assert _run(4, [(0, 1, 5, 5), (1, 2, 5, 5)]) == [0, 0, 0, 3]


def test_a_record_that_fits_two_people_does_not_join_them() -> None:
    # "J. Jansen" (1) at an address where Jan (0) and Jolanda (2) live.
    assert _run(3, [(0, 1, 6, 6), (1, 2, 3, 3), (0, 2, -9, -8)]) == [0, 0, 2]


def test_one_odd_record_does_not_tear_a_person_apart() -> None:
    pairs: list[Pair] = [(a, b, 9, 9) for a in range(4) for b in range(a + 1, 4)]
    pairs += [(0, 4, 8, 8), (1, 4, 8, 8), (2, 4, 8, 8), (3, 4, -6, -6)]
    assert _run(5, pairs) == [0] * 5


def test_a_verified_key_outweighs_what_contradicts_it() -> None:
    assert _run(2, [(0, 1, DETERMINISTIC_WEIGHT, DETERMINISTIC_WEIGHT)]) == [0, 0]
    joined = [(0, 1, DETERMINISTIC_WEIGHT, DETERMINISTIC_WEIGHT), (1, 2, 4, 4), (0, 2, -12, -12)]
    assert _run(3, joined) == [0, 0, 2]


def test_what_many_pairs_repeat_counts_once() -> None:
    # Two namesakes, three records each: every pair agrees on the name, one shows the birth dates.
    name, date = 4.0, -9.0
    ends = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    levels = np.array(
        [(0 if (a < 3) == (b < 3) else 1, 0 if (a, b) == (0, 3) else -1) for a, b in ends],
        dtype=np.int8,
    )
    weight = np.array(
        [20.0 if level == 0 else name + date * (date_level == 0) for level, date_level in levels]
    )
    scale = Scale((np.array([20.0, name]), np.array([date])), (np.zeros(2), np.zeros(1)))
    nothing = np.zeros(len(ends))
    left, right = (np.array([pair[n] for pair in ends]) for n in (0, 1))
    evidence = Evidence(levels, nothing, nothing, scale)
    labels = cluster_records(6, left, right, weight, evidence, 0.0).labels
    assert labels.tolist() == [0, 0, 0, 3, 3, 3]


def test_of_two_crowds_that_share_a_name_the_larger_does_not_take_the_other_in() -> None:
    # A pair that agrees on the name alone is below chance; one pair of all 900 looks like more.
    each, name, own, prior = 30, 8.0, 30.0, -13.0
    ends = [(a, b) for a in range(2 * each) for b in range(a + 1, 2 * each)]
    levels = np.array(
        [[0 if (a < each) == (b < each) else 2 if (a, b) == (0, each) else 1] for a, b in ends],
        dtype=np.int8,
    )
    worth = np.array([own, name, 15.0])
    scale = Scale((worth,), (np.full(3, 40.0),), prior)
    nothing = np.zeros(len(ends))
    left, right = (np.array([pair[n] for pair in ends]) for n in (0, 1))
    weight = worth[levels[:, 0]] + prior
    evidence = Evidence(levels, nothing, nothing, scale)
    labels = cluster_records(2 * each, left, right, weight, evidence, 0.0).labels
    assert labels.tolist() == [0] * each + [each] * each


def test_nothing_to_join() -> None:
    assert _run(3, []) == [0, 1, 2]
    assert _run(0, []) == []


@given(
    graph=graphs,
    same=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=3),
    different=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=4),
)
@settings(max_examples=150, derandomize=True)
def test_decisions_bind_whatever_the_weights_say(
    graph: tuple[int, dict[tuple[int, int], tuple[float, int]]],
    same: list[tuple[int, int]],
    different: list[tuple[int, int]],
) -> None:
    count, found = graph
    pairs = [(*pair, weight, weight - less) for pair, (weight, less) in found.items()]
    same = [pair for pair in same if max(pair) < count]
    left, right = (np.array([pair[n] for pair in same], dtype=np.int64) for n in (0, 1))
    representative = connected_components(count, left, right)
    apart = {
        (min(a, b), max(a, b))
        for a, b in (
            (int(representative[one]), int(representative[other]))
            for one, other in different
            if max(one, other) < count
        )
        if a != b
    }
    apart_left, apart_right = (np.array([p[n] for p in apart], dtype=np.int64) for n in (0, 1))
    constraints = Constraints(representative, apart_left, apart_right)
    labels = _run(count, pairs, constraints=constraints)

    assert all(labels[one] == labels[other] for one, other in same)
    assert all(labels[one] != labels[other] for one, other in apart)
    assert all(label == labels.index(label) for label in labels)
    # Every cluster hangs together by pairs that join, or by decisions.
    joins = [(a, b) for a, b, weight, _ in pairs if weight >= 0 and labels[a] == labels[b]]
    ends = np.array([*joins, *same], dtype=np.int64).reshape(-1, 2)
    assert connected_components(count, ends[:, 0], ends[:, 1]).tolist() == labels
    # Nobody whom no decision reaches, along joining pairs, is touched by one.
    every = [(a, b) for a, b, weight, _ in pairs if weight >= 0]
    ends = np.array([*every, *same], dtype=np.int64).reshape(-1, 2)
    reach = connected_components(count, ends[:, 0], ends[:, 1])
    touched = {int(reach[n]) for pair in [*same, *apart] for n in pair}
    plain = _run(count, pairs)
    for record in range(count):
        if int(reach[record]) not in touched:
            assert labels[record] == plain[record]


def test_what_is_decided_brings_fellows_along_and_nobody_else() -> None:
    nobody = np.empty(0, dtype=np.int64)
    # 0 and 1 are alike, 2 and 3 are; 4 is like 3, and unlike all others.
    pairs = [(0, 1, 9.0, 9.0), (2, 3, 9.0, 9.0), (3, 4, 3.0, 3.0), (2, 4, -9.0, -9.0)]
    pairs += [(a, b, -15.0, -15.0) for a in (0, 1) for b in (2, 3, 4)]
    assert _run(5, pairs) == [0, 0, 2, 2, 4]
    one = Constraints(np.array([0, 1, 0, 3, 4]), nobody, nobody)
    assert _run(5, pairs, constraints=one) == [0, 0, 0, 0, 4]
    # Where another decision forbids a fellow, it stays behind, and nobody else does.
    but = Constraints(np.array([0, 1, 0, 3, 4]), np.array([0]), np.array([3]))
    assert _run(5, pairs, constraints=but) == [0, 0, 0, 3, 4]


def test_steps_keep_naming_the_pairs_that_were_given() -> None:
    pairs = [(0, 1, 9.0, 9.0), (1, 2, 8.0, 8.0), (0, 3, 7.0, 7.0), (2, 3, 6.0, 6.0)]
    left, right, weight, bits = (np.array([pair[n] for pair in pairs]) for n in range(4))
    constraints = Constraints(np.array([0, 1, 2, 2]), np.array([0]), np.array([2]))
    steps: list[Step] = []
    labels = cluster_records(
        4, left, right, weight, _evidence(bits), 0.0, steps, constraints
    ).labels
    assert labels.tolist() == [0, 0, 2, 2]
    assert [(step.edge, step.is_accepted) for step in steps] == [
        (0, True),
        (1, False),
        (2, False),
    ]
