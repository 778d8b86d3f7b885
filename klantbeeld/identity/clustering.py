"""From weighed pairs to people: connected components, then a conflict-aware merge where needed.

Here: arrays in, labels out; NumPy and SciPy, no engine. Not here: what makes a weight (`linking`),
what people decided (`decisions`), lasting ids (`profile_ids`).

Most components hold no evidence against themselves and are taken whole. In the others, edges are
taken strongest first, and two clusters are merged only if all that is known between them, for and
against, is in favour. That is the sequential greedy merge; it runs in rounds over all components at
once: an edge that is the strongest of both its clusters can be decided now, because nothing weaker
can change either of them before its turn comes.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Bits. One pair, however sure, does not outvote all others between two clusters.
MOST_FOR: Final = 12.0
MOST_AGAINST: Final = 12.0
# That no blocking rule brought two records together is weak evidence against them.
NEVER_MET: Final = -2.0
DETERMINISTIC_WEIGHT: Final = 60.0
FORBIDDEN: Final = -np.inf


@dataclass(frozen=True)
class Clusters:
    """A partition of records.

    Attributes:
        labels: Per record, the smallest record number of its cluster.
        components: The number of connected components of the accepted edges.
        conflicted: How many of them held evidence against themselves.
        rounds: Rounds that the conflict-aware merge took.
    """

    labels: Ints
    components: int
    conflicted: int
    rounds: int


@dataclass(frozen=True)
class Step:
    """One decision of the conflict-aware merge: two clusters met, and became one or did not.

    Attributes:
        edge: The position, in the arrays given, of the pair that brought them together.
        in_favour: Bits of all that is known between the two clusters; above 0 they become one.
        never_met: Pairs of their records that were never weighed.
        is_accepted: Whether they became one.
    """

    edge: int
    in_favour: float
    never_met: int
    is_accepted: bool


@dataclass(frozen=True)
class Constraints:
    """What clusters must obey, whatever the weights say.

    Attributes:
        representative: Per record, the smallest number of those it must be with; itself if none.
        apart_left: Representatives that must not be in one cluster with
        apart_right: these.
    """

    representative: Ints
    apart_left: Ints
    apart_right: Ints


def connected_components(count: int, left: Ints, right: Ints) -> Ints:
    """Label records by component; the label is the smallest record number in it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components as components_of

    ones = np.ones(len(left), dtype=np.int8)
    graph = coo_array((ones, (left, right)), shape=(count, count))
    _, labels = components_of(graph, directed=False)
    smallest = np.full(int(labels.max(initial=-1)) + 1, count, dtype=np.int64)
    np.minimum.at(smallest, labels, np.arange(count, dtype=np.int64))
    components: Ints = smallest[labels]
    return components


def cluster_records(
    count: int,
    left: Ints,
    right: Ints,
    weight: Floats,
    evidence: Floats,
    threshold: float,
    steps: list[Step] | None = None,
    constraints: Constraints | None = None,
) -> Clusters:
    """Put records together.

    Args:
        count: The number of records; they are numbered from 0.
        left: Per weighed pair, one record; a pair occurs once.
        right: The other record.
        weight: Bits for (positive) or against (negative) their being one person. From
            `DETERMINISTIC_WEIGHT` on the pair is not subject to the limit on what one pair may
            contribute.
        evidence: The same, for two records that others already connect: what the pair says when two
            clusters are weighed. Less sceptical than `weight`, as the two are no longer drawn at
            random.
        threshold: Only pairs of at least this weight join records.
        steps: Gets the decisions taken in components that hold a conflict, in the order in which
            one after the other would take them.
        constraints: What must be together and what must not, chains included.

    Returns:
        The partition.
    """
    if constraints is not None:
        return _cluster_constrained(
            count, left, right, weight, evidence, threshold, constraints, steps
        )
    joins = weight >= threshold
    component = connected_components(count, left[joins], right[joins])
    inside = component[left] == component[right]
    against = inside & (evidence < 0) & (weight < DETERMINISTIC_WEIGHT)
    in_conflict = np.zeros(count, dtype=bool)
    in_conflict[component[left[against]]] = True
    conflicted = int(in_conflict.sum())
    components = int(np.count_nonzero(component == np.arange(count)))
    if conflicted == 0:
        return Clusters(component, components, 0, 0)
    held = in_conflict[component]
    labels = np.where(held, np.arange(count, dtype=np.int64), component)
    used = inside & held[left]
    say = np.clip(evidence, -MOST_AGAINST, MOST_FOR)
    say = np.where((weight >= DETERMINISTIC_WEIGHT) | (weight == FORBIDDEN), weight, say)
    # Rank 0 is the strongest edge; equal weights in the order of record numbers.
    order = np.flatnonzero(used)
    order = order[np.lexsort((right[order], left[order], -weight[order]))]
    taken: list[Step] | None = None if steps is None else []
    rounds = _merge_where_in_favour(
        labels, left[order], right[order], say[order], joins[order], component, taken
    )
    if steps is not None and taken is not None:
        taken.sort(key=lambda step: step.edge)
        steps += [replace(step, edge=int(order[step.edge])) for step in taken]
    return Clusters(labels, components, conflicted, rounds)


