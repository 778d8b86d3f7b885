"""Plain Splink: what its documentation leads a careful user to, as the measure to beat.

Settings, all of them:

* Input: the same standardised values that Klantbeeld gets (lower case, one form of each number), on
  the raw contact points: nothing is suppressed.
* Comparisons, Splink's own, for the columns that a data set has: `ForenameSurnameComparison` (with
  the joint column it recommends) or `NameComparison`; `DateOfBirthComparison`; `EmailComparison`;
  `PostcodeComparison` for British postal codes and `LevenshteinAtThresholds` for others and for
  streets; `ExactMatch` with term frequencies on phone, city and occupation.
* Blocking rules, those of Splink's tutorial and of its example on 50,000 historical persons, for
  the columns that a data set has: see `BLOCKING`. Rules that a retailer's data make quadratic are
  used up to the sizes they are shown at: the loosest of the 50,000 below 60,000 records, the
  tutorial's on one whole name below 5,000.
* Training: the prior from the deterministic rules of the two examples, with the lower of their
  recalls; u from five million random pairs; m by expectation maximisation on two blocks, first
  name and surname, then birth date, and on the e-mail address or the postal code where one of the
  two is missing or has too many pairs to train on, as a careful user counts first: a default date
  of 11,000 records in a million is 61 million pairs.
* Prediction from 0.05 up, and connected components at 0.95; `benchmarks.identity` also shows the
  best of several thresholds, which nobody without labels can know.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa

THRESHOLD: Final = 0.95
SMALL: Final = 5_000
BLOCKING: Final = (
    ("email",),
    ("phone",),
    ("surname", "birth_date"),
    ("first_name", "birth_date"),
    ("postal_code", "first_name"),
    ("postal_code", "surname"),
    ("birth_date", "city"),
    ("substr(postal_code, 1, 3)", "birth_date"),
    ("first_name", "surname", "city"),
    ("substr(first_name, 1, 2)", "substr(surname, 1, 2)", "substr(birth_date, 1, 4)"),
)
MIDDLING: Final = 60_000
MIDDLING_BLOCKING: Final = (
    ("substr(first_name, 1, 3)", "substr(surname, 1, 4)"),
    ("substr(postal_code, 1, 3)", "first_name"),
    ("substr(postal_code, 1, 3)", "surname"),
)
SMALL_BLOCKING: Final = (("first_name",), ("surname",))
DETERMINISTIC: Final = (
    ("first_name", "surname", "birth_date"),
    ("email",),
    ("substr(first_name, 1, 2)", "surname", "substr(postal_code, 1, 2)"),
    ("birth_date", "postal_code"),
)
RECALL: Final = 0.6
TRAINING_BLOCKS: Final = (("first_name", "surname"), ("birth_date",), ("email",), ("postal_code",))
TRAINING_PAIRS: Final = 10_000_000
COLUMNS: Final = (
    "first_name",
    "surname",
    "birth_date",
    "email",
    "phone",
    "street",
    "postal_code",
    "city",
    "occupation",
)


@dataclass(frozen=True)
class Plain:
    """What plain Splink made of a data set.

    Attributes:
        rules: The blocking rules it used.
        clusters: Per threshold, `record_id` and `cluster`.
        cpu_s: Per threshold, CPU seconds of training, predicting, and clustering at it.
    """

    rules: tuple[tuple[str, ...], ...]
    clusters: dict[float, pa.Table]
    cpu_s: dict[float, float]


def link_plainly(
    con: duckdb.DuckDBPyConnection,
    records: pa.Table,
    thresholds: tuple[float, ...],
    *,
    is_british: bool = False,
) -> Plain:
    """Link records the documented way.

    Args:
        con: An engine of its own.
        records: `record_id` and any of `COLUMNS`.
        thresholds: Match probabilities at which to cluster.
        is_british: Whether postal codes are British.
    """
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    logging.getLogger("splink").setLevel(logging.CRITICAL)
    started = time.process_time()
    con.register("given", records)
    have = [
        name
        for name in COLUMNS
        if name in records.column_names and records[name].null_count < records.num_rows
    ]
    columns = [f"cast({name} as varchar) as {name}" for name in have]
    if {"first_name", "surname"} <= set(have):
        columns.append("first_name || ' ' || surname as first_name_surname_concat")
    con.execute(f"create table plain as select record_id, {', '.join(columns)} from given")

    def usable(rule: tuple[str, ...]) -> bool:
        return all(any(name in key for name in have) for key in rule)

    rules: list[tuple[str, ...]] = [rule for rule in BLOCKING if usable(rule)]
    if records.num_rows < MIDDLING:
        rules += [rule for rule in MIDDLING_BLOCKING if usable(rule)]
    if records.num_rows < SMALL:
        rules += [rule for rule in SMALL_BLOCKING if usable(rule)]
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record_id",
        blocking_rules_to_generate_predictions=[block_on(*rule) for rule in rules],
        comparisons=_comparisons(have, is_british),
    )
    api = DuckDBAPI(con)
    linker = Linker(
        api.register(con.table("plain"), dataset_display_name="records"),
        settings,
        log_level="ERROR",
    )
    linker.training.estimate_probability_two_random_records_match(
        [block_on(*rule) for rule in DETERMINISTIC if usable(rule)], recall=RECALL
    )
    linker.training.estimate_u_using_random_sampling(max_pairs=5e6, seed=1)
    blocks = [rule for rule in TRAINING_BLOCKS if usable(rule)]
    for session in [rule for rule in blocks if _agreeing(con, rule) <= TRAINING_PAIRS][:2]:
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*session))
    predicted = linker.inference.predict(
        threshold_match_probability=min(0.05, *thresholds), warning_mode="never"
    )
    clusters, cpu_s = {}, {}
    before = time.process_time() - started
    for threshold in thresholds:
        started = time.process_time()
        clustered = linker.clustering.cluster_pairwise_predictions_at_threshold(
            predicted, threshold_match_probability=threshold
        )
        clusters[threshold] = con.execute(
            f"select record_id, cluster_id as cluster from {clustered.physical_name}"
        ).to_arrow_table()
        cpu_s[threshold] = before + time.process_time() - started
    return Plain(tuple(rules), clusters, cpu_s)


def _agreeing(con: duckdb.DuckDBPyConnection, rule: tuple[str, ...]) -> int:
    known = " and ".join(f"{key} is not null" for key in rule)
    row = con.execute(
        "select coalesce(sum(size * (size - 1) // 2), 0) from "
        f"(select count(*) as size from plain where {known} group by {', '.join(rule)})"
    ).fetchone()
    return int(row[0]) if row else 0


def _comparisons(have: list[str], is_british: bool) -> list[Any]:
    import splink.comparison_library as cl

    chosen: list[Any] = []
    if {"first_name", "surname"} <= set(have):
        chosen.append(
            cl.ForenameSurnameComparison(
                "first_name",
                "surname",
                forename_surname_concat_col_name="first_name_surname_concat",
            )
        )
    else:
        chosen += [cl.NameComparison(name) for name in ("first_name", "surname") if name in have]
    if "birth_date" in have:
        chosen.append(cl.DateOfBirthComparison("birth_date", input_is_string=True))
    if "email" in have:
        chosen.append(cl.EmailComparison("email"))
    for name in ("phone", "city", "occupation"):
        if name in have:
            chosen.append(cl.ExactMatch(name).configure(term_frequency_adjustments=True))
    if "postal_code" in have and is_british:
        chosen.append(cl.PostcodeComparison("postal_code"))
    for name in ("street", "postal_code"):
        if name in have and not (name == "postal_code" and is_british):
            chosen.append(
                cl.LevenshteinAtThresholds(name, [1, 2]).configure(term_frequency_adjustments=True)
            )
    return chosen


def count_pairs(con: duckdb.DuckDBPyConnection, plain: Plain) -> int:
    """Distinct pairs that agree on a rule: as many as were compared.

    Args:
        con: The engine that `link_plainly` used.
        plain: What it gave.
    """
    # A pair belongs to the first rule that finds it; one rule at a time, so that neither a set of
    # all pairs nor the joins of all rules are held at once.
    total = 0
    for number, rule in enumerate(plain.rules):
        agree = "".join(f" and {_agrees(key)}" for key in rule)
        earlier = "".join(
            " and not (" + " and ".join(f"coalesce({_agrees(key)}, false)" for key in other) + ")"
            for other in plain.rules[:number]
        )
        row = con.execute(
            "select count(*) from plain as l inner join plain as r "
            f"on l.record_id < r.record_id{agree} where true{earlier}"
        ).fetchone()
        total += int(row[0]) if row else 0
    return total


def _agrees(key: str) -> str:
    left, right = (
        key.replace("substr(", f"substr({side}.") if "(" in key else f"{side}.{key}"
        for side in ("l", "r")
    )
    return f"{left} = {right}"
