"""The merge of the link stage once more, over the records around a question, step by step.

Here: which pair put which groups together, and the path between two records. Not here: the rule by
which groups merge (`identity.clustering`, which is what runs here).
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from klantbeeld.identity.clustering import (
    FORBIDDEN,
    Constraints,
    Evidence,
    Scale,
    Step,
    cluster_records,
    connected_components,
)
from klantbeeld.identity.explain.answers import MergeStep, WeighedPair
from klantbeeld.identity.explain.words import edge_weight
from klantbeeld.identity.outcome import STEWARD_KEY

_OTHER_PROFILES: Final = (
    "Linked again with today's settings, these records fall into other profiles than the"
    " published ones; the steps are today's."
)


@dataclass(frozen=True)
class Merge:
    """How records came together.

    Attributes:
        steps: The decisions, strongest pair first.
        labels: A number per record; records of one profile have the same.
    """

    steps: list[MergeStep]
    labels: dict[str, int]

    def path(self, left: str, right: str) -> tuple[WeighedPair, ...]:
        """The pairs that lead from one record to another; none if they did not come together."""
        edges: dict[str, list[tuple[str, WeighedPair]]] = defaultdict(list)
        for step in self.steps:
            if step.is_accepted:
                one, other = step.pair.record_l, step.pair.record_r
                edges[one].append((other, step.pair))
                edges[other].append((one, step.pair))
        came: dict[str, tuple[str, WeighedPair] | None] = {left: None}
        queue = deque([left])
        while queue:
            here = queue.popleft()
            for there, pair in edges[here]:
                if there not in came:
                    came[there] = (here, pair)
                    queue.append(there)
        path = []
        at = came.get(right)
        while at is not None:
            path.append(at[1])
            at = came[at[0]]
        return tuple(reversed(path))

    def in_favour(self, left: str, right: str) -> float | None:
        """Bits between the groups of two records when they were last refused; None if never."""
        ends = {self.labels[left], self.labels[right]}
        found = None
        for step in self.steps:
            met = {self.labels[step.pair.record_l], self.labels[step.pair.record_r]}
            if not step.is_accepted and met == ends:
                found = step.in_favour
        return found

    def disagreements(self, profiles: Mapping[str, str], records: Iterable[str]) -> list[str]:
        """Says so if the merge does not give the profiles that were published."""
        concerned = {profiles[name] for name in records}
        labels = {label for name, label in self.labels.items() if profiles[name] in concerned}
        chosen = [name for name, label in self.labels.items() if label in labels]
        together = {(self.labels[name], profiles[name]) for name in chosen}
        if len(together) == len(labels) == len(concerned):
            return []
        return [_OTHER_PROFILES]


def merge_again(
    records: Sequence[str],
    pairs: Collection[WeighedPair],
    apart: Collection[tuple[str, str]],
    threshold: float,
    scale: Scale,
) -> Merge:
    """Take the steps of the link stage over some records.

    Args:
        records: Record ids, in order.
        pairs: What is known of them; pairs that the link stage did not weigh are left out, those
            that a steward put together are put together last.
        apart: Pairs of records that were decided to be two people.
        threshold: Bits from which a pair joins records.
        scale: What levels are worth when two clusters are weighed.
    """
    number = {name: position for position, name in enumerate(records)}
    decided = [pair for pair in pairs if pair.rule == STEWARD_KEY]
    used = [pair for pair in pairs if pair.decision is not None and pair.rule != STEWARD_KEY]
    used += _evidence_of(decided, used, number, threshold)
    # Where two weigh the same, the first comes first, as in the link stage.
    used.sort(key=lambda pair: (number[pair.record_l], number[pair.record_r]))
    left, right = (
        np.array([number[getattr(pair, end)] for pair in used], dtype=np.int64)
        for end in ("record_l", "record_r")
    )
    weight = np.array([edge_weight(pair) for pair in used], dtype=np.float64)
    rarity = np.array([pair.rarity for pair in used], dtype=np.float64).reshape(-1, 2)
    evidence = Evidence(
        np.array([pair.levels for pair in used], dtype=np.int8).reshape(
            len(used), len(scale.strangers)
        ),
        rarity[:, 0],
        rarity[:, 1],
        scale,
    )
    taken: list[Step] = []
    clusters = cluster_records(
        len(records),
        left,
        right,
        weight,
        evidence,
        threshold,
        steps=taken,
        constraints=_constraints(number, decided, apart),
    )
    joins = weight >= threshold
    component = connected_components(len(records), left[joins], right[joins])
    weighed = {int(component[left[step.edge]]) for step in taken}
    # Where nothing speaks against it every pair that joins would do; the strongest tell most.
    order = np.lexsort((right, left, -weight))
    free = [
        Step(int(edge), 0.0, 0, True)
        for edge in order
        if joins[edge] and int(component[left[edge]]) not in weighed
    ]
    groups = _Groups(len(records))
    steps = []
    for step in sorted([*taken, *free], key=lambda step: (-weight[step.edge], step.edge)):
        a, b = int(left[step.edge]), int(right[step.edge])
        if groups.are_one(a, b):
            continue
        was_weighed = int(component[a]) in weighed
        size = groups.size(a) + groups.size(b)
        is_forbidden = step.in_favour == FORBIDDEN
        steps.append(
            MergeStep(
                used[step.edge],
                size,
                step.in_favour if was_weighed and not is_forbidden else None,
                step.never_met,
                step.is_accepted,
                is_forbidden,
            )
        )
        if step.is_accepted:
            groups.merge(a, b)
    for pair in decided:
        a, b = number[pair.record_l], number[pair.record_r]
        if not groups.are_one(a, b):
            steps.append(MergeStep(pair, groups.size(a) + groups.size(b), None, 0, True))
            groups.merge(a, b)
    labels = {name: int(clusters.labels[position]) for name, position in number.items()}
    return Merge(steps, labels)


def _evidence_of(
    decided: Sequence[WeighedPair],
    used: Sequence[WeighedPair],
    number: Mapping[str, int],
    threshold: float,
) -> list[WeighedPair]:
    """What the link stage knew of the pairs that were decided: it weighs them as any other.

    A version keeps only that they were decided. Those that join were brought together by a rule,
    but for a few; of the others it weighed those of one component.
    """
    pairs = [pair.by_evidence for pair in decided if pair.by_evidence is not None]
    joining = [pair for pair in (*used, *pairs) if edge_weight(pair) >= threshold]
    ends = np.array(
        [(number[pair.record_l], number[pair.record_r]) for pair in joining], dtype=np.int64
    ).reshape(-1, 2)
    component = connected_components(len(number), ends[:, 0], ends[:, 1])
    return [
        pair
        for pair in pairs
        if component[number[pair.record_l]] == component[number[pair.record_r]]
    ]


class _Groups:
    """Groups of a few records, merged one by one."""

    def __init__(self, count: int) -> None:
        self._group = list(range(count))

    def are_one(self, a: int, b: int) -> bool:
        return self._group[a] == self._group[b]

    def size(self, a: int) -> int:
        return self._group.count(self._group[a])

    def merge(self, a: int, b: int) -> None:
        into, gone = self._group[a], self._group[b]
        self._group = [into if group == gone else group for group in self._group]


def _constraints(
    number: Mapping[str, int],
    decided: Sequence[WeighedPair],
    apart: Collection[tuple[str, str]],
) -> Constraints | None:
    """What was decided about these records, as the clustering takes it."""
    if not decided and not apart:
        return None
    ends = np.array(
        [(number[pair.record_l], number[pair.record_r]) for pair in decided], dtype=np.int64
    ).reshape(-1, 2)
    representative = connected_components(len(number), ends[:, 0], ends[:, 1])
    known = [(number[one], number[other]) for one, other in apart if {one, other} <= number.keys()]
    parted = representative[np.array(known, dtype=np.int64).reshape(-1, 2)]
    return Constraints(representative, parted[:, 0], parted[:, 1])