def _cluster_constrained(
    count: int,
    left: Ints,
    right: Ints,
    weight: Floats,
    evidence: Floats,
    threshold: float,
    constraints: Constraints,
    steps: list[Step] | None,
) -> Clusters:
    """Cluster by evidence without the pairs that are forbidden, then put together what must be.

    So a decision that two unlike records are one person brings their fellows along, drives off
    nobody, and makes nobody else more alike. Only where what must be together would bring together
    what must not, those records are clustered once more, each group as one record.
    """
    representative, apart = constraints.representative, constraints.apart_left
    never = np.full(len(apart), FORBIDDEN)
    taken: list[Step] | None = None if steps is None else []
    clusters = cluster_records(
        count,
        np.concatenate([left, apart]),
        np.concatenate([right, constraints.apart_right]),
        np.concatenate([weight, never]),
        np.concatenate([evidence, never]),
        threshold,
        taken,
    )
    everyone = np.arange(count, dtype=np.int64)
    labels = connected_components(
        count,
        np.concatenate([everyone, everyone]),
        np.concatenate([clusters.labels, representative]),
    )
    is_broken = np.zeros(count, dtype=bool)
    is_broken[labels[apart[labels[apart] == labels[constraints.apart_right]]]] = True
    is_broken = is_broken[labels]
    if steps is not None and taken is not None:
        steps += [step for step in taken if not is_broken[left[step.edge]]]
        taken = []
    if is_broken.any():
        again = np.flatnonzero(is_broken[left] & is_broken[right])
        low, high, used = _fold(representative, left[again], right[again], weight[again])
        folded = cluster_records(
            count,
            np.concatenate([low, apart]),
            np.concatenate([high, constraints.apart_right]),
            np.concatenate([weight[again[used]], never]),
            np.concatenate([evidence[again[used]], never]),
            threshold,
            taken,
        )
        labels = np.where(is_broken, folded.labels[representative], labels)
        if steps is not None and taken is not None:
            steps += [replace(step, edge=int(again[used[step.edge]])) for step in taken]
    return replace(clusters, labels=labels)


def _fold(representative: Ints, left: Ints, right: Ints, weight: Floats) -> tuple[Ints, Ints, Ints]:
    """Pairs between groups, each by the strongest pair of their records.

    Returns:
        Two representatives per pair, and the position of the pair that speaks for them.
    """
    a, b = representative[left], representative[right]
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.flatnonzero(low != high)
    order = order[np.lexsort((-weight[order], high[order], low[order]))]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    used = order[is_first]
    return low[used], high[used], used


def _merge_where_in_favour(
    labels: Ints,
    left: Ints,
    right: Ints,
    say: Floats,
    undecided: Flags,
    component: Ints,
    steps: list[Step] | None,
) -> int:
    """Merge clusters in place, pairs strongest first, and return the rounds it took."""
    count = len(labels)
    rank = np.arange(len(left), dtype=np.int64)
    none = np.int64(len(rank))
    size = np.bincount(labels, minlength=count)
    strongest = np.full(count, none, dtype=np.int64)
    edge_of = np.full(count, -1, dtype=np.int64)
    partner = np.full(count, -1, dtype=np.int64)
    into = np.arange(count, dtype=np.int64)
    rounds = 0
    while True:
        a, b = labels[left], labels[right]
        open_edges = undecided & (a != b)
        # Components without an open edge are done; what remains shrinks quickly.
        active = np.zeros(count, dtype=bool)
        active[component[left[open_edges]]] = True
        keep = active[component[left]] & (a != b)
        if not keep.any():
            return rounds
        rounds += 1
        left, right, say, rank = left[keep], right[keep], say[keep], rank[keep]
        undecided, a, b = undecided[keep], a[keep], b[keep]
        strongest[a] = none
        strongest[b] = none
        np.minimum.at(strongest, a[undecided], rank[undecided])
        np.minimum.at(strongest, b[undecided], rank[undecided])
        decided = np.flatnonzero(undecided & (strongest[a] == rank) & (strongest[b] == rank))
        # A cluster is in at most one decided edge, so the lower of the two names it.
        low, high = np.minimum(a, b), np.maximum(a, b)
        edge_of[low[decided]] = np.arange(len(decided))
        partner[low[decided]] = high[decided]
        between = partner[low] == high
        edges = edge_of[low[between]]
        total = np.bincount(edges, weights=say[between], minlength=len(decided))
        met = np.bincount(edges, minlength=len(decided))
        pairs = size[low[decided]] * size[high[decided]]
        unweighed = pairs - met
        in_favour = total + NEVER_MET * unweighed
        accepted = decided[in_favour > 0]
        if steps is not None:
            steps += [
                Step(int(rank[edge]), float(bits), int(never_met), bool(bits > 0))
                for edge, bits, never_met in zip(decided, in_favour, unweighed, strict=True)
            ]
        partner[low[decided]] = -1
        undecided[decided] = False
        into[high[accepted]] = low[accepted]
        labels[:] = into[labels]
        size[low[accepted]] += size[high[accepted]]
