"""An answer in sentences, and what things are called by people.

Here: words that text and pages share. Not here: finding out what is so (`explainer`).
"""

from collections.abc import Iterator
from typing import Final

from klantbeeld.identity.clustering import DETERMINISTIC_WEIGHT
from klantbeeld.identity.explain.answers import (
    OUTCOMES,
    MergeStep,
    PairExplanation,
    ProfileExplanation,
    Question,
    WeighedPair,
)
from klantbeeld.identity.linking import CLOSING_RULE, MATCH_KEYS
from klantbeeld.identity.outcome import DETERMINISTIC_KEY, STEWARD_KEY

STATES: Final = {
    "applied": "applied",
    "next_run": "after this version was made; the next run applies it",
    "contradicted": "other decisions contradict it, so that none of them binds",
}
_KINDS: Final = {
    "pair": "whether {records} are one person",
    "bridge": "a weak bridge between two groups; until then each keeps its profile",
    "large_cluster": "a profile beyond the size that is taken without asking",
}
_CALLED: Final = {
    "email": "e-mail address",
    "phone": "phone number",
    "middle_initials": "further initials",
}


def called(comparison: str) -> str:
    """What a comparison is called by people."""
    return _CALLED.get(comparison, comparison.replace("_", " "))


def rule_in_words(rule: str | None) -> str:
    """What a blocking rule is called by people."""
    if rule is None:
        return ""
    if rule == DETERMINISTIC_KEY:
        return "a key of the sources"
    if rule == STEWARD_KEY:
        return "a decision"
    if rule == MATCH_KEYS[CLOSING_RULE]:
        return "others that link them"
    words = rule.replace("_", " ").lower()
    return words.replace("email name", "name in the e-mail address").replace(
        "email", "e-mail address"
    )


def edge_weight(pair: WeighedPair) -> float:
    """What a pair counts for when records are put together, in bits."""
    return DETERMINISTIC_WEIGHT if pair.match_weight is None else pair.match_weight


def pair_reasons(explanation: PairExplanation) -> Iterator[str]:
    """The answer in sentences, the most important first."""
    outcome, pair = explanation.outcome, explanation.pair
    publication = explanation.publication
    yield OUTCOMES[outcome]
    if outcome.startswith("decided") or outcome == "passed_through":
        for decision in explanation.decisions:
            if decision.state == "applied":
                why = f": {decision.why}" if decision.why else ""
                yield f"{decision.decided_by}, {decision.decided_at:%Y-%m-%d}{why}"
    yield from explanation.keys
    needed = f"{percent(publication.join_probability)} is needed ({bits(publication.threshold)})"
    if pair.match_weight is not None:
        weighed = (
            f"{pair.match_weight:+.1f} bits, a probability of {percent(pair.match_probability)}"
        )
        if outcome == "never_met":
            yield f"Had they met, their pair would be worth {weighed}; {needed}."
            left_out = [rule for rule in explanation.rules if rule.role == "left_out"]
            for rule in left_out[:1]:
                yield (
                    f"They do agree on {rule_in_words(rule.rule)}, as {rule.records} records do:"
                    " so many that the rule's budget of pairs left them out."
                )
        else:
            yield f"Their own pair is worth {weighed}; {needed}."
        gap = explanation.against_strangers - explanation.against_housemates
        if gap > 1 and explanation.against_housemates < publication.threshold + 4:
            yield (
                "Most of what they agree on is shared by people of one home or mailbox, too:"
                f" {explanation.against_strangers:+.1f} bits against two strangers, but"
                f" {explanation.against_housemates:+.1f} against two housemates."
            )
    if explanation.path:
        yield (
            f"{len(explanation.path)} pairs lead from the one to the other; the weakest is worth "
            f"{min(edge_weight(step) for step in explanation.path):+.1f} bits."
        )
    against = [found for found in explanation.between if found.evidence < 0]
    if not explanation.is_together and against and outcome in ("refused", "below_threshold"):
        worst = against[0]
        if {worst.record_l, worst.record_r} != {pair.record_l, pair.record_r}:
            words = ", ".join(worst.because)
            yield (
                f"Of the pairs between their profiles {len(against)} of"
                f" {len(explanation.between)} speak against it; most of all {worst.record_l} and"
                f" {worst.record_r} ({worst.evidence:+.1f} bits: {words})."
            )
    if explanation.in_favour is not None:
        yield (
            "All that is known between their profiles comes to"
            f" {explanation.in_favour:+.1f} bits; above 0 they would be one."
        )
    for decision in explanation.decisions:
        if decision.state != "applied":
            yield (
                f"{decision.decided_by} decided `{decision.verdict}` on"
                f" {decision.decided_at:%Y-%m-%d %H:%M}: {STATES[decision.state]}."
            )
    for question in explanation.questions:
        yield question_in_words(question)


def joined_without_weighing(pair: WeighedPair) -> str:
    """What joins a pair whose weight does not matter."""
    return "by decision" if pair.rule == STEWARD_KEY else "by a key"


def question_in_words(question: Question) -> str:
    """What waits for a person, as a sentence."""
    return (
        f"Waits for a decision ({question.review_id}, `klantbeeld identity queue`):"
        f" {_KINDS[question.kind].format(records=' and '.join(question.records))}."
    )


def bits(weight: float) -> str:
    """A weight for people."""
    return "0 bits" if abs(weight) < 0.05 else f"{weight:+.1f} bits"


def percent(probability: float) -> str:
    """A probability for people: never rounded to certainty."""
    if probability >= 0.9999:
        return "over 99.99 %" if probability < 1 else "100 %"
    if probability < 0.0001:
        return "under 0.01 %"
    return f"{100 * probability:.2f}".removesuffix("0").removesuffix(".0") + " %"


def steps_in_words(answer: ProfileExplanation) -> Iterator[tuple[MergeStep, str]]:
    """The steps by which a profile was built, each with what it made."""
    for step in answer.steps:
        if step.pair.rule == STEWARD_KEY:
            said = "a steward decided, or the source gave the record another key"
        elif step.in_favour is None:
            said = "nothing speaks against it"
        elif step.never_met:
            said = (
                f"all that is known between the two groups: {step.in_favour:+.1f} bits"
                f" ({step.never_met} pairs were never compared)"
            )
        else:
            said = f"all that is known between the two groups: {step.in_favour:+.1f} bits"
        yield step, f"{step.records} records; {said}"
