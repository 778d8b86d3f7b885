"""Conflict-aware clusters: the rounds give the partition of the sequential greedy merge."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.identity.clustering import (
    DETERMINISTIC_WEIGHT,
    MOST_AGAINST,
    MOST_FOR,
    NEVER_MET,
    Step,
    cluster_records,
)

Pair = tuple[int, int, float, float]


def _run(count: int, pairs: list[Pair], threshold: float = 0.0) -> list[int]:
    left, right, weight, evidence = (
        np.array([pair[n] for pair in pairs], dtype=kind)
        for n, kind in enumerate((np.int64, np.int64, np.float64, np.float64))
    )
    labels = cluster_records(count, left, right, weight, evidence, threshold).labels
    return [int(label) for label in labels]


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
        for left, right, weight, evidence in pairs
        if clean[left] == clean[right] and evidence < 0 and weight < DETERMINISTIC_WEIGHT
    }
    for left, right, weight, _ in sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1])):
        a, b = labels[left], labels[right]
        if weight < threshold or a == b:
            continue
        between = [pair for pair in pairs if {labels[pair[0]], labels[pair[1]]} == {a, b}]
        total = sum(
            pair[2]
            if pair[2] >= DETERMINISTIC_WEIGHT
            else min(MOST_FOR, max(-MOST_AGAINST, pair[3]))
            for pair in between
        )
        total += NEVER_MET * (labels.count(a) * labels.count(b) - len(between))
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
    clusters = cluster_records(count, left, right, weight, weight, 0.0, steps)
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


def test_nothing_to_join() -> None:
    assert _run(3, []) == [0, 1, 2]
    assert _run(0, []) == []
