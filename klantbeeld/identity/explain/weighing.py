"""Weighing again what was weighed: the pairs around a question, with what each comparison says.

Here: the linkage's own engine, filled from a published version as the link stage fills it. Not
here: what follows from the weights (`explainer`).
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import duckdb
import pyarrow as pa

from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import preparation
from klantbeeld.identity.clustering import DETERMINISTIC_WEIGHT, Scale
from klantbeeld.identity.explain.answers import (
    ComparisonFinding,
    RuleFinding,
    WeighedPair,
)
from klantbeeld.identity.explain.published import StoredPair
from klantbeeld.identity.explain.words import called
from klantbeeld.identity.linking import CLOSING_RULE
from klantbeeld.identity.model import BLOCKING_RULES, COMPARISONS, Comparison
from klantbeeld.identity.outcome import DETERMINISTIC_KEY, STEWARD_KEY
from klantbeeld.identity.registry import ModelVersion
from klantbeeld.identity.scoring import Scorer, combine_odds, scale
from klantbeeld.identity.suppression import suppress_values
from klantbeeld.settings import Settings

_REASONS: Final = 3

# What a comparison looks at, as SQL over one row of `people`.
_SHOWN: Final = {
    "first_name": "coalesce(first_name, initial || '.')",
    "surname": "surname || coalesce(' (born ' || maiden_name || ')', '')",
    "birth_date": "birth_text",
    "phone": "concat_ws(', ', mobile, landline)",
    "address": "concat_ws(', ', coalesce(trim(replace(address_key, '|', ' ')), postal_code), city)",
}
_SUPPRESSIBLE: Final = {
    "email": "e-mail address",
    "mobile": "mobile number",
    "landline": "landline number",
    "address_key": "address",
    "birth_text": "birth date",
}


@dataclass(frozen=True)
class PairFindings:
    """What the comparisons say of one pair; see `PairExplanation` for each."""

    comparisons: tuple[ComparisonFinding, ...]
    prior: float
    housemates_prior: float
    against_strangers: float
    against_housemates: float


class Weigher:
    """The people around a question, and the model they were linked with.

    With the values frozen in a model version the weight of a pair depends on its two records, so
    that no others are read.

    Args:
        published: The version's warehouse, read-only.
        own: The linkage's own database, empty.
        settings: The home's settings.
        version: The model version, with the values frozen in it.
        records: The ids of the records around the question.
    """

    def __init__(
        self,
        published: duckdb.DuckDBPyConnection,
        own: duckdb.DuckDBPyConnection,
        settings: Settings,
        version: ModelVersion,
        records: Sequence[str],
    ) -> None:
        self._published = published
        self._own = own
        self._settings = settings
        frozen = version.frozen()
        if frozen is None:
            raise KlantbeeldError(
                f"nothing is frozen with model {version.name}: its weights cannot be repeated",
                "Run `klantbeeld run`: it links with the model of today.",
            )
        self._frozen = frozen
        self._records = frozen.records
        self._model = replace(version.model, matches_per_record=frozen.matches_per_record)
        published.register("asked_records", pa.table({"record_id": list(records)}))
        chosen = (
            f"(select * from {preparation.INPUT_TABLE} "
            "where record_id in (select record_id from asked_records))"
        )
        preparation.make_people(own, preparation.read_input(published, chosen))
        published.unregister("asked_records")
        own.execute("create table people_given as from people")
        self._suppress(own)
        self._scorer = Scorer(own, self._model, frozen.records, frequencies=frozen.frequencies)

    def _suppress(self, con: duckdb.DuckDBPyConnection) -> None:
        kept = self._settings.identity.kept_values
        suppress_values(con, self._settings.home_key(), kept, self._frozen.suppressed)

    def weigh(
        self,
        stored: Mapping[tuple[str, str], StoredPair],
        asked: tuple[str, str] | None = None,
    ) -> dict[tuple[str, str], WeighedPair]:
        """Weigh pairs in all detail.

        Args:
            stored: Pairs that the link stage weighed.
            asked: One more, which it may not have weighed.
        """
        own = self._own
        wanted = sorted({*stored, *([asked] if asked else [])})
        own.register(
            "asked_pairs",
            pa.table(
                {
                    "record_l": pa.array([left for left, _ in wanted], pa.string()),
                    "record_r": pa.array([right for _, right in wanted], pa.string()),
                }
            ),
        )
        own.execute(f"""
            create or replace table explained_pairs as
            select
                least(people_l.id, people_r.id) as id_l,
                greatest(people_l.id, people_r.id) as id_r,
                {CLOSING_RULE} as rule
            from asked_pairs
            inner join people as people_l on people_l.record_id = asked_pairs.record_l
            inner join people as people_r on people_r.record_id = asked_pairs.record_r
        """)
        own.unregister("asked_pairs")
        self._scorer.score("explained_pairs", "explained_in_detail", in_detail=True)
        combine_odds(
            own, "explained_in_detail", "explained_weights", self._model.prior(self._records)
        )
        details = _rows(
            own,
            """
            select
                explained_in_detail.*,
                explained_weights.match_weight,
                people_l.record_id as record_l,
                people_r.record_id as record_r
            from explained_in_detail
            inner join explained_weights using (id_l, id_r)
            inner join people as people_l on people_l.id = explained_in_detail.id_l
            inner join people as people_r on people_r.id = explained_in_detail.id_r
            order by record_l, record_r
            """,
        )
        pairs = {}
        for row in details:
            left, right = sorted((str(row["record_l"]), str(row["record_r"])))
            known = stored.get((left, right))
            rule, decision = (known[2], known[3]) if known else (None, None)
            weight = float(row["match_weight"])
            pair = WeighedPair(
                left,
                right,
                rule,
                weight,
                _probability(weight),
                weight,
                decision,
                _because(row, in_favour=weight >= 0),
                tuple(int(row[f"level_{comparison.name}"]) for comparison in COMPARISONS),
                (float(row["rarity"]), float(row["rarity_housemates"])),
            )
            if rule == DETERMINISTIC_KEY:
                pair = _sure(pair, rule)
            elif rule == STEWARD_KEY:
                by_key = _sure(pair, DETERMINISTIC_KEY) if self.keys(left, right) else None
                pair = replace(_sure(pair, rule), by_evidence=by_key or replace(pair, rule=None))
            pairs[left, right] = pair
        return pairs

    @property
    def scale(self) -> Scale:
        """What levels are worth when two clusters are weighed."""
        return scale(self._model, self._model.prior(self._records))

    def _detail_row(self, left: str, right: str) -> dict[str, Any]:
        return _rows(
            self._own,
            """
            select explained_in_detail.*
            from explained_in_detail
            inner join people as people_l on people_l.id = explained_in_detail.id_l
            inner join people as people_r on people_r.id = explained_in_detail.id_r
            where people_l.record_id in ($left, $right) and people_r.record_id in ($left, $right)
            """,
            {"left": left, "right": right},
        )[0]

    def findings(self, left: str, right: str) -> PairFindings:
        """What each comparison says of a pair that was weighed, and its sums."""
        row = self._detail_row(left, right)
        shown = ", ".join(
            f"{_shown_sql(comparison)} as {comparison.name}" for comparison in COMPARISONS
        )
        values = {
            str(one["record_id"]): one
            for one in _rows(
                self._own,
                f"select record_id, {shown} from people where record_id in ($left, $right)",
                {"left": left, "right": right},
            )
        }
        findings = []
        for comparison in COMPARISONS:
            number = int(row[f"level_{comparison.name}"])
            level = comparison.levels[number] if number >= 0 else None
            findings.append(
                ComparisonFinding(
                    comparison=comparison.name,
                    called=called(comparison.name),
                    level=level.name if level else None,
                    in_words=level.label if level else "nothing to compare",
                    value_l=values[left][comparison.name] or None,
                    value_r=values[right][comparison.name] or None,
                    against_strangers=float(row[f"strangers_{comparison.name}"]),
                    due_to_rarity=float(row[f"rarity_{comparison.name}"]),
                    against_housemates=float(row[f"housemates_{comparison.name}"]),
                )
            )
        strangers = _bits(self._model.prior(self._records))
        return PairFindings(
            comparisons=tuple(findings),
            prior=strangers,
            housemates_prior=-math.log2(self._model.housemates_per_match),
            against_strangers=float(row["against_strangers"]) + strangers,
            against_housemates=float(row["against_housemates"]),
        )

    def rules(self, left: str, right: str, pair: WeighedPair) -> tuple[RuleFinding, ...]:
        """The blocking rules on whose keys both agree, and whether each did its work."""
        blocks = [
            f"case when {' and '.join(f'({key}) is not null' for key in rule.keys)} "
            f"then hash({', '.join(rule.keys)}) end"
            for rule in BLOCKING_RULES
        ]
        one, two = self._own.execute(
            f"select {', '.join(blocks)} from people where record_id in (?, ?)", [left, right]
        ).fetchall()
        was_found = any(rule.name == pair.rule for rule in BLOCKING_RULES)
        agreed = {
            rule.name: (block_sql, block)
            for rule, block_sql, block, other in zip(BLOCKING_RULES, blocks, one, two, strict=True)
            if block is not None and block == other
        }
        if was_found:
            return tuple(
                RuleFinding(name, "first" if name == pair.rule else "also", None) for name in agreed
            )
        sizes = self._block_sizes(list(agreed.values()))
        return tuple(
            RuleFinding(name, "left_out", size) for name, size in zip(agreed, sizes, strict=True)
        )

    def _block_sizes(self, blocks: Sequence[tuple[str, int]]) -> list[int]:
        """How many records of the whole version are in a block."""
        if not blocks:
            return []
        everybody = preparation.connect(
            self._settings.warehouse.threads, self._settings.warehouse.memory_limit
        )
        try:
            preparation.make_people(everybody, preparation.read_input(self._published))
            self._suppress(everybody)
            counts = ", ".join(f"count(*) filter ({block_sql} = ?)" for block_sql, _ in blocks)
            row = everybody.execute(
                f"select {counts} from people", [block for _, block in blocks]
            ).fetchone()
        finally:
            everybody.close()
        return [int(count) for count in row or ()]

    def keys(self, left: str, right: str) -> tuple[str, ...]:
        """Keys of the sources that say two records are one person, in sentences."""
        rows = {
            str(name): (key, linked)
            for name, key, linked in self._own.execute(
                "select record_id, deterministic_key, linked_record_id from people "
                "where record_id in (?, ?)",
                [left, right],
            ).fetchall()
        }
        sentences = []
        if rows[left][0] is not None and rows[left][0] == rows[right][0]:
            sentences.append(f"Both have the key {rows[left][0]}.")
        for one, other in ((left, right), (right, left)):
            if rows[one][1] == other:
                sentences.append(f"{one} names {other} as the same person.")
        return tuple(sentences)

    def set_aside(self, records: Sequence[str]) -> dict[str, list[str]]:
        """Values of records that identify nobody, so that they were not used."""
        told: dict[str, list[str]] = defaultdict(list)
        self._own.register("asked_records", pa.table({"record_id": list(records)}))
        for column, name in _SUPPRESSIBLE.items():
            rows = self._own.execute(f"""
                select people_given.record_id, suppressed_values.records, suppressed_values.reason
                from people_given
                inner join people using (id)
                left join suppressed_values on suppressed_values.value = people_given.{column}
                where people_given.record_id in (select record_id from asked_records)
                    and people_given.{column} is not null and people.{column} is null
            """).fetchall()
            for record_id, uses, reason in rows:
                of = f", {uses} records have it" if uses else ""
                told[str(record_id)].append(
                    f"Its {name} identifies nobody ({reason or 'shared'}{of}) and was not used."
                )
        self._own.unregister("asked_records")
        return told

    def waterfall(self, comparisons: Sequence[ComparisonFinding], against_strangers: float) -> str:
        """Splink's waterfall chart of a pair, as an HTML page of its own."""
        from splink import DuckDBAPI, Linker

        record: dict[str, Any] = {"match_weight": against_strangers}
        for comparison, found in zip(COMPARISONS, comparisons, strict=True):
            names = [level.name for level in comparison.levels]
            # Splink counts its levels from the other end, and none as -1.
            record[f"gamma_{comparison.name}"] = (
                -1 if found.level is None else len(names) - 1 - names.index(found.level)
            )
            record[f"mw_tf_adj_{comparison.name}"] = found.due_to_rarity
        # Splink draws only for models that keep the compared values with every pair; linking does
        # without, as they are most of the memory.
        settings = self._model.splink_settings(self._records) | {"retain_matching_columns": True}
        people = DuckDBAPI(self._own).register("people", dataset_display_name="waterfall")
        visualisations = Linker(people, settings, log_level="ERROR").visualisations
        # Weights only: the values stand in the page, and would overlap in the chart.
        chart = visualisations.waterfall_chart([record], remove_sensitive_data=True)
        html: str = chart.to_html(inline=True)
        return html


