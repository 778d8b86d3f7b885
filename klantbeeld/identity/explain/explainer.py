"""Answering: what was found about two records or a profile, put together.

Here: the questions, and what follows from what was found. Not here: reading a version
(`published`), weighing (`weighing`), the steps of the merge (`merging`), the shape of an answer
(`answers`), its words (`words`) and its looks (`page`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final

import duckdb

from klantbeeld.control import ControlPlane
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import preparation, registry
from klantbeeld.identity.clustering import Scale
from klantbeeld.identity.decisions import DIFFERENT, PASS_THROUGH, SAME
from klantbeeld.identity.explain.answers import (
    Decision,
    PairExplanation,
    ProfileExplanation,
    Publication,
    WeighedPair,
)
from klantbeeld.identity.explain.merging import Merge, merge_again
from klantbeeld.identity.explain.published import PublishedIdentity, Surroundings
from klantbeeld.identity.explain.weighing import Weigher
from klantbeeld.identity.explain.words import pair_reasons
from klantbeeld.identity.outcome import STEWARD_KEY
from klantbeeld.settings import Settings
from klantbeeld.warehouse import NothingPublished, Version, Warehouse

# Pairs are stored as they were weighed; the share of matches that went into it is kept with four
# decimals.
_TOLERANCE: Final = 0.01


@contextmanager
def open_explainer(settings: Settings, control: ControlPlane) -> Iterator["Explainer"]:
    """The current version, ready for questions.

    Raises:
        NothingPublished: No version is published.
        KlantbeeldError: It was linked with a model that this release does not have.
    """
    warehouse = Warehouse(settings, control)
    version = warehouse.current()
    if version is None:
        raise NothingPublished
    with (
        warehouse.read(version.version_id) as published,
        closing(Explainer(published, settings, control, version)) as explainer,
    ):
        yield explainer


class Explainer:
    """Answers questions about one published version.

    Args:
        published: The version's warehouse, read-only.
        settings: The home's settings.
        control: The control plane; it is only read.
        version: The version.
    """

    def __init__(
        self,
        published: duckdb.DuckDBPyConnection,
        settings: Settings,
        control: ControlPlane,
        version: Version,
    ) -> None:
        self._published = published
        self._settings = settings
        self._known = PublishedIdentity(published, settings, control, version)
        self._engine: duckdb.DuckDBPyConnection | None = None
        try:
            row = published.execute("select model_version from identity.linkage_report").fetchone()
        except (duckdb.CatalogException, duckdb.BinderException):
            row = None
        if row is None:
            raise KlantbeeldError(
                f"version {version.version_id} holds no linkage", "Run `klantbeeld run`."
            )
        self._model = _version_of(settings, control, str(row[0]))
        self.publication = Publication(
            version.version_id, version.as_of, str(row[0]), settings.identity.join_probability
        )

    def why(self, record: str, other: str) -> PairExplanation:
        """Why two records are, or are not, in one profile.

        Args:
            record: A record id, or the part of one that no other record has.
            other: Another.

        Raises:
            KlantbeeldError: One of them is not in the version, or both are the same.
        """
        left, right = sorted((self._known.find_record(record), self._known.find_record(other)))
        if left == right:
            raise KlantbeeldError(
                f"{left} was given twice", "Name two records; `how` explains a single one."
            )
        ends = (left, right)
        around = self._known.surroundings(ends)
        profiles = around.profiles
        weigher = self._weigher(around.records)
        pairs = weigher.weigh(around.stored, ends)
        facts = self._known.as_written(around.records, profiles, weigher.set_aside(ends))
        found = weigher.findings(left, right)
        keys = weigher.keys(left, right)
        decisions = self._known.decisions(ends, wanted=ends)
        merge = self._merge(around, pairs, weigher.scale)
        is_together = profiles[left] == profiles[right]
        outcome = _outcome(pairs[ends], decisions, is_together, bool(keys), self.publication)
        explanation = PairExplanation(
            publication=self.publication,
            outcome=outcome,
            is_together=is_together,
            reasons=(),
            record_l=facts[left],
            record_r=facts[right],
            comparisons=found.comparisons,
            prior=found.prior,
            housemates_prior=found.housemates_prior,
            against_strangers=found.against_strangers,
            against_housemates=found.against_housemates,
            pair=pairs[ends],
            rules=weigher.rules(left, right, pairs[ends]),
            keys=keys,
            decisions=decisions,
            questions=self._known.questions(sorted({profiles[left], profiles[right]})),
            path=merge.path(left, right) if outcome == "through_others" else (),
            between=() if is_together else _between(pairs, profiles, left, right),
            in_favour=None if is_together else merge.in_favour(left, right),
            records=tuple(facts[name] for name in around.records),
            pairs=tuple(pairs.values()),
            warnings=_warnings(around, pairs, merge, ends),
        )
        return replace(explanation, reasons=tuple(pair_reasons(explanation)))

    def waterfall(self, answer: PairExplanation) -> str:
        """Splink's waterfall chart of a pair that was explained, as an HTML page of its own."""
        ends = (answer.record_l.record_id, answer.record_r.record_id)
        return self._weigher(ends).waterfall(answer.comparisons, answer.against_strangers)

    def how(self, asked: str) -> ProfileExplanation:
        """How a profile was built.

        Args:
            asked: Any profile id ever issued, or a record id, which stands for its profile.

        Raises:
            KlantbeeldError: Neither is known.
        """
        profile_id, status, resolution = self._known.find_profile(asked)
        members = self._known.members(profile_id)
        questions = self._known.questions([profile_id])
        # Whoever a question is about is in the picture, also where no pair has led there yet.
        asked_about = [name for question in questions for name in question.records]
        around = self._known.surroundings(list(dict.fromkeys([*members, *asked_about])))
        weigher = self._weigher(around.records)
        pairs = weigher.weigh(around.stored)
        facts = self._known.as_written(around.records, around.profiles, weigher.set_aside(members))
        merge = self._merge(around, pairs, weigher.scale)
        inside = set(members)
        doubts = [
            pair
            for pair in pairs.values()
            if pair.evidence < 0 and {pair.record_l, pair.record_r} <= inside
        ]
        return ProfileExplanation(
            publication=self.publication,
            asked=asked,
            profile_id=profile_id,
            status=status,
            resolution=resolution,
            records=tuple(facts[name] for name in members),
            steps=tuple(
                step
                for step in merge.steps
                if step.is_accepted and {step.pair.record_l, step.pair.record_r} <= inside
            ),
            refused=tuple(
                step
                for step in merge.steps
                if not step.is_accepted and {step.pair.record_l, step.pair.record_r} & inside
            ),
            doubts=tuple(sorted(doubts, key=lambda pair: pair.evidence)),
            decisions=self._known.decisions(members),
            questions=questions,
            history=self._known.history(profile_id),
            neighbours=tuple(facts[name] for name in around.records if name not in inside),
            pairs=tuple(pairs.values()),
            warnings=_warnings(around, pairs, merge, members),
        )

    def _merge(
        self,
        around: Surroundings,
        pairs: Mapping[tuple[str, str], WeighedPair],
        scale: Scale,
    ) -> Merge:
        apart = [
            (decision.record_l, decision.record_r)
            for decision in self._known.decisions(around.records)
            if decision.verdict == DIFFERENT and decision.state == "applied"
        ]
        return merge_again(around.records, pairs.values(), apart, self.publication.threshold, scale)

    def close(self) -> None:
        """Close what the last question opened."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _weigher(self, records: Sequence[str]) -> Weigher:
        self.close()
        limits = self._settings.warehouse
        self._engine = preparation.connect(limits.threads, limits.memory_limit)
        return Weigher(self._published, self._engine, self._settings, self._model, records)


def _version_of(
    settings: Settings, control: ControlPlane, model_version: str
) -> registry.ModelVersion:
    try:
        return registry.named_version(settings, control, model_version)
    except KlantbeeldError as error:
        raise KlantbeeldError(
            f"the published version was linked with model {model_version}, which is not there any"
            f" more ({error.message})",
            "Run `klantbeeld run`: it links with the model of today.",
        ) from None


def _outcome(
    pair: WeighedPair,
    decisions: Sequence[Decision],
    is_together: bool,
    has_key: bool,
    publication: Publication,
) -> str:
    verdicts = {decision.verdict for decision in decisions if decision.state == "applied"}
    if is_together:
        if SAME in verdicts or pair.rule == STEWARD_KEY:
            return "decided_same"
        if has_key:
            return "same_key"
        is_enough = pair.match_probability >= publication.join_probability
        return "own_pair" if pair.decision is not None and is_enough else "through_others"
    if DIFFERENT in verdicts:
        return "decided_different"
    if PASS_THROUGH in verdicts:
        return "passed_through"
    if pair.decision == "held":
        return "held"
    if pair.decision is None:
        return "never_met"
    if pair.match_probability < publication.join_probability:
        return "below_threshold"
    return "refused"


def _between(
    pairs: Mapping[tuple[str, str], WeighedPair],
    profiles: Mapping[str, str],
    left: str,
    right: str,
) -> tuple[WeighedPair, ...]:
    """The weighed pairs between two profiles, most against first."""
    wanted = {profiles[left], profiles[right]}
    chosen = [
        pair
        for pair in pairs.values()
        if pair.decision is not None
        and {profiles[pair.record_l], profiles[pair.record_r]} == wanted
    ]
    return tuple(sorted(chosen, key=lambda pair: pair.evidence))


def _warnings(
    around: Surroundings,
    pairs: Mapping[tuple[str, str], WeighedPair],
    merge: Merge,
    records: Sequence[str],
) -> tuple[str, ...]:
    """Says so if weighing and merging again do not give what was published."""
    off = 0
    for key, (weight, *_) in around.stored.items():
        again = pairs[key].match_weight
        off += weight is not None and again is not None and abs(weight - again) > _TOLERANCE
    # What waits for a person is not as the merge would have it; that is told as a question.
    is_held = any(pair.decision == "held" for pair in pairs.values())
    told = [] if is_held else merge.disagreements(around.profiles, records)
    if not off:
        return tuple(told)
    changed = (
        f"{off} of {len(around.stored)} pairs weigh something else today than when this version was"
        " made: the settings or the release changed since. The next run links with today's."
    )
    return (changed, *told)
