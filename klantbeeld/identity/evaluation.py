"""How good a linkage is against a known truth: pair precision, recall and F1, and B-cubed.

Here: figures from two mappings of records, and from weighed pairs at other thresholds; set-based.
Not here: where a truth comes from (labels, the demo's people).
"""

from dataclasses import asdict, dataclass
from typing import Final

import duckdb

# Bits; below the first nearly everything joins, above the last nearly nothing.
THRESHOLDS: Final = (-15, 20)


@dataclass(frozen=True)
class Quality:
    """Figures of one linkage against a truth; shares of 1.

    Attributes:
        records: Records that both sides know.
        pair_precision: Of the pairs put together, the share that belongs together.
        pair_recall: Of the pairs that belong together, the share put together.
        pair_f1: Their harmonic mean.
        bcubed_precision: Mean over records of the share of their cluster that is of the same
            person.
        bcubed_recall: Mean over records of the share of their person that is in their cluster.
        bcubed_f1: Their harmonic mean.
        mixed_profiles: Profiles that hold records of more than one person.
        split_persons: People whose records are in more than one profile.
    """

    records: int
    pair_precision: float
    pair_recall: float
    pair_f1: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f1: float
    mixed_profiles: int
    split_persons: int

    def as_dict(self) -> dict[str, float | int]:
        """The figures by name."""
        return asdict(self)


def evaluate_clusters(con: duckdb.DuckDBPyConnection, predicted: str, truth: str) -> Quality:
    """Compare two mappings.

    Args:
        con: The engine that holds both.
        predicted: A table or view with columns `record_id` and `cluster`.
        truth: A table or view with columns `record_id` and `cluster`.

    Returns:
        The figures. Without a pair to judge, precision and recall are 1.
    """
    row = con.execute(f"""
        with known as (
            select predicted.record_id, predicted.cluster as cluster, truth.cluster as person
            from {predicted} as predicted
            inner join {truth} as truth on truth.record_id = predicted.record_id
        ),
        cells as (select cluster, person, count(*) as n from known group by cluster, person),
        clusters as (
            select cluster, sum(n)::bigint as n, count(*) as persons from cells group by cluster
        ),
        persons as (
            select person, sum(n)::bigint as n, count(*) as clusters from cells group by person
        )
        select
            coalesce((select sum(n) from cells), 0)::bigint,
            coalesce((select sum(n * (n - 1) / 2) from cells), 0)::double,
            coalesce((select sum(n * (n - 1) / 2) from clusters), 0)::double,
            coalesce((select sum(n * (n - 1) / 2) from persons), 0)::double,
            coalesce((
                select sum(cells.n * cells.n / clusters.n)
                from cells inner join clusters using (cluster)
            ), 0)::double,
            coalesce((
                select sum(cells.n * cells.n / persons.n)
                from cells inner join persons using (person)
            ), 0)::double,
            (select count(*) from clusters where persons > 1),
            (select count(*) from persons where clusters > 1)
    """).fetchone()
    records, hit, put_together, belong_together, b_precision, b_recall, mixed, split = (
        row or (0,) * 8
    )
    precision = hit / put_together if put_together else 1.0
    recall = hit / belong_together if belong_together else 1.0
    bcubed_precision = b_precision / records if records else 1.0
    bcubed_recall = b_recall / records if records else 1.0
    return Quality(
        records=int(records),
        pair_precision=precision,
        pair_recall=recall,
        pair_f1=_harmonic_mean(precision, recall),
        bcubed_precision=bcubed_precision,
        bcubed_recall=bcubed_recall,
        bcubed_f1=_harmonic_mean(bcubed_precision, bcubed_recall),
        mixed_profiles=int(mixed),
        split_persons=int(split),
    )


@dataclass(frozen=True)
class Threshold:
    """What pairs by themselves would be worth, if they joined from so many bits on.

    Attributes:
        bits: The threshold.
        precision: Of the pairs that would join, the share of one person.
        recall: Of the pairs of one person, the share that would join.
        f1: Their harmonic mean.
        is_used: Whether it is the threshold that the linkage used.
    """

    bits: int
    precision: float
    recall: float
    f1: float
    is_used: bool


def evaluate_thresholds(
    con: duckdb.DuckDBPyConnection, pairs: str, truth: str, used: float
) -> list[Threshold]:
    """Compare weighed pairs with a truth, at every whole number of bits that may be of use.

    Args:
        con: The engine that holds both.
        pairs: A table of `record_id_l`, `record_id_r`, `match_weight` (null for a pair that a key
            or a decision joined).
        truth: A table or view with columns `record_id` and `cluster`.
        used: The threshold that the linkage used, in bits.

    Returns:
        Lowest threshold first; empty if the truth has no two records of one person.
    """
    least, most = THRESHOLDS
    total = con.execute(
        f"select coalesce(sum(n * (n - 1) / 2), 0)::double "
        f"from (select count(*) as n from {truth} group by cluster)"
    ).fetchone()
    rows = con.execute(f"""
        select
            greatest({least}, least({most}, floor(coalesce(match_weight, {most})))) as bits,
            count(*),
            count(*) filter (truth_l.cluster = truth_r.cluster)
        from {pairs} as pairs
        inner join {truth} as truth_l on truth_l.record_id = pairs.record_id_l
        inner join {truth} as truth_r on truth_r.record_id = pairs.record_id_r
        group by bits
    """).fetchall()
    belong_together = float(total[0]) if total else 0.0
    if not belong_together:
        return []
    counted = {int(bits): (int(found), int(right)) for bits, found, right in rows}
    thresholds = []
    found = right = 0
    for bits in range(most, least - 1, -1):
        more_found, more_right = counted.get(bits, (0, 0))
        found, right = found + more_found, right + more_right
        precision = right / found if found else 1.0
        recall = right / belong_together
        f1 = _harmonic_mean(precision, recall)
        thresholds.append(Threshold(bits, precision, recall, f1, bits == round(used)))
    return thresholds[::-1]


def _harmonic_mean(left: float, right: float) -> float:
    return 2 * left * right / (left + right) if left + right else 0.0
