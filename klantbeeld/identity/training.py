"""Training: a candidate model from the records of today, compared with the current one.

Here: fitting, comparing, registering the candidate. It links nothing until a person promotes it.
Not here: the statistics (`fitting`), the model files (`registry`).
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from klantbeeld.control import ControlPlane
from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.identity import preparation, registry
from klantbeeld.identity.blocking import make_candidate_pairs
from klantbeeld.identity.clustering import Ints
from klantbeeld.identity.evaluation import evaluate_clusters
from klantbeeld.identity.fitting import Fit, fit_model
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import freeze, link_people
from klantbeeld.identity.model import LinkageModel
from klantbeeld.identity.suppression import find_values, suppress_values
from klantbeeld.settings import Settings

# Training may look further than the daily run: it learns from pairs that the daily run need not
# weigh.
PAIRS_PER_RECORD = 6.0
FEWEST_RECORDS = 200


@dataclass(frozen=True)
class TrainingReport:
    """What a training did; counts and shares only.

    Attributes:
        model_version: The candidate.
        compared_with: The current model.
        records: Records trained on.
        candidate_pairs: Pairs trained on.
        profiles: Profiles that the candidate makes of the records.
        profiles_now: Profiles that the current model makes of them.
        same_pairs: Of the pairs of records that the current model puts together, the share the
            candidate does too.
        new_pairs: Of the pairs that the candidate puts together, the share the current model does
            not.
        changed_profiles: Profiles of the candidate that are no profile of the current model.
        warnings: What could not be learned.
    """

    model_version: str
    compared_with: str
    records: int
    candidate_pairs: int
    profiles: int
    profiles_now: int
    same_pairs: float
    new_pairs: float
    changed_profiles: int
    warnings: tuple[str, ...]


def train(
    con: duckdb.DuckDBPyConnection, settings: Settings, control: ControlPlane
) -> TrainingReport:
    """Train a candidate on the linkage records of the build.

    Args:
        con: The open build; it is only read.
        settings: The home's settings.
        control: The control plane; the candidate is registered there.

    Raises:
        KlantbeeldError: There are too few records to learn from.
    """
    version = registry.current_version(settings, control)
    current, frozen = version.model, version.frozen()
    records = preparation.read_input(con)
    own = preparation.connect_in_home(settings)
    try:
        count = preparation.make_people(own, records)
        require_enough(count)
        # The current model is used as runs use it: with what is frozen with it.
        own.execute("create table people_as_given as from people")
        labels_now = _labels(own, current, settings, count, frozen)
        own.execute("create or replace table people as from people_as_given order by id")
        found = find_values(own)
        suppress_values(own, settings.home_key(), settings.identity.kept_values, found)
        fit = fit_people(own, current, count)
        linkage = link_people(own, fit.model, count, settings.identity.join_probability)
        for name, labels in (("now", labels_now), ("then", linkage.clusters.labels)):
            own.register(
                f"labels_{name}", pa.table({"record_id": list(range(count)), "cluster": labels})
            )
        quality = evaluate_clusters(own, "labels_then", "labels_now")
        profiles, profiles_now, changed = own.execute("""
            with cells as (
                select
                    labels_then.cluster as cluster_then,
                    labels_now.cluster as cluster_now,
                    count(*) as n
                from labels_then inner join labels_now using (record_id)
                group by all
            ),
            sizes_then as (select cluster, count(*) as n from labels_then group by cluster),
            sizes_now as (select cluster, count(*) as n from labels_now group by cluster),
            kept as (
                select count(*) as n
                from cells
                inner join sizes_then
                    on sizes_then.cluster = cells.cluster_then and sizes_then.n = cells.n
                inner join sizes_now
                    on sizes_now.cluster = cells.cluster_now and sizes_now.n = cells.n
            )
            select
                (select count(*) from sizes_then),
                (select count(*) from sizes_now),
                (select count(*) from sizes_then) - (select n from kept)
        """).fetchone() or (0, 0, 0)
    finally:
        own.close()
    metrics = {
        "records": count,
        "candidate_pairs": int(fit.metrics["candidate_pairs"]),
        "matches_per_record": fit.metrics["matches_per_record"],
        "housemates_per_match": fit.metrics["housemates_per_match"],
        "profiles": int(profiles),
        "changed_profiles": int(changed),
        "warnings": len(fit.warnings),
    }
    candidate = registry.write_candidate(
        settings, control, fit.model, freeze(linkage, count, found), metrics
    )
    return TrainingReport(
        model_version=candidate.name,
        compared_with=current.version,
        records=count,
        candidate_pairs=metrics["candidate_pairs"],
        profiles=int(profiles),
        profiles_now=int(profiles_now),
        same_pairs=round(quality.pair_recall, 4),
        new_pairs=round(1 - quality.pair_precision, 4),
        changed_profiles=int(changed),
        warnings=tuple(fit.warnings),
    )


def require_enough(records: int, exit_code: int = ExitCode.FAILED) -> None:
    """Refuse to learn from a handful of records.

    Args:
        records: How many there are.
        exit_code: Of the command that asked for it.

    Raises:
        KlantbeeldError: There are too few.
    """
    if records < FEWEST_RECORDS:
        raise KlantbeeldError(
            f"{records} records are too few to train a linkage model on",
            f"It takes at least {FEWEST_RECORDS}; with fewer, the current model does better.",
            exit_code,
        )


def fit_people(con: duckdb.DuckDBPyConnection, start: LinkageModel, records: int) -> Fit:
    """Fit a model to `people`, whose values that identify nobody were set aside.

    Args:
        con: The linkage's own engine.
        start: The model to start from.
        records: The number of records.
    """
    make_candidate_pairs(con, records, PAIRS_PER_RECORD)
    return fit_model(con, start, records)


def _labels(
    con: duckdb.DuckDBPyConnection,
    model: LinkageModel,
    settings: Settings,
    count: int,
    frozen: Frozen | None,
) -> Ints:
    """The clusters that a version makes of `people`, values that it sets aside set aside."""
    suppress_values(
        con,
        settings.home_key(),
        settings.identity.kept_values,
        None if frozen is None else frozen.suppressed,
    )
    asked = settings.identity.join_probability
    return link_people(con, model, count, asked, frozen).clusters.labels
