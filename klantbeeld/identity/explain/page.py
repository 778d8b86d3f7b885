"""An answer as one HTML page: it needs no network, and holds personal data.

Here: what stands where. Not here: the looks (`identity/static/page.css`), the graph (`graph`), the
sentences (`words`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from klantbeeld.identity.explain.answers import (
    ComparisonFinding,
    Decision,
    MergeStep,
    PairExplanation,
    ProfileExplanation,
    Publication,
    RecordFacts,
    RuleFinding,
    WeighedPair,
)
from klantbeeld.identity.explain.graph import draw_graph, source_colours
from klantbeeld.identity.explain.published import AS_WRITTEN
from klantbeeld.identity.explain.words import (
    STATES,
    edge_weight,
    joined_without_weighing,
    percent,
    question_in_words,
    rule_in_words,
    steps_in_words,
)

# A bar of this many bits fills its half of the column.
_FULL_BAR: Final = 18.0
_MOST_ROWS: Final = 40
_COMMAND: Final = re.compile(r"`([^`]+)`")
# The page fetches and sends nothing, whatever is in it. Splink's chart compiles its expressions.
_NO_NETWORK: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data:"
)
_COLUMNS: Final = {"birth date": "nowrap", "address": "address", "e-mail": "anywhere"}
_ROLES: Final = {
    "first": "brought them together",
    "left_out": "not used",
}


def pair_page(answer: PairExplanation, waterfall: str) -> str:
    """The page of a pair.

    Args:
        answer: What `Explainer.why` found.
        waterfall: Splink's chart of it, a page of its own.
    """
    left, right = answer.record_l, answer.record_r
    labels = _labels(answer.records, first=(left.record_id, right.record_id))
    in_order = sorted(
        answer.records,
        key=lambda record: (
            record.record_id not in (left.record_id, right.record_id),
            record.profile_id not in (left.profile_id, right.profile_id),
            record.record_id,
        ),
    )
    graph = draw_graph(in_order, answer.pairs, labels, answer.publication.threshold)
    colours = source_colours(answer.records)
    cards = [_card(record, labels, colours) for record in (left, right)]
    sections = [
        _verdict(
            "One person" if answer.is_together else "Two people",
            "good" if answer.is_together else "bad",
            answer.reasons,
            answer.warnings,
            _names(answer.records, labels),
        ),
        f"<div class='cards'>{''.join(cards)}</div>",
        _comparisons(answer),
        _section("How they came together", _pairs_table(answer.path, labels))
        if answer.path
        else "",
        _section(
            "What is known between their two profiles",
            _pairs_table(answer.between, labels, by_evidence=True),
            "Two groups of records become one only if all that is known between them, comparison by"
            " comparison, is in favour. What many pairs repeat counts little more than once; that"
            " pairs were never compared counts up to 2 bits against."
            + (
                f" Here that comes to <b>{answer.in_favour:+.1f} bits</b>."
                if answer.in_favour is not None
                else ""
            ),
        )
        if len(answer.between) > 1
        else "",
        _section("The records around them", graph + _LEGEND) if graph else "",
        _rules(answer.rules, answer.pair),
        _decisions(answer.decisions, labels),
        _section(
            "Splink's waterfall",
            f"<iframe class='chart' title='waterfall' srcdoc='{_framed(waterfall)}'></iframe>",
            "From what two records drawn at random start with, comparison by comparison, to the"
            " weight against two strangers. What housemates share is not in this chart.",
        ),
    ]
    title = f"{left.name} · {right.name}"
    return _page(title, "Why?", sections, answer.publication)


def profile_page(answer: ProfileExplanation) -> str:
    """The page of a profile, as `Explainer.how` found it."""
    everything = [*answer.records, *answer.neighbours]
    labels, colours = _labels(everything), source_colours(everything)
    graph = draw_graph(everything, answer.pairs, labels, answer.publication.threshold)
    count = len(answer.records)
    systems = len({record.source for record in answer.records})
    headline = (
        f"{count} record{'s' if count != 1 else ''} from {systems} "
        f"source{'s' if systems != 1 else ''}"
        if count
        else f"No records left ({answer.status})"
    )
    sections = [
        _verdict(
            headline,
            "good" if count else "bad",
            _profile_reasons(answer),
            answer.warnings,
            _names(everything, labels),
        ),
        _section("The records", _records_table(answer.records, labels, colours)) if count else "",
        _section("How they hang together", graph + _LEGEND) if graph else "",
        _section(
            "How it was built",
            _steps_table(answer, labels),
            "Strongest pair first. Each step puts two groups of records together.",
        )
        if answer.steps
        else "",
        _section(
            "What was kept out",
            _refused_table(answer.refused, labels),
            "These pairs alone look like one person. All that is known between the two groups said"
            " otherwise.",
        )
        if answer.refused
        else "",
        _section(
            "Doubts inside the profile",
            _pairs_table(answer.doubts, labels, by_evidence=True),
            "These records speak against each other; the others outweigh them.",
        )
        if answer.doubts
        else "",
        _section(
            "Records of other profiles in this picture",
            _records_table(answer.neighbours, labels, colours, with_profile=True),
        )
        if answer.neighbours
        else "",
        _decisions(answer.decisions, labels),
        _history(answer),
    ]
    names = Counter(record.name for record in answer.records)
    title = max(names, key=lambda name: (names[name], len(name)), default=answer.profile_id)
    return _page(title, f"How? {answer.profile_id}", sections, answer.publication)


def _page(title: str, kicker: str, sections: Iterable[str], publication: Publication) -> str:
    css = files("klantbeeld.identity").joinpath("static/page.css").read_text()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_NETWORK}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head><body><main>"
        f"<header><p class='kicker'>{escape(kicker)}</p><h1>{escape(title)}</h1></header>"
        f"{''.join(sections)}"
        "<footer><p><b>Bits.</b> A bit doubles the odds: +1 is two to one, +10 about a thousand to"
        " one, −10 a thousand to one against.</p>"
        f"<p>Version {escape(publication.version_id)}, as of {publication.as_of:%Y-%m-%d %H:%M}"
        f" UTC, linkage model {escape(publication.model_version)}; pairs from"
        f" {percent(publication.join_probability)} on join records.</p>"
        "<p>This page holds personal data: keep it to those who need it, and remove it after use."
        "</p></footer></main></body></html>\n"
    )


def _verdict(
    headline: str,
    mood: str,
    reasons: Sequence[str],
    warnings: Sequence[str],
    names: Mapping[str, str],
) -> str:
    told = []
    for reason in reasons:
        sentence = _COMMAND.sub(r"<code>\1</code>", escape(reason))
        for record_id in sorted(names, key=len, reverse=True):
            sentence = sentence.replace(escape(record_id), names[record_id])
        told.append(sentence)
    first = f"<p class='lead'>{told[0]}</p>" if told else ""
    rest = "".join(f"<li>{sentence}</li>" for sentence in told[1:])
    mind = "".join(f"<p class='mind'>{escape(warning)}</p>" for warning in warnings)
    return (
        f"<section class='verdict {mood}'><h2>{escape(headline)}</h2>{first}"
        f"{f'<ul>{rest}</ul>' if rest else ''}{mind}</section>"
    )


def _section(title: str, content: str, note: str = "") -> str:
    told = f"<p class='note'>{note}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{content}</section>"


def _labels(records: Sequence[RecordFacts], first: Sequence[str] = ()) -> dict[str, str]:
    """A and B for the two records of a question, numbers for others."""
    labels = {name: chr(ord("A") + place) for place, name in enumerate(first)}
    others = (record.record_id for record in records if record.record_id not in labels)
    return labels | {name: str(place) for place, name in enumerate(others, start=1)}


def _names(records: Sequence[RecordFacts], labels: Mapping[str, str]) -> dict[str, str]:
    """What stands for records in a sentence: their label; who is in no card, by name too."""
    return {
        record.record_id: _name(record.record_id, labels)
        + (
            f" ({escape(record.name)}, {escape(f'{record.source} {record.entity}'.strip())})"
            if labels[record.record_id].isdigit()
            else ""
        )
        for record in records
    }


def _badge(record: RecordFacts, label: str, colour: str) -> str:
    return (
        f"<span class='badge' style='background:{colour}'>{escape(label)}</span>"
        f"<span class='source'>{escape(record.source)} {escape(record.entity)}</span>"
    )


def _card(record: RecordFacts, labels: Mapping[str, str], colours: Mapping[str, str]) -> str:
    colour = colours[record.source]
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in record.values.items()
    )
    aside = "".join(f"<p class='mind'>{escape(told)}</p>" for told in record.set_aside)
    return (
        f"<article class='card' style='border-top-color:{colour}'>"
        f"<p>{_badge(record, labels[record.record_id], colour)}</p>"
        f"<h3>{escape(record.name)}</h3><dl>{rows}</dl>{aside}"
        f"<p class='id'>{escape(record.record_id)}<br>profile {escape(record.profile_id)}</p>"
        "</article>"
    )


def _comparisons(answer: PairExplanation) -> str:
    rows = "".join(_comparison(found) for found in answer.comparisons)
    start = (
        "<tr class='start'><th>to start with</th>"
        "<td colspan='3'>how rare it is that two records are of one person, and how many housemates"
        f" there are for each</td>{_bar(answer.prior)}{_bar(answer.housemates_prior)}</tr>"
    )
    sums = (
        "<tr class='sum'><th>sum</th><td colspan='2'></td><td></td>"
        f"<td class='n'>{answer.against_strangers:+.1f}</td>"
        f"<td class='n'>{answer.against_housemates:+.1f}</td></tr>"
    )
    pair = answer.pair
    if pair.match_weight is None:
        joined = joined_without_weighing(pair)
        final = f"<p class='final'>They are joined {joined}; the weight is not needed.</p>"
    else:
        final = (
            f"<div class='final'>{_gauge(pair.match_weight, answer.publication.threshold)}"
            f"<p>Both alternatives considered: <b>{pair.match_weight:+.1f} bits</b>, a probability"
            f" of <b>{percent(pair.match_probability)}</b>. The weaker of the two columns"
            " decides.</p></div>"
        )
    table = (
        "<table class='comparisons'><thead><tr><th>compared</th><th>A</th><th>B</th>"
        "<th>found</th><th class='w'>one person, or<br>two <b>strangers</b>?</th>"
        "<th class='w'>one person, or<br>two <b>housemates</b>?</th></tr></thead>"
        f"<tbody>{start}{rows}</tbody><tfoot>{sums}</tfoot></table>"
    )
    return _section("What was compared", table + final)


def _comparison(found: ComparisonFinding) -> str:
    values = "".join(
        f"<td class='value'>{escape(value) if value else '–'}</td>"
        for value in (found.value_l, found.value_r)
    )
    if found.level is None:
        return (
            f"<tr class='nothing'><th>{escape(found.called)}</th>{values}"
            f"<td>{escape(found.in_words)}</td><td></td><td></td></tr>"
        )
    rarity = ""
    if abs(found.due_to_rarity) >= 0.5:
        kind = "rare" if found.due_to_rarity > 0 else "common"
        rarity = f"<small>{kind} here: {found.due_to_rarity:+.1f} bits of it</small>"
    return (
        f"<tr><th>{escape(found.called)}</th>{values}<td>{escape(found.in_words)}{rarity}</td>"
        f"{_bar(found.against_strangers)}{_bar(found.against_housemates)}</tr>"
    )


def _pair_bar(pair: WeighedPair) -> str:
    if pair.match_weight is None:
        return f"<td class='w'><span class='for'>{joined_without_weighing(pair)}</span></td>"
    return _bar(pair.match_weight)


def _bar(bits: float) -> str:
    """Bits as a bar from the middle."""
    share = min(abs(bits) / _FULL_BAR, 1.0) * 50
    side = f"left:50%;width:{share:.1f}%" if bits >= 0 else f"right:50%;width:{share:.1f}%"
    mood = "for" if bits >= 0 else "against"
    return (
        f"<td class='w'><div class='bar'><i class='{mood}' style='{side}'></i></div>"
        f"<span class='{mood}'>{bits:+.1f}</span></td>"
    )


def _gauge(bits: float, threshold: float) -> str:
    """Where the weight lies between certainly two and certainly one."""

    def at(value: float) -> float:
        return 500 + max(-1.0, min(1.0, value / 30)) * 470

    mood = "for" if bits >= threshold else "against"
    ticks = "".join(
        f'<text x="{at(tick):.0f}" y="58">{tick:+d}</text>' for tick in (-30, -20, -10, 10, 20, 30)
    )
    return (
        '<svg viewBox="0 0 1000 64" class="gauge" role="img" aria-label="weight of the pair">'
        '<rect x="30" y="26" width="940" height="12" rx="6" class="ground"/>'
        f'<rect x="{min(at(threshold), at(bits)):.0f}" y="26" '
        f'width="{abs(at(bits) - at(threshold)):.0f}" height="12" class="{mood}"/>'
        f'<line x1="{at(threshold):.0f}" x2="{at(threshold):.0f}" y1="16" y2="46"/>'
        f'<text x="{at(threshold):.0f}" y="58" class="needed">needed</text>'
        f'<circle cx="{at(bits):.0f}" cy="32" r="10" class="{mood}"/>'
        '<text x="30" y="14" class="end start">two people</text>'
        '<text x="970" y="14" class="end">one person</text>'
        f"{ticks}</svg>"
    )


def _pairs_table(
    pairs: Sequence[WeighedPair], labels: Mapping[str, str], *, by_evidence: bool = False
) -> str:
    rows = "".join(
        f"<tr><td class='ends'>{_ends(pair, labels)}</td>"
        f"<td>{escape(', '.join(pair.because))}</td><td>{escape(rule_in_words(pair.rule))}</td>"
        f"{_bar(pair.evidence) if by_evidence else _pair_bar(pair)}</tr>"
        for pair in pairs[:_MOST_ROWS]
    )
    counts = "counts for" if by_evidence else "bits"
    return (
        "<table><thead><tr><th>records</th><th>mainly because of</th><th>brought together by</th>"
        f"<th class='w'>{counts}</th></tr></thead><tbody>{rows}</tbody></table>"
        f"{_rest(pairs)}"
    )


def _steps_table(answer: ProfileExplanation, labels: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><td class='n'>{place}</td><td class='ends'>{_ends(step.pair, labels)}</td>"
        f"<td>{escape(', '.join(step.pair.because))}"
        f"<small>{escape(sentence)}</small></td>"
        f"<td>{escape(rule_in_words(step.pair.rule))}</td>{_pair_bar(step.pair)}</tr>"
        for place, (step, sentence) in enumerate(steps_in_words(answer), start=1)
    )
    return (
        "<table><thead><tr><th>step</th><th>records</th><th>mainly because of</th>"
        "<th>brought together by</th><th class='w'>bits</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _refused_table(steps: Sequence[MergeStep], labels: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><td class='ends'>{_ends(step.pair, labels)}</td>"
        f"<td>{escape(', '.join(step.pair.because))}</td>"
        f"{_pair_bar(step.pair)}{_against(step)}</tr>"
        for step in steps[:_MOST_ROWS]
    )
    return (
        "<table><thead><tr><th>records</th><th>alike in</th><th class='w'>the pair alone</th>"
        "<th class='w'>all between the groups</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{_rest(steps)}"
    )


def _against(step: MergeStep) -> str:
    """All between two groups that were kept apart; a decision is beyond any weight."""
    if step.is_forbidden:
        return "<td class='w'><span class='against'>by decision</span></td>"
    return _bar(step.in_favour or 0.0)


def _records_table(
    records: Sequence[RecordFacts],
    labels: Mapping[str, str],
    colours: Mapping[str, str],
    *,
    with_profile: bool = False,
) -> str:
    used = {name for record in records for name in record.values}
    columns = [name for name in AS_WRITTEN if name in used]
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = "".join(
        f"<tr><td class='record'>{_badge(record, labels[record.record_id], colours[record.source])}"
        f"<b>{escape(record.name)}</b><small class='id'>{escape(record.record_id)}"
        f"{f'<br>profile {escape(record.profile_id)}' if with_profile else ''}</small>"
        f"{''.join(f'<small>{escape(told)}</small>' for told in record.set_aside)}</td>"
        + "".join(
            f"<td class='{_COLUMNS.get(name, '')}'>{escape(record.values.get(name, ''))}</td>"
            for name in columns
        )
        + "</tr>"
        for record in records[:_MOST_ROWS]
    )
    return (
        "<div class='wide'><table class='records'><thead><tr><th>record</th>"
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>{_rest(records)}"
    )


def _rules(rules: Sequence[RuleFinding], pair: WeighedPair) -> str:
    if pair.match_weight is None:
        note = f"{escape(rule_in_words(pair.rule)).capitalize()}, whatever they have in common."
        return _section("What brings them together", "", note)
    if not rules:
        note = (
            "None: they agree on nothing that brings records together."
            if pair.rule is None
            else f"{escape(rule_in_words(pair.rule)).capitalize()}."
        )
        return _section("What brings them together", "", note)
    chips = "".join(
        f"<li class='{rule.role}'><b>{escape(rule_in_words(rule.rule))}</b>"
        f"<small>{_ROLES[rule.role]}{_agreeing(rule)}</small></li>"
        for rule in rules
        if rule.role in _ROLES
    )
    also = [rule_in_words(rule.rule) for rule in rules if rule.role == "also"]
    rest = f"<p class='also'>Would have, too: {escape('; '.join(also))}.</p>" if also else ""
    return _section("What brings them together", f"<ul class='chips'>{chips}</ul>{rest}")


def _agreeing(rule: RuleFinding) -> str:
    return "" if rule.records is None else f": {rule.records:,} records agree on it"


def _decisions(decisions: Sequence[Decision], labels: Mapping[str, str]) -> str:
    if not decisions:
        return ""
    rows = "".join(
        f"<tr><td><b>{escape(decision.verdict.replace('_', ' '))}</b></td>"
        f"<td class='ends'>{_name(decision.record_l, labels)}"
        f"{' – ' + _name(decision.record_r, labels) if decision.record_r else ''}</td>"
        f"<td>{escape(decision.why or '')}</td><td>{escape(decision.decided_by)},"
        f" {decision.decided_at:%Y-%m-%d}"
        f"<small>{STATES[decision.state]}</small></td></tr>"
        for decision in decisions
    )
    return _section(
        "Decisions of stewards",
        "<table><thead><tr><th>decision</th><th>records</th><th>why</th><th>who, when</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>",
    )


def _history(answer: ProfileExplanation) -> str:
    if not answer.history:
        return ""
    rows = "".join(
        f"<li><b>{at:%Y-%m-%d}</b> {escape(event)}{f' ({escape(other)})' if other else ''}</li>"
        for at, event, other in answer.history
    )
    return _section(f"The id {answer.profile_id}", f"<ul class='history'>{rows}</ul>")


def _profile_reasons(answer: ProfileExplanation) -> list[str]:
    told = [*answer.resolution]
    if answer.steps:
        weakest = min(answer.steps, key=lambda step: edge_weight(step.pair)).pair
        told.append(
            "Keys and decisions join all of it."
            if weakest.match_weight is None
            else f"The weakest step is worth {weakest.match_weight:+.1f} bits"
            f" ({', '.join(weakest.because)})."
        )
    elif len(answer.records) == 1:
        told.append("No other record is near enough to be the same person.")
    told += [question_in_words(question) for question in answer.questions]
    if answer.doubts:
        told.append(f"{len(answer.doubts)} pairs inside it speak against each other.")
    if answer.refused:
        refused = {
            name for step in answer.refused for name in (step.pair.record_l, step.pair.record_r)
        }
        others = {record.profile_id for record in answer.neighbours if record.record_id in refused}
        told.append(
            f"It was kept apart from {len(others)} other profile{'s' if len(others) != 1 else ''}"
            " that looked alike."
        )
    return told


def _ends(pair: WeighedPair, labels: Mapping[str, str]) -> str:
    return f"{_name(pair.record_l, labels)} – {_name(pair.record_r, labels)}"


def _name(record_id: str, labels: Mapping[str, str]) -> str:
    label = labels.get(record_id)
    if label is None:
        return escape(record_id)
    return f"<span class='ref' title='{escape(record_id)}'>{escape(label)}</span>"


def _rest(rows: Sequence[object]) -> str:
    left = len(rows) - _MOST_ROWS
    return f"<p class='note'>… and {left} more: see --json.</p>" if left > 0 else ""


def _framed(page: str) -> str:
    """A page for an attribute, without the controls that make no sense for a single pair."""
    style = (
        "<style>body{margin:0}.vega-bind,.vega-embed summary{display:none}"
        ".vega-embed{width:100%;justify-content:center}</style></head>"
    )
    return escape(page.replace("</head>", style, 1), quote=True)


_LEGEND: Final = (
    "<p class='legend'><span class='joined'>joined them</span>"
    "<span class='also'>agrees</span><span class='against'>speaks against</span>"
    "<span class='refused'>looks alike, but was refused or waits</span>"
    "<span class='ground'>one shade: one profile</span></p>"
)
