"""`klantbeeld identity why` and `how`: explanations as text, JSON or a page.

They show personal data, to the person who asks for it at the terminal; nothing of it is logged.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from klantbeeld.cli.home import open_home

if TYPE_CHECKING:
    from klantbeeld.identity.explain import PairExplanation, ProfileExplanation
    from klantbeeld.identity.explain.answers import Decision, MergeStep, RecordFacts, WeighedPair
    from klantbeeld.settings import Settings

_MOST_LINES = 12
_VALUE_WIDTH = 26
# What `--html` stands for without a file.
_DEFAULT_PLACE = "<home>/reports/explanations"

_html = click.option(
    "--html",
    is_flag=False,
    flag_value=_DEFAULT_PLACE,
    metavar="[FILE]",
    help=f"Write a page, to FILE or into {_DEFAULT_PLACE}; it holds personal data (mode 0600).",
)
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.command()
@click.argument("record")
@click.argument("other_record")
@_json
@_html
def why(record: str, other_record: str, as_json: bool, html: str | None) -> None:
    """Explain why two records are, or are not, one person.

    A record is named source:entity:key, as in crm:contact:GUID; its key alone will do where no
    other record has it. The published version is explained, with the model it was linked with.
    """
    from klantbeeld.identity.explain import open_explainer

    settings, control = open_home()
    with open_explainer(settings, control) as explainer:
        answer = explainer.why(record, other_record)
        if html is not None:
            from klantbeeld.identity.explain.page import pair_page

            name = f"why-{answer.record_l.record_id}-{answer.record_r.record_id}"
            _write_page(settings, html, name, pair_page(answer, explainer.waterfall(answer)))
    _tell(answer, as_json, html, _pair_lines)


@click.command()
@click.argument("profile")
@_json
@_html
def how(profile: str, as_json: bool, html: str | None) -> None:
    """Explain how a profile was built, strongest step first.

    PROFILE is any profile id ever issued, or a record (source:entity:key), which stands for the
    profile it is in.
    """
    from klantbeeld.identity.explain import open_explainer

    settings, control = open_home()
    with open_explainer(settings, control) as explainer:
        answer = explainer.how(profile)
    if html is not None:
        from klantbeeld.identity.explain.page import profile_page

        _write_page(settings, html, f"how-{answer.profile_id}", profile_page(answer))
    _tell(answer, as_json, html, _profile_lines)


def _tell(answer: Any, as_json: bool, html: str | None, lines: Any) -> None:
    if as_json:
        click.echo(
            json.dumps(asdict(answer), indent=2, default=str, ensure_ascii=False, allow_nan=False)
        )
    elif html is None:
        for line in lines(answer):
            click.echo(line)


def _write_page(settings: "Settings", place: str, name: str, page: str) -> None:
    from klantbeeld.files import write_atomic

    if place == _DEFAULT_PLACE:
        file_name = re.sub(r"[^A-Za-z0-9.-]+", "-", name)[:160] + ".html"
        path = settings.paths.reports_dir / "explanations" / file_name
    else:
        path = Path(place)
    write_atomic(path, page)
    click.echo(f"written: {path}", err=True)


def _pair_lines(answer: "PairExplanation") -> Iterator[str]:
    from klantbeeld.identity.explain.words import bits, joined_without_weighing, percent

    yield click.style("Together" if answer.is_together else "Apart", bold=True)
    for reason in answer.reasons:
        yield f"  {reason}"
    for warning in answer.warnings:
        yield click.style(f"  Mind: {warning}", fg="yellow")
    yield ""
    yield from _record_lines("A", answer.record_l)
    yield from _record_lines("B", answer.record_r)
    yield ""
    yield f"{'':<18}{'A':<{_VALUE_WIDTH}}  {'B':<{_VALUE_WIDTH}}  {'bits for one person':>23}"
    yield f"{'':<{18 + 2 * _VALUE_WIDTH + 4}}{'or stranger':>11} {'or housemate':>12}"
    for found in answer.comparisons:
        says = (
            f"{'':>23}"
            if found.level is None
            else f"{found.against_strangers:>+11.1f} {found.against_housemates:>+11.1f}"
        )
        yield (
            f"{found.called:<18}{_cut(found.value_l):<{_VALUE_WIDTH}}  "
            f"{_cut(found.value_r):<{_VALUE_WIDTH}}  {says}  {found.in_words}"
        )
    wide = 18 + 2 * _VALUE_WIDTH + 4
    yield f"{'to start with':<{wide}}{answer.prior:>+11.1f} {answer.housemates_prior:>+11.1f}"
    yield (
        f"{'one person, or two strangers / housemates':<{wide}}"
        f"{answer.against_strangers:>+11.1f} {answer.against_housemates:>+11.1f}"
    )
    if answer.pair.match_weight is not None:
        yield (
            f"{'both considered':<{wide}}{answer.pair.match_weight:>+11.1f} bits,"
            f" {percent(answer.pair.match_probability)};"
            f" needed: {bits(answer.publication.threshold)}"
        )
    yield ""
    if answer.pair.match_weight is None:
        yield (
            f"They are joined {joined_without_weighing(answer.pair)}: the weight is not needed,"
            " nor a rule that brings them together"
        )
    else:
        yield from _rule_lines(answer)
    if answer.path:
        yield ""
        yield "How they came together"
        for step in answer.path:
            yield f"  {step.record_l}  -  {step.record_r}   {_weight(step)}  {_because(step)}"
    if answer.between:
        yield ""
        yield "Between their two profiles, most against first (bits that count between groups)"
        for pair in answer.between[:_MOST_LINES]:
            yield (
                f"  {pair.evidence:>+6.1f}  {pair.record_l}  -  {pair.record_r}  {_because(pair)}"
            )
        yield from _more(answer.between)
    yield from _decision_lines(answer.decisions)
    yield ""
    yield _about(answer)


def _rule_lines(answer: "PairExplanation") -> Iterator[str]:
    from klantbeeld.identity.explain.words import rule_in_words

    yield "Rules that bring them together"
    for rule in answer.rules:
        if rule.role != "also":
            agreeing = f"   not used: {rule.records} records agree on it"
            yield f"  {rule.rule}{'' if rule.role == 'first' else agreeing}"
    also = [rule.rule for rule in answer.rules if rule.role == "also"]
    if also:
        yield f"  would, too: {', '.join(also)}"
    if not answer.rules:
        yield "  none"
    elif not any(rule.role == "first" for rule in answer.rules) and answer.pair.rule is not None:
        yield f"  {rule_in_words(answer.pair.rule)}: weighed as both are linked to a third record"


def _profile_lines(answer: "ProfileExplanation") -> Iterator[str]:
    from klantbeeld.identity.explain.words import question_in_words, steps_in_words

    number = {record.record_id: place for place, record in enumerate(answer.records, start=1)}
    yield click.style(
        f"{answer.profile_id}  {len(answer.records)} record(s)"
        + ("" if answer.status == "active" else f", {answer.status}"),
        bold=True,
    )
    for sentence in answer.resolution:
        yield f"  {sentence}"
    for question in answer.questions:
        yield f"  {question_in_words(question)}"
    for warning in answer.warnings:
        yield click.style(f"  Mind: {warning}", fg="yellow")
    if answer.records:
        yield ""
        yield "Records"
    for record in answer.records:
        yield from _record_lines(str(number[record.record_id]), record)
    if answer.steps:
        yield ""
        yield "How it was built, strongest first"
        for place, (step, sentence) in enumerate(steps_in_words(answer), start=1):
            yield (
                f"  {place}. {_ends(step, number)}   {_weight(step.pair)}"
                f"  {_because(step.pair)}{f'  [{step.pair.rule}]' if step.pair.rule else ''}"
            )
            yield f"       {sentence}"
    if answer.refused:
        yield ""
        yield "What was kept apart, strongest first"
        for step in answer.refused[:_MOST_LINES]:
            known = (
                "a steward decided"
                if step.is_forbidden
                else f"all that is known between the groups: {step.in_favour or 0:+.1f} bits"
            )
            yield f"  {_ends(step, number)}   {_weight(step.pair)}  {_because(step.pair)}; {known}"
        yield from _more(answer.refused)
    if answer.doubts:
        yield ""
        yield "Doubts inside the profile"
        for pair in answer.doubts[:_MOST_LINES]:
            yield (
                f"  [{number[pair.record_l]}] - [{number[pair.record_r]}]  {pair.evidence:+.1f}"
                f" bits  {_because(pair)}"
            )
        yield from _more(answer.doubts)
    yield from _decision_lines(answer.decisions)
    if answer.history:
        yield ""
        yield "The id: " + "; ".join(
            f"{event}{f' ({other})' if other else ''} {at:%Y-%m-%d}"
            for at, event, other in answer.history
        )
    yield ""
    yield _about(answer)


def _record_lines(label: str, record: "RecordFacts") -> Iterator[str]:
    yield f"  {label:<3}{record.record_id}   {record.name}   {record.profile_id}"
    values = " · ".join(f"{name} {value}" for name, value in record.values.items())
    if values:
        yield f"     {values}"
    for sentence in record.set_aside:
        yield f"     {sentence}"


def _decision_lines(decisions: Sequence["Decision"]) -> Iterator[str]:
    if decisions:
        yield ""
        yield "Steward decisions"
    from klantbeeld.identity.explain.words import STATES

    for decision in decisions:
        ends = f"{decision.record_l}  -  {decision.record_r}".removesuffix("  -  ")
        yield (
            f"  {decision.verdict:<13} {ends}   {decision.decided_by},"
            f" {decision.decided_at:%Y-%m-%d}{f': {decision.why}' if decision.why else ''}"
            f"   ({STATES[decision.state]})"
        )


def _about(answer: "PairExplanation | ProfileExplanation") -> str:
    about = answer.publication
    return (
        f"Version {about.version_id}, as of {about.as_of:%Y-%m-%d %H:%M} UTC, model "
        f"{about.model_version}. A bit doubles the odds."
    )


def _ends(step: "MergeStep", number: dict[str, int]) -> str:
    return " + ".join(
        f"[{number[name]}]" if name in number else name
        for name in (step.pair.record_l, step.pair.record_r)
    )


def _weight(pair: "WeighedPair") -> str:
    from klantbeeld.identity.explain.words import joined_without_weighing

    if pair.match_weight is None:
        return joined_without_weighing(pair)
    return f"{pair.match_weight:+.1f} bits"


def _because(pair: "WeighedPair") -> str:
    return ", ".join(pair.because)


def _more(rows: Sequence[Any]) -> Iterator[str]:
    if len(rows) > _MOST_LINES:
        yield f"  ... and {len(rows) - _MOST_LINES} more: see --json"


def _cut(value: str | None) -> str:
    if value is None:
        return "-"
    return value if len(value) <= _VALUE_WIDTH else value[: _VALUE_WIDTH - 1] + "…"
