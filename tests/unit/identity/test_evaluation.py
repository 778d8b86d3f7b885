"""Figures against brute force."""

from itertools import combinations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.identity.evaluation import Quality, evaluate_clusters, evaluate_thresholds


def _quality(predicted: list[int], truth: list[int]) -> Quality:
    con = duckdb.connect()
    ids = [f"r{number}" for number in range(len(truth))]
    for name, labels in (("predicted", predicted), ("truth", truth)):
        con.register(
            name,
            pa.table(
                {"record_id": pa.array(ids, pa.string()), "cluster": pa.array(labels, pa.int64())}
            ),
        )
    return evaluate_clusters(con, "predicted", "truth")


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
@settings(max_examples=60, derandomize=True)
def test_as_brute_force_says(rows: list[tuple[int, int]]) -> None:
    predicted, truth = [row[0] for row in rows], [row[1] for row in rows]
    quality = _quality(predicted, truth)
    records = range(len(rows))
    together = {
        pair for pair in combinations(records, 2) if predicted[pair[0]] == predicted[pair[1]]
    }
    belong = {pair for pair in combinations(records, 2) if truth[pair[0]] == truth[pair[1]]}
    assert quality.pair_precision == pytest.approx(
        len(together & belong) / len(together) if together else 1
    )
    assert quality.pair_recall == pytest.approx(
        len(together & belong) / len(belong) if belong else 1
    )
    precision = recall = 0.0
    for record in records:
        cluster = {other for other in records if predicted[other] == predicted[record]}
        person = {other for other in records if truth[other] == truth[record]}
        precision += len(cluster & person) / len(cluster) / len(rows)
        recall += len(cluster & person) / len(person) / len(rows)
    assert quality.bcubed_precision == pytest.approx(precision)
    assert quality.bcubed_recall == pytest.approx(recall)
    mixed = {label for label in predicted if len({t for p, t in rows if p == label}) > 1}
    split = {label for label in truth if len({p for p, t in rows if t == label}) > 1}
    assert (quality.mixed_profiles, quality.split_persons) == (len(mixed), len(split))


def test_nothing_to_judge() -> None:
    assert _quality([], []).bcubed_f1 == 1.0


def test_what_pairs_are_worth_at_other_thresholds() -> None:
    con = duckdb.connect()
    con.execute("""
        create table truth as
        from (values ('a', 1), ('b', 1), ('c', 1), ('d', 2), ('e', 2)) as t(record_id, cluster)
    """)
    # Right at 8 and by a key, wrong at 3.5; c never met the others of its person.
    con.execute("""
        create table pairs as
        from (values ('a', 'b', 8.0), ('c', 'd', 3.5), ('d', 'e', null), ('a', 'x', 9.0))
            as t(record_id_l, record_id_r, match_weight)
    """)
    found = {row.bits: row for row in evaluate_thresholds(con, "pairs", "truth", 0.0)}
    assert [row.bits for row in found.values() if row.is_used] == [0]
    assert (found[0].precision, found[0].recall) == (2 / 3, 2 / 4)
    assert (found[4].precision, found[4].recall) == (1.0, 2 / 4)
    assert (found[9].precision, found[9].recall) == (1.0, 1 / 4)
    con.execute("delete from truth where record_id in ('b', 'c', 'e')")
    assert evaluate_thresholds(con, "pairs", "truth", 0.0) == []
