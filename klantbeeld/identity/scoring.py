"""What pairs weigh: `people + candidate_pairs -> weighed_pairs -> scored_pairs`, with Splink.

Here: weighing pairs that are given against strangers and against housemates, and putting the two
together. Not here: which pairs (`blocking`), the parameters (`model`, `fitting`), what becomes of
the outcome (`linking`).
"""

import logging
import math
import re
from typing import Final

import duckdb
import numpy as np

from klantbeeld.identity.clustering import Scale
from klantbeeld.identity.frozen import Frequencies, make_frequency_tables
from klantbeeld.identity.model import COMPARISONS, SAME, LinkageModel, level_weight

# The columns of `scored_pairs` that clustering reads beside `match_weight`: kept with the pairs, so
# that they can be clustered again without being weighed again.
KEPT_OF_PAIRS: Final = (
    *(f"level_{comparison.name}" for comparison in COMPARISONS),
    "rarity",
    "rarity_housemates",
)
# What Splink is given of a record.
COMPARED_COLUMNS: Final = tuple(
    sorted(
        {
            column
            for comparison in COMPARISONS
            for sql in (comparison.missing, *(level.condition for level in comparison.levels))
            for column in re.findall(r"\b(\w+)_[lr]\b", sql)
        }
    )
)
# Pairs that Splink is given at a time, as it holds both records of each in full, twice; but for
# each part it reads all records again, so that many parts would cost more than all else.
PAIRS_AT_ONCE: Final = 1_250_000
MOST_PARTS: Final = 4
_TOLERANCE: Final = 1e-7


