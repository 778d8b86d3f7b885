"""From people to clusters: block, score, close components, cluster.

Here: the daily path, with a model that is given or that ships. Not here: weighing a pair
(`scoring`), making a model (`fitting`, `training`), lasting ids (`profile_ids`), reading and
writing the warehouse (`stage`).

Flow: people -> candidate_pairs -> scored_pairs -> labels per record.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from klantbeeld.identity.blocking import RuleCost, make_candidate_pairs
from klantbeeld.identity.clustering import (
    DETERMINISTIC_WEIGHT,
    MOST_SAID,
    Clusters,
    Constraints,
    Evidence,
    Floats,
    Ints,
    Scale,
    cluster_records,
    connected_components,
)
from klantbeeld.identity.fitting import fit_model
from klantbeeld.identity.frozen import Frequencies, Frozen, count_frequencies
from klantbeeld.identity.model import (
    BLOCKING_RULES,
    COMPARISONS,
    LinkageModel,
    default_digest,
    parse_model,
)
from klantbeeld.identity.scoring import Scorer, combine_odds, scale

# Components up to this size have every pair inside weighed, so that evidence against a chain is
# seen.
CLOSED_COMPONENT: Final = 100
# Larger ones would be millions of pairs. Of these the clusters are closed in which their records
# end, up to this size: names alone chained 63 people of historical_50k into one of 562 records.
CLOSED_CLUSTER: Final = 2_000
# In fewer records a single family tells as much as all that one person's records get wrong.
FEWEST_TO_ADAPT: Final = 500
CLOSING_RULE: Final = len(BLOCKING_RULES)
MATCH_KEYS: Final = (*(rule.name for rule in BLOCKING_RULES), "SAME_COMPONENT")


@dataclass(frozen=True)
class Terms:
    """On what terms weighed pairs put records together.

    Attributes:
        records: The number of records.
        threshold: Bits from which a pair joins records.
        prior: The probability that two records drawn at random are of the same person.
        constraints: What people decided.
        parted: As `part_keys` gave it.
    """

    records: int
    threshold: float
    prior: float
    constraints: Constraints | None
    parted: Ints


@dataclass(frozen=True)
class Linkage:
    """The outcome of one linkage; `scored_pairs` and `deterministic_pairs` stay in the engine.

    Attributes:
        clusters: The partition.
        components: Per record its connected component, by the smallest record number in it.
        rules: What each blocking rule did.
        pairs: Pairs weighed.
        deterministic_pairs: Pairs that a key of the sources put together.
        matches_per_record: As estimated from these records, or as frozen.
        frequencies: How often values occur, as counted in these records, or as frozen.
        model: The model used: the one given, or what it became when it was fitted to these records.
    """

    clusters: Clusters
    components: Ints
    rules: list[RuleCost]
    pairs: int
    deterministic_pairs: int
    matches_per_record: float
    frequencies: Frequencies
    model: LinkageModel


def link_people(
    con: duckdb.DuckDBPyConnection,
    model: LinkageModel,
    records: int,
    join_probability: float,
    frozen: Frozen | None = None,
    constraints: Constraints | None = None,
) -> Linkage:
    """Link the records of `people`.

    Leaves `scored_pairs` (id_l, id_r, rule, levels, `match_weight` in bits) and
    `deterministic_pairs` (id_l, id_r) in the engine.

    Args:
        con: The linkage's own database.
        model: The model version to use.
        records: The number of records in `people`.
        join_probability: Pairs at least this probable join records.
        frozen: The values of the model version; without, they are counted in these records.
        constraints: What people decided.
    """
    make_deterministic_pairs(con)
    parted = part_keys(con, constraints)
    rules = make_candidate_pairs(
        con, records, largest_blocks=None if frozen is None else frozen.largest_blocks
    )
    if frozen is None and model.is_generic:
        model = _adapt(con, model, records)
    frequencies = (
        count_frequencies(con, 1 + model.matches_per_record)
        if frozen is None
        else frozen.frequencies
    )
    # The prior that Splink adds is taken off again: with another, weights would differ in their
    # last digits.
    counted = records if frozen is None else frozen.records
    scorer = Scorer(con, model, counted, frequencies=frequencies)
    scorer.score("candidate_pairs", "weighed_pairs")
    if frozen is not None:
        matches_per_record, prior = frozen.matches_per_record, frozen.prior
    else:
        matches_per_record = estimate_matches_per_record(con, model, records)
        prior = min(0.5, matches_per_record / max(records, 2))
    threshold = math.log2(join_probability / (1 - join_probability))
    combine_odds(con, "weighed_pairs", "scored_pairs", prior)

    terms = Terms(records, threshold, prior, constraints, parted)
    clusters, components = close_and_cluster(con, scorer, terms)
    return Linkage(
        clusters,
        components,
        rules,
        _count(con, "scored_pairs"),
        _count(con, "deterministic_pairs"),
        matches_per_record,
        frequencies,
        model,
    )


def close_and_cluster(
    con: duckdb.DuckDBPyConnection, scorer: Scorer, terms: Terms
) -> tuple[Clusters, Ints]:
    """Cluster by `scored_pairs` and `deterministic_pairs`, once what closes components is weighed.

    Args:
        con: The linkage's own database; the closing pairs are added to `scored_pairs`.
        scorer: For the closing pairs.
        terms: On what terms.

    Returns:
        The clusters, and per record its connected component, what was decided to be together
        included: the smallest record number in it.
    """
    left, right, weight = _read_pairs(con)
    sure_left, sure_right = _read_deterministic(con)
    joins = weight >= terms.threshold
    component = connected_components(
        terms.records,
        np.concatenate([left[joins], sure_left]),
        np.concatenate([right[joins], sure_right]),
    )
    _weigh_closing_pairs(con, scorer, terms.prior, component, CLOSED_COMPONENT)
    clusters = _cluster(con, scorer.model, terms)
    everyone = np.arange(terms.records, dtype=np.int64)
    is_large = np.bincount(component, minlength=terms.records)[component] > CLOSED_COMPONENT
    if is_large.any():
        groups = np.where(is_large, clusters.labels, everyone)
        if _weigh_closing_pairs(con, scorer, terms.prior, groups, CLOSED_CLUSTER):
            clusters = _cluster(con, scorer.model, terms)
    if terms.constraints is not None:
        component = connected_components(
            terms.records,
            np.concatenate([everyone, everyone]),
            np.concatenate([component, terms.constraints.representative]),
        )
    return clusters, component


def _adapt(con: duckdb.DuckDBPyConnection, model: LinkageModel, records: int) -> LinkageModel:
    """Fit the model that ships to the records it is first used on.

    How often names, dates and places agree by chance, how noisy records are and how many of them a
    person has differ more between two data sets than any default can bridge: on historical_50k the
    default as it ships reaches a B-cubed of .80, fitted .93.
    """
    fitted, unlearned = model, []
    if records >= FEWEST_TO_ADAPT:
        fit = fit_model(con, model, records)
        fitted, unlearned = fit.model, fit.unlearned
    # That a level was not seen is the rule in few records; every run would repeat it.
    metrics = {"warnings": unlearned} if unlearned else {}
    fitted = replace(fitted, adapted_from=default_digest(), metrics=metrics)
    # As it is kept, so that later runs weigh with the very same figures.
    return parse_model(fitted.to_json(), "the fitted model")


def freeze(linkage: Linkage, records: int, suppressed: pa.Table) -> Frozen:
    """What it takes to link these records again with the same outcome, and others alike.

    Args:
        linkage: What was linked without frozen values.
        records: The number of records.
        suppressed: The values set aside before, as `find_values` gave them.
    """
    return Frozen(
        records=records,
        matches_per_record=linkage.matches_per_record,
        largest_blocks={cost.rule: cost.allowed_block for cost in linkage.rules},
        frequencies=linkage.frequencies,
        suppressed=suppressed,
    )


def make_deterministic_pairs(con: duckdb.DuckDBPyConnection) -> None:
    """Make `deterministic_pairs`: records with one key, and records that name another."""
    con.execute("""
        create or replace table deterministic_pairs as
        with keyed as (
            select id as id_r, min(id) over (partition by deterministic_key) as id_l
            from people
            where deterministic_key is not null
        ),
        named as (
            select least(people.id, named.id) as id_l, greatest(people.id, named.id) as id_r
            from people
            inner join people as named on named.record_id = people.linked_record_id
        )
        select distinct id_l, id_r from (from keyed union all by name from named) where id_l < id_r
        order by id_l, id_r
    """)


def part_keys(con: duckdb.DuckDBPyConnection, constraints: Constraints | None) -> Ints:
    """Complete `deterministic_pairs` for keys of records that were decided to be two people.

    A key's pairs all meet in its first record; if that one is set apart from the others, they would
    have nothing left between them.

    Returns:
        The pairs added and completed, as `id_l * records + id_r`.
    """
    if constraints is None:
        return np.empty(0, dtype=np.int64)
    decided = np.unique(np.concatenate([constraints.apart_left, constraints.apart_right]))
    members = np.flatnonzero(np.isin(constraints.representative, decided))
    con.register("parted", pa.table({"id": members}))
    pairs = con.execute(f"""
        with keys as (
            select deterministic_key from people
            where deterministic_key is not null
            group by deterministic_key
            having count(*) between 3 and {CLOSED_COMPONENT}
                and bool_or(id in (select id from parted))
        ),
        members as (
            select id, deterministic_key from people semi join keys using (deterministic_key)
        )
        select one.id as id_l, other.id as id_r
        from members as one
        inner join members as other
            on other.deterministic_key = one.deterministic_key and other.id > one.id
    """).to_arrow_table()
    con.unregister("parted")
    con.register("parted_pairs", pairs)
    con.execute("""
        insert into deterministic_pairs
        from parted_pairs anti join deterministic_pairs using (id_l, id_r)
    """)
    con.unregister("parted_pairs")
    left, right = (np.asarray(column.to_numpy(), dtype=np.int64) for column in pairs.columns)
    return left * len(constraints.representative) + right


def estimate_matches_per_record(
    con: duckdb.DuckDBPyConnection, model: LinkageModel, records: int
) -> float:
    """How many other records of the same person a record has, by the pairs that were weighed.

    The share of matches is the one parameter that does not carry over between data sets. It is the
    fixed point of "the matches expected under it": no rule that must happen to hit, and no labels.
    Started from both sides of what is plausible it ends at the same place on every set tried.
    """
    table = con.execute(
        "select against_strangers, against_housemates from weighed_pairs"
    ).fetchnumpy()
    strangers = np.asarray(table["against_strangers"], dtype=np.float64)
    housemates = np.exp2(
        -np.clip(np.asarray(table["against_housemates"], dtype=np.float64), -60, 60)
    )
    strangers = np.exp2(-np.clip(strangers, -60, 60))
    matches = model.matches_per_record
    for _ in range(20):
        prior = matches / max(records, 2)
        expected = float(np.sum(1 / (1 + strangers * (1 - prior) / prior + housemates)))
        # Two per record is one pair seen from both ends.
        updated = min(max(2 * expected / max(records, 1), 0.01), 30.0)
        if abs(updated - matches) < 1e-3 * matches:
            return updated
        matches = updated
    return matches


def _weigh_closing_pairs(
    con: duckdb.DuckDBPyConnection, scorer: Scorer, prior: float, groups: Ints, most: int
) -> int:
    """Add to `scored_pairs` the pairs inside a group that no rule brought together.

    Args:
        con: The linkage's own database.
        scorer: For the pairs.
        prior: The probability that two records drawn at random are of the same person.
        groups: Per record its group.
        most: The size up to which a group is closed.

    Returns:
        How many pairs.
    """
    count = _make_closing_pairs(con, groups, most)
    if count:
        scorer.score("closing_pairs", "weighed_pairs")
        combine_odds(con, "weighed_pairs", "closing_scored", prior)
        con.execute("insert into scored_pairs from closing_scored")
        con.execute("drop table closing_scored")
    con.execute("drop table if exists weighed_pairs")
    return count


def _cluster(con: duckdb.DuckDBPyConnection, model: LinkageModel, terms: Terms) -> Clusters:
    """Cluster by `scored_pairs` and `deterministic_pairs`."""
    left, right, weight = _read_pairs(con)
    sure_left, sure_right = _read_deterministic(con)
    # A deterministic pair outweighs what was computed for it.
    key, sure_key = left * terms.records + right, sure_left * terms.records + sure_right
    computed = ~np.isin(key, sure_key)
    sure = np.full(len(sure_left), DETERMINISTIC_WEIGHT)
    if len(terms.parted) and len(key):
        # Where a key names two people by decision, evidence says whose it is.
        by_evidence = np.isin(sure_key, terms.parted)
        order = np.argsort(key)
        at = order[np.minimum(np.searchsorted(key[order], sure_key), len(key) - 1)]
        weighed = by_evidence & (key[at] == sure_key)
        sure[weighed] += MOST_SAID + np.clip(weight[at][weighed], -MOST_SAID, MOST_SAID)
    return cluster_records(
        terms.records,
        np.concatenate([left[computed], sure_left]),
        np.concatenate([right[computed], sure_right]),
        np.concatenate([weight[computed], sure]),
        _read_evidence(con, scale(model, terms.prior))
        .take(np.flatnonzero(computed))
        .padded(len(sure)),
        terms.threshold,
        constraints=terms.constraints,
    )


def _make_closing_pairs(con: duckdb.DuckDBPyConnection, groups: Ints, most: int) -> int:
    """Make `closing_pairs`: pairs inside a group that no rule brought together."""
    con.register("components", pa.table({"id": np.arange(len(groups)), "component": groups}))
    con.execute(f"""
        create or replace table closing_pairs as
        with members as (
            select id, component, count(*) over (partition by component) as size
            from components
            qualify size between 3 and {most}
        )
        select members_l.id as id_l, members_r.id as id_r, {CLOSING_RULE} as rule
        from members as members_l
        inner join members as members_r
            on members_r.component = members_l.component and members_r.id > members_l.id
        anti join scored_pairs
            on scored_pairs.id_l = members_l.id and scored_pairs.id_r = members_r.id
    """)
    con.unregister("components")
    return _count(con, "closing_pairs")


def _read_pairs(con: duckdb.DuckDBPyConnection) -> tuple[Ints, Ints, Floats]:
    columns = con.execute("select id_l, id_r, match_weight from scored_pairs").fetchnumpy()
    return (
        np.asarray(columns["id_l"], dtype=np.int64),
        np.asarray(columns["id_r"], dtype=np.int64),
        np.asarray(columns["match_weight"], dtype=np.float64),
    )


def _read_evidence(con: duckdb.DuckDBPyConnection, worth: Scale) -> Evidence:
    names = [f"level_{comparison.name}" for comparison in COMPARISONS]
    columns = con.execute(
        f"select {', '.join(names)}, rarity, rarity_housemates from scored_pairs"
    ).fetchnumpy()
    return Evidence(
        np.column_stack([np.asarray(columns[name], dtype=np.int8) for name in names]),
        np.asarray(columns["rarity"], dtype=np.float64),
        np.asarray(columns["rarity_housemates"], dtype=np.float64),
        worth,
    )


def _read_deterministic(con: duckdb.DuckDBPyConnection) -> tuple[Ints, Ints]:
    columns = con.execute("select id_l, id_r from deterministic_pairs").fetchnumpy()
    return np.asarray(columns["id_l"], dtype=np.int64), np.asarray(columns["id_r"], dtype=np.int64)


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    row = con.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0
