"""The merge of the link stage once more, over the records around a question, step by step.

Here: which pair put which groups together, and the path between two records. Not here: the rule by
which groups merge (`identity.clustering`, which is what runs here).
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from klantbeeld.identity.clustering import Step, cluster_records, connected_components
from klantbeeld.identity.explain.answers import MergeStep, WeighedPair
from klantbeeld.identity.explain.words import edge_weight

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
        asked = set(records)
        concerned = {profiles[name] for name in asked}
        chosen = [name for name in self.labels if profiles[name] in concerned]
        labels = {self.labels[name] for name in chosen}
        together = {(self.labels[name], profiles[name]) for name in chosen}
        if len(together) == len(labels) == len(concerned):
            return []
        return [_OTHER_PROFILES]


def merge_again(records: Sequence[str], pairs: Collection[WeighedPair], threshold: float) -> Merge:
    """Take the steps of the link stage over some records.

    Args:
        records: Record ids, in order.
        pairs: What is known of them; pairs that the link stage did not weigh are left out.
        threshold: Bits from which a pair joins records.
    """
    number = {name: position for position, name in enumerate(records)}
    used = [pair for pair in pairs if pair.decision is not None]
    left, right = (
        np.array([number[getattr(pair, end)] for pair in used], dtype=np.int64)
        for end in ("record_l", "record_r")
    )
    weight = np.array([edge_weight(pair) for pair in used], dtype=np.float64)
    evidence = np.array([pair.evidence for pair in used], dtype=np.float64)
    taken: list[Step] = []
    clusters = cluster_records(len(records), left, right, weight, evidence, threshold, steps=taken)
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
    group = list(range(len(records)))
    size = dict.fromkeys(group, 1)
    steps = []
    for step in sorted([*taken, *free], key=lambda step: (-weight[step.edge], step.edge)):
        a, b = group[left[step.edge]], group[right[step.edge]]
        if a == b:
            continue
        was_weighed = int(component[left[step.edge]]) in weighed
        steps.append(
            MergeStep(
                used[step.edge],
                size[a] + size[b],
                step.in_favour if was_weighed else None,
                step.never_met,
                step.is_accepted,
            )
        )
        if step.is_accepted:
            group = [min(a, b) if name == max(a, b) else name for name in group]
            size[min(a, b)] = size[a] + size[b]
    labels = {name: int(clusters.labels[position]) for name, position in number.items()}
    return Merge(steps, labels)
