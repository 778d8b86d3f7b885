"""What an answer holds: shapes only, for text, JSON and pages alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# What decided about a pair, in words for a person; the keys are stable, for programs.
OUTCOMES: Final = {
    "decided_same": "A steward decided that they are the same person.",
    "same_key": "A key of the sources says that they are the same person.",
    "own_pair": "What they have in common is enough.",
    "through_others": "Not by what the two have in common, but by way of other records.",
    "decided_different": "A steward decided that they are different people.",
    "passed_through": "A steward decided that one of them is never matched.",
    "never_met": "They were never compared: they share nothing that brings records together.",
    "below_threshold": "What they have in common is not enough.",
    "held": "They would be one profile, but a person has to look at it first.",
    "refused": "The two alone look like one person, but other records speak against it.",
}


@dataclass(frozen=True)
class ComparisonFinding:
    """What one comparison says of a pair.

    Attributes:
        comparison: Its name in the model.
        called: Its name for people.
        level: The level that holds; None if there is nothing to compare.
        in_words: The level, for people.
        value_l: What was compared of the one record.
        value_r: And of the other.
        against_strangers: Bits for one person (positive) against two strangers.
        due_to_rarity: How much of that is because the value is rarer or more common than most.
        against_housemates: Bits for one person against two housemates.
    """

    comparison: str
    called: str
    level: str | None
    in_words: str
    value_l: str | None
    value_r: str | None
    against_strangers: float
    due_to_rarity: float
    against_housemates: float


@dataclass(frozen=True)
class RuleFinding:
    """A blocking rule on whose keys both records agree.

    Attributes:
        rule: Its name.
        role: `first` (it brought them together), `also` (an earlier rule had), `left_out` (its
            block was over the budget, so that it did not).
        records: For a rule that was left out, the records that agree on its keys.
    """

    rule: str
    role: str
    records: int | None


@dataclass(frozen=True)
class Decision:
    """What a steward decided.

    Attributes:
        record_l: The record, or one of the two.
        record_r: The other; empty where only one record is meant.
        verdict: `same`, `different` or `pass_through`.
        decided_by: Who.
        decided_at: When.
        why: Why, in the steward's words.
        state: `applied`; `next_run` if it was taken after the published version was made;
            `contradicted` if others contradict it, so that it binds nobody.
    """

    record_l: str
    record_r: str
    verdict: str
    decided_by: str
    decided_at: datetime
    why: str | None
    state: str


@dataclass(frozen=True)
class Question:
    """What waits for a person, in the review queue.

    Attributes:
        review_id: Its name there.
        kind: `pair`, `bridge` or `large_cluster`.
        records: The records that it is about.
        profiles: Their profiles.
    """

    review_id: str
    kind: str
    records: tuple[str, ...]
    profiles: tuple[str, ...]


@dataclass(frozen=True)
class RecordFacts:
    """A record as a person would recognise it.

    Attributes:
        record_id: Its name.
        source: The system it is from.
        entity: What it is there.
        profile_id: The profile it is in.
        name: Full name as written in the source.
        values: Birth date, contact points and so on, as written, by what they are called.
        set_aside: Values that were not used for matching, and why; sentences.
    """

    record_id: str
    source: str
    entity: str
    profile_id: str
    name: str
    values: Mapping[str, str]
    set_aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeighedPair:
    """Two records and what was found about them.

    Attributes:
        record_l: One record.
        record_r: The other.
        rule: What brought them together; None if nothing did.
        match_weight: Bits for one person, all alternatives considered; None for a pair that a key
            of the sources or a steward joined without weighing.
        match_probability: The same as a probability.
        evidence: Bits that it says for one person by itself; those of a key for a pair that a key
            of the sources or a steward joined.
        decision: What became of it in the published version; None if it was never weighed.
        because: Its strongest reasons, in words.
        levels: The number of its level per comparison, -1 where nothing was compared.
        rarity: Bits because values are rare or common, against strangers and against housemates.
        by_evidence: Of a pair that a steward put together, the same pair without that.
    """

    record_l: str
    record_r: str
    rule: str | None
    match_weight: float | None
    match_probability: float
    evidence: float
    decision: str | None
    because: tuple[str, ...] = ()
    levels: tuple[int, ...] = ()
    rarity: tuple[float, float] = (0.0, 0.0)
    by_evidence: "WeighedPair | None" = None


@dataclass(frozen=True)
class MergeStep:
    """Two groups of records that met, and became one or did not.

    Attributes:
        pair: The pair that brought them together.
        records: Records in the two groups together.
        in_favour: Bits of all that is known between the two groups; None where nothing spoke
            against, so that nothing was weighed.
        never_met: Pairs between the groups that were never compared.
        is_accepted: Whether they became one.
        is_forbidden: Whether a decision keeps them apart, whatever they are worth.
    """

    pair: WeighedPair
    records: int
    in_favour: float | None
    never_met: int
    is_accepted: bool
    is_forbidden: bool = False


@dataclass(frozen=True)
class Publication:
    """Which version an answer is about.

    Attributes:
        version_id: The published version.
        as_of: The business time it speaks of.
        model_version: The linkage model it was linked with.
        join_probability: Pairs at least this probable join records.
    """

    version_id: str
    as_of: datetime
    model_version: str
    join_probability: float

    @property
    def threshold(self) -> float:
        """The same in bits."""
        return math.log2(self.join_probability / (1 - self.join_probability))


@dataclass(frozen=True)
class PairExplanation:
    """Why two records are, or are not, one person.

    Attributes:
        publication: The version it is about.
        outcome: A key of `OUTCOMES`.
        is_together: Whether they are in one profile.
        reasons: The answer, in sentences.
        record_l: One record.
        record_r: The other.
        comparisons: What each comparison says.
        prior: Bits that two records drawn at random start with.
        housemates_prior: Bits to start with against two housemates.
        against_strangers: Their sum with what the comparisons say: one person or two strangers.
        against_housemates: One person or two housemates.
        pair: The pair, weighed.
        rules: The blocking rules on which they agree.
        keys: Keys of the sources that say they are one person, in sentences.
        decisions: Steward decisions that concern them.
        questions: What waits for a person about the two, or their two profiles.
        path: How they came together by way of others, from the one to the other.
        between: Pairs of records of their two profiles, most against first.
        in_favour: Bits of all that is known between the two profiles, where they met; they become
            one above 0.
        records: All records around the question, for the graph.
        pairs: All pairs around the question, for the graph.
        warnings: What does not add up.
    """

    publication: Publication
    outcome: str
    is_together: bool
    reasons: tuple[str, ...]
    record_l: RecordFacts
    record_r: RecordFacts
    comparisons: tuple[ComparisonFinding, ...]
    prior: float
    housemates_prior: float
    against_strangers: float
    against_housemates: float
    pair: WeighedPair
    rules: tuple[RuleFinding, ...]
    keys: tuple[str, ...]
    decisions: tuple[Decision, ...]
    questions: tuple[Question, ...]
    path: tuple[WeighedPair, ...]
    between: tuple[WeighedPair, ...]
    in_favour: float | None
    records: tuple[RecordFacts, ...]
    pairs: tuple[WeighedPair, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ProfileExplanation:
    """How a profile was built.

    Attributes:
        publication: The version it is about.
        asked: What was asked for: any profile id ever issued, or a record.
        profile_id: The profile that is today.
        status: `active`, or `retired` or `erased` where nothing is left of it.
        resolution: How the question led to this profile, in sentences; empty if directly.
        records: Its records.
        steps: How they were put together, strongest first.
        refused: What was kept out, strongest first.
        doubts: Pairs inside the profile that speak against each other, most against first.
        decisions: Steward decisions that concern its records.
        questions: What waits for a person about it.
        history: What happened to its id: when, event, the other id.
        neighbours: Records of other profiles that nearly joined, for the graph.
        pairs: All pairs around the profile, for the graph.
        warnings: What does not add up.
    """

    publication: Publication
    asked: str
    profile_id: str
    status: str
    resolution: tuple[str, ...]
    records: tuple[RecordFacts, ...]
    steps: tuple[MergeStep, ...]
    refused: tuple[MergeStep, ...]
    doubts: tuple[WeighedPair, ...]
    decisions: tuple[Decision, ...]
    questions: tuple[Question, ...]
    history: tuple[tuple[datetime, str, str | None], ...]
    neighbours: tuple[RecordFacts, ...]
    pairs: tuple[WeighedPair, ...]
    warnings: tuple[str, ...]
