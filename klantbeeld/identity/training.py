"""Training: a candidate model from the records of today, compared with the current one.

Here: fitting, linking with both, registering the candidate. It links nothing until a person
promotes it. Not here: the statistics (`fitting`), the model files (`registry`), how two outcomes
are compared (`promotion`).
"""

from dataclasses import dataclass, replace
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from klantbeeld.control import ControlPlane
from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.identity import preparation, registry
from klantbeeld.identity.aliases import carry_over
from klantbeeld.identity.blocking import make_candidate_pairs
from klantbeeld.identity.charts import write_candidate_charts
from klantbeeld.identity.constraints import Binding, bind, read_decided
from klantbeeld.identity.evaluation import evaluate_clusters
from klantbeeld.identity.fitting import Fit, fit_model
from klantbeeld.identity.frozen import Frozen
from klantbeeld.identity.linking import Linkage, freeze, link_people
from klantbeeld.identity.model import LinkageModel
from klantbeeld.identity.outcome import make_pairs, make_profile_records
from klantbeeld.identity.profile_ids import IdHistory, assign_profile_ids, read_history
from klantbeeld.identity.promotion import count_changes, find_profile_changes
from klantbeeld.identity.review import Held, hold
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
        profiles: Profiles that the candidate makes of the records; decisions of stewards bind, and
            what a person must look at first is held.
        profiles_now: Profiles that the current model makes of them, in the same way.
        same_pairs: Of the pairs of records that the current model puts together, the share the
            candidate does too.
        new_pairs: Of the pairs that the candidate puts together, the share the current model does
            not.
        changed_profiles: Profiles of today that would be others.
        moved_records: Records that would be in a profile with another id.
        joined: Changes in which several profiles become one.
        split: Changes in which one profile becomes several.
        regrouped: Changes that are both.
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
    moved_records: int
    joined: int
    split: int
    regrouped: int
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
    frozen = version.frozen()
    with preparation.beside(con) as own:
        records = preparation.in_build(con, preparation.INPUT_TABLE)
        count = preparation.make_people(own, preparation.input_sql(records))
        require_enough(count)
        own.execute("create table people_as_given as from people")
        history = read_history(control)
        # The current version is used as runs use it: with what is frozen with it.
        _set_aside(own, settings, None if frozen is None else frozen.suppressed)
        now = _Outcome.of(own, settings, control, version.model, frozen, history)
        own.execute("create or replace table people as from people_as_given order by id")
        found = find_values(own)
        _set_aside(own, settings, found)
        fit = fit_people(own, version.model, count)
        then = _Outcome.of(own, settings, control, fit.model, None, now.history)
        changes = find_profile_changes(own, now.profiles)
        own.register("profiles_now", now.profiles)
        quality = evaluate_clusters(
            own,
            "(select record_id, profile_id as cluster from assigned_records)",
            "(select record_id, profile_id as cluster from profiles_now)",
        )
        metrics = {
            "records": count,
            "candidate_pairs": int(fit.metrics["candidate_pairs"]),
            "matches_per_record": fit.metrics["matches_per_record"],
            "housemates_per_match": fit.metrics["housemates_per_match"],
            "profiles": then.count,
            "profiles_now": now.count,
            "compared_with": version.name,
            "warnings": len(fit.warnings),
        }
        candidate = registry.write_candidate(
            settings, control, fit.model, freeze(then.linkage, count, found), metrics, changes
        )
        make_pairs(
            own,
            then.held.labels,
            settings.identity.join_probability,
            then.binding.constraints,
            unheld=then.linkage.clusters.labels,
        )
        make_profile_records(own, then.held.labels, candidate.name)
        write_candidate_charts(own, settings, candidate.model, count)
    return TrainingReport(
        model_version=candidate.name,
        compared_with=version.name,
        records=count,
        candidate_pairs=metrics["candidate_pairs"],
        profiles=then.count,
        profiles_now=now.count,
        same_pairs=round(quality.pair_recall, 4),
        new_pairs=round(1 - quality.pair_precision, 4),
        **count_changes(changes),
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
        con: The linkage's own database.
        start: The model to start from.
        records: The number of records.
    """
    make_candidate_pairs(con, records, PAIRS_PER_RECORD)
    return fit_model(con, start, records)


@dataclass(frozen=True)
class _Outcome:
    """What a version makes of the records: linked, decisions obeyed, doubts held, ids given.

    Attributes:
        linkage: What was linked.
        binding: What stewards decided.
        held: What waits for a person.
        profiles: record_id, profile_id.
        history: What is known of ids once these profiles are.
    """

    linkage: Linkage
    binding: Binding
    held: Held
    profiles: pa.Table
    history: IdHistory

    @property
    def count(self) -> int:
        """The number of profiles."""
        return int(pc.count_distinct(self.profiles.column("profile_id")).as_py())

    @classmethod
    def of(
        cls,
        con: duckdb.DuckDBPyConnection,
        settings: Settings,
        control: ControlPlane,
        model: LinkageModel,
        frozen: Frozen | None,
        history: IdHistory,
    ) -> Self:
        """Link `people` as a run does, with a version and what was known of ids before.

        It leaves the tables of the linkage and `assigned_records` in the engine.
        """
        ids = con.execute("select record_id from people order by id").to_arrow_table()
        count = ids.num_rows
        binding = bind(con, read_decided(control), count)
        asked = settings.identity
        linkage = link_people(
            con, model, count, asked.join_probability, frozen, binding.constraints
        )
        history = carry_over(con, history, binding.aliases)
        held = hold(con, linkage.clusters.labels, binding, history.members, asked)
        clusters = ids.append_column("cluster", pa.array(held.labels))
        assign_profile_ids(con, clusters, history, settings.home_key())
        profiles = con.execute("from assigned_records").to_arrow_table()
        ids_after = con.execute("""
            select
                profile_id,
                number,
                status,
                case when status = 'active' then '' else coalesce(current_profile_id, '') end
                    as resolves_to
            from current_profile_ids
        """).to_arrow_table()
        after = replace(history, ids=ids_after, members=profiles)
        return cls(linkage, binding, held, profiles, after)


def _set_aside(
    con: duckdb.DuckDBPyConnection, settings: Settings, suppressed: pa.Table | None
) -> None:
    """Take the values that identify nobody out of `people`."""
    suppress_values(con, settings.home_key(), settings.identity.kept_values, suppressed)