def _rows(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = con.execute(sql, parameters or {}).to_arrow_table().to_pylist()
    return rows


def _bits(probability: float) -> float:
    return math.log2(probability / (1 - probability))


def _probability(bits: float) -> float:
    return 1 / (1 + math.exp2(-max(-1000.0, min(1000.0, bits))))


def _shown_sql(comparison: Comparison) -> str:
    if comparison.name in _SHOWN:
        return _SHOWN[comparison.name]
    columns = dict.fromkeys(re.findall(r"(\w+)_l\b", comparison.missing))
    return f"concat_ws(', ', {', '.join(columns)})"


def _sure(pair: WeighedPair, rule: str) -> WeighedPair:
    """A pair that a key of the sources or a steward put together, whatever it is worth."""
    return replace(
        pair,
        rule=rule,
        match_weight=None,
        match_probability=1.0,
        evidence=DETERMINISTIC_WEIGHT,
        because=(),
        levels=tuple(-1 for _ in COMPARISONS),
        rarity=(0.0, 0.0),
    )


def _because(row: Mapping[str, Any], *, in_favour: bool) -> tuple[str, ...]:
    """The comparisons that say most for a pair, or against it, in words."""
    said = []
    for comparison in COMPARISONS:
        number = int(row[f"level_{comparison.name}"])
        if number < 0:
            continue
        bits = float(row[f"strangers_{comparison.name}"]) + float(
            row[f"housemates_{comparison.name}"]
        )
        if bits > 0 if in_favour else bits < 0:
            said.append((abs(bits), comparison.levels[number].label))
    if not said and not in_favour:
        return ("too little in common",)
    return tuple(label for _, label in sorted(said, reverse=True)[:_REASONS])