class Scorer:
    """Splink over `people`, for pairs that are given.

    Args:
        con: The linkage's own database.
        model: The model.
        records: The number of records.
        people: The table to score.
        frequencies: How often values occur; without, Splink counts them in `people`.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        model: LinkageModel,
        records: int,
        people: str = "people",
        frequencies: Frequencies | None = None,
    ) -> None:
        from splink import DuckDBAPI, Linker

        # Splink reports its progress as warnings, and says so of levels it did not train itself.
        logging.getLogger("splink").setLevel(logging.ERROR)
        self._con = con
        self.model = model
        prior = model.prior(records)
        self._prior_weight = math.log2(prior / (1 - prior))
        self._api = DuckDBAPI(con)
        compared = f"compared_{people}"
        con.execute(
            f"create or replace view {compared} as "
            f"select id, {', '.join(COMPARED_COLUMNS)} from {people}"
        )
        registered = self._api.register(compared, dataset_display_name="records")
        # Settings that the model writes need no validation, which is half the cost of a small run.
        self.linker = Linker(
            registered, model.splink_settings(records), validate_settings=False, log_level="ERROR"
        )
        self._registered = 0
        if frequencies is not None:
            for column, table in make_frequency_tables(con, frequencies, people):
                lookup = self._api.register(table, dataset_display_name=table)
                self.linker.table_management.register_term_frequency_lookup(lookup, column)

    def score(self, pairs: str, target: str, *, in_detail: bool = False) -> None:
        """Weigh pairs against strangers and housemates.

        Args:
            pairs: A table of `id_l`, `id_r`, `rule`.
            target: The table to make, with the pairs, their level per comparison (`level_<name>`)
                and in bits `against_strangers` without the prior, `against_housemates`, and of
                each what is due to values that are rare or common (`rarity`, `rarity_housemates`).
            in_detail: Whether the table also holds what each comparison adds to the two
                (`strangers_<name>`, `housemates_<name>`) and how much of the first is due to a
                value being rare or common (`rarity_<name>`).
        """
        nothing = self._nothing_sql(in_detail=in_detail)
        self._con.execute(f"create or replace table {target} as {nothing}")
        parts = min(-(-_count(self._con, pairs) // PAIRS_AT_ONCE), MOST_PARTS)
        for part in range(parts):
            self._score_part(f"{pairs} where id_l % {parts} = {part}", target, in_detail=in_detail)

    def _score_part(self, pairs: str, target: str, *, in_detail: bool) -> None:
        name = f"given_pairs_{self._registered}"
        self._registered += 1
        self._con.execute(
            f"create view {name} as select cast(rule as varchar) as match_key, "
            f"id_l as join_key_l, id_r as join_key_r from {pairs}"
        )
        given = self._api.register(name, dataset_display_name=f"pairs_{self._registered}")
        self.linker.table_management.register_blocked_pairs_for_predict(given)
        predicted = self.linker.inference.predict(warning_mode="never")
        weighed = self._weigh_sql(predicted.physical_name, in_detail=in_detail)
        self._con.execute(f"insert into {target} by name {weighed}")
        predicted.drop_table_from_database_and_remove_from_cache()
        self._con.execute(f"drop view {name}")

    @staticmethod
    def _nothing_sql(*, in_detail: bool) -> str:
        columns = [f"0::tinyint as level_{comparison.name}" for comparison in COMPARISONS]
        if in_detail:
            columns += [
                f"0.0::double as {part}_{comparison.name}"
                for comparison in COMPARISONS
                for part in ("strangers", "rarity", "housemates")
            ]
        return (
            "select 0::bigint as id_l, 0::bigint as id_r, 0::utinyint as rule, "
            "0.0::double as against_strangers, 0.0::double as against_housemates, "
            "0.0::double as rarity, 0.0::double as rarity_housemates, "
            f"{', '.join(columns)} limit 0"
        )

    def _weigh_sql(self, predicted: str, *, in_detail: bool) -> str:
        model = self.model
        levels, housemates, details, rarities = [], [], [], []
        of_housemates = "0.0"
        for comparison in COMPARISONS:
            weight = f"mw_{comparison.name}"
            by_level, by_housemates = [], []
            for number, level in enumerate(comparison.levels):
                odds = model.parameters[comparison.name][level.name]
                # Splink gives levels only together with the compared values; the weight tells the
                # level.
                seen = level_weight(odds)
                by_level.append(f"when abs({weight} - {seen!r}) < {_TOLERANCE} then {number}")
                when = f"when level_{comparison.name} = {number} then"
                against = repr(math.log2(odds.m / odds.h))
                if comparison.name == "first_name" and level.name == SAME:
                    frequency = f"{odds.m!r} / pow(2, {weight} + mw_tf_adj_first_name)"
                    plain = against
                    against = f"log2({odds.m!r} / least(1, {frequency} + {model.namesakes!r}))"
                    of_housemates = f"case {when} {against} - ({plain}) else 0.0 end"
                by_housemates.append(f"{when} {against}")
            levels.append(
                f"cast(case {' '.join(by_level)} else -1 end as tinyint) as level_{comparison.name}"
            )
            housemates.append(f"case {' '.join(by_housemates)} else 0.0 end")
            has_rarity = any(level.term_frequency for level in comparison.levels)
            rarity = f"mw_tf_adj_{comparison.name}" if has_rarity else "0.0"
            rarities.append(rarity)
            if in_detail:
                details += [
                    f"{weight} + {rarity} as strangers_{comparison.name}",
                    f"{rarity} as rarity_{comparison.name}",
                    f"{housemates[-1]} as housemates_{comparison.name}",
                ]
        names = [f"level_{comparison.name}" for comparison in COMPARISONS]
        return f"""
            with told as (select *, {", ".join(levels)} from {predicted})
            select
                least(id_l, id_r) as id_l,
                greatest(id_l, id_r) as id_r,
                cast(match_key as utinyint) as rule,
                match_weight - ({self._prior_weight!r}) as against_strangers,
                {-math.log2(model.housemates_per_match)!r} + {" + ".join(housemates)}
                    as against_housemates,
                {" + ".join(rarities)} as rarity,
                {of_housemates} as rarity_housemates,
                {", ".join([*names, *details])}
            from told
        """


def combine_odds(con: duckdb.DuckDBPyConnection, source: str, target: str, prior: float) -> None:
    """Odds against all alternatives: the reciprocals of odds add up.

    Args:
        con: The linkage's own database.
        source: A table that `Scorer.score` made.
        target: The table to make: its pairs and levels with `match_weight`, `rarity` and
            `rarity_housemates`, in bits.
        prior: The probability that two records drawn at random are of the same person.
    """
    bits = math.log2(prior / (1 - prior))
    levels = ", ".join(f"level_{comparison.name}" for comparison in COMPARISONS)
    con.execute(f"""
        create or replace table {target} as
        select
            id_l, id_r, rule, {levels}, rarity, rarity_housemates,
            -log2(
                pow(2, -greatest(-60, least(60, against_strangers + {bits!r})))
                + pow(2, -greatest(-60, least(60, against_housemates)))
            ) as match_weight
        from {source}
    """)


def scale(model: LinkageModel, prior: float) -> Scale:
    """What levels are worth when two clusters are weighed.

    Args:
        model: The model.
        prior: The probability that two records drawn at random are of the same person.
    """
    odds = [
        [model.parameters[comparison.name][level.name] for level in comparison.levels]
        for comparison in COMPARISONS
    ]
    return Scale(
        tuple(np.array([math.log2(one.m / one.u) for one in levels]) for levels in odds),
        tuple(np.array([math.log2(one.m / one.h) for one in levels]) for levels in odds),
        math.log2(prior / (1 - prior)),
        -math.log2(model.housemates_per_match),
    )


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    row = con.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0
