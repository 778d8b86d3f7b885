"""The records around a question as a picture: nodes by source, edges by weight, one SVG.

Here: layout and drawing, without a script and without the network. Not here: the page around it
(`page`).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from klantbeeld.identity.explain.answers import RecordFacts, WeighedPair
from klantbeeld.identity.explain.words import edge_weight, joined_without_weighing

Points = NDArray[np.float64]
# Left, top, right, bottom.
Box = tuple[float, float, float, float]

# More than this is no picture any more; those that matter most are drawn.
MOST_NODES: Final = 40
# Told apart also by people who see red and green alike.
SOURCE_COLOURS: Final = (
    "#2f6f9f",
    "#c8741a",
    "#7b5ea7",
    "#2a8c8c",
    "#b5486f",
    "#7a6a4f",
    "#4d6fd0",
)
_PROFILE_COLOURS: Final = ("#dcebf7", "#f7e8d4", "#e6e0f2", "#dcf0ec", "#f6dfe7", "#ebe7dd")
_WIDTH: Final = 1000
_MARGIN: Final = 90
_SPACING: Final = 145.0
# Distances aimed at, in steps of `_SPACING`. The pairs that hold a profile together are the
# shortest, so that it looks like the tree it was built as.
_STRONGEST, _FELLOWS, _REFUSED, _OTHERS = 1.0, 1.9, 2.4, 2.9
# Where on its line a weight may stand, the best first.
_PLACES_ON_LINE: Final = (0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.65, 0.3, 0.7)
# Labels are wider than they are high.
_STRETCH: Final = 1.4


def source_colours(records: Collection[RecordFacts]) -> dict[str, str]:
    """A colour per source."""
    sources = sorted({record.source for record in records})
    return {
        source: SOURCE_COLOURS[place % len(SOURCE_COLOURS)] for place, source in enumerate(sources)
    }


def draw_graph(
    records: Sequence[RecordFacts],
    pairs: Sequence[WeighedPair],
    labels: Mapping[str, str],
    threshold: float,
) -> str:
    """Draw records and what is known between them.

    Args:
        records: The records, those that matter most first.
        pairs: The weighed pairs; what concerns other records is left out.
        labels: The short label in each record's node.
        threshold: Bits from which a pair joins records.

    Returns:
        An SVG element; empty if there is nothing to draw.
    """
    drawn = list(records[:MOST_NODES])
    if len(drawn) < 2:
        return ""
    place = {record.record_id: number for number, record in enumerate(drawn)}
    known = [
        pair
        for pair in pairs
        if pair.record_l in place and pair.record_r in place and pair.decision is not None
    ]
    strongest = _spanning(known, place, threshold)
    points, height = _to_canvas(_layout(drawn, known, place, threshold, strongest))
    colours = source_colours(records)
    profiles = list(dict.fromkeys(record.profile_id for record in drawn))
    opening = (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" class="graph" '
        'aria-label="Records and the pairs between them">'
    )
    parts = [opening]
    for number, profile in enumerate(profiles):
        colour = _PROFILE_COLOURS[number % len(_PROFILE_COLOURS)]
        parts.append(_halo(profile, colour, drawn, place, points))
    for pair in sorted(known, key=edge_weight):
        ends = points[place[pair.record_l]], points[place[pair.record_r]]
        parts.append(_edge(pair, *ends, threshold, is_strong=id(pair) in strongest))
    for record in drawn:
        x, y = points[place[record.record_id]]
        parts.append(_node(record, labels[record.record_id], x, y, colours[record.source]))
    taken = [box for record in drawn for box in _boxes(record, *points[place[record.record_id]])]
    for pair in sorted(known, key=edge_weight, reverse=True):
        if id(pair) in strongest or _is_refused(pair):
            ends = points[place[pair.record_l]], points[place[pair.record_r]]
            parts.append(_weight(pair, *ends, taken))
    parts.append("</svg>")
    if len(records) > len(drawn):
        parts.append(f"<p class='note'>{len(records) - len(drawn)} more records not drawn.</p>")
    return "".join(parts)


def _layout(
    records: Sequence[RecordFacts],
    pairs: Sequence[WeighedPair],
    place: Mapping[str, int],
    threshold: float,
    strongest: Collection[int],
) -> Points:
    """Positions whose distances come close to those aimed at (stress majorisation)."""
    count = len(records)
    profile = np.array([record.profile_id for record in records])
    aim = np.where(profile[:, None] == profile[None, :], _FELLOWS, _OTHERS)
    for pair in pairs:
        a, b = place[pair.record_l], place[pair.record_r]
        if id(pair) in strongest:
            aim[a, b] = aim[b, a] = _STRONGEST
        elif edge_weight(pair) >= threshold and profile[a] != profile[b]:
            aim[a, b] = aim[b, a] = _REFUSED
    np.fill_diagonal(aim, 0)
    angle = 2 * math.pi * np.arange(count) / count
    # An ellipse, as the page is wider than it is high; fellows start side by side.
    order = np.argsort(np.unique(profile, return_inverse=True)[1], kind="stable")
    points = np.empty((count, 2))
    points[order] = np.column_stack([1.6 * np.cos(angle), 0.8 * np.sin(angle)]) * count / 4
    weight = np.where(aim > 0, 1 / np.maximum(aim, 1e-9) ** 2, 0.0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian)
    for _ in range(150):
        distance = np.linalg.norm(points[:, None] - points[None, :], axis=2)
        ratio = np.where(distance > 1e-9, weight * aim / np.maximum(distance, 1e-9), 0.0)
        pull = np.diag(ratio.sum(axis=1)) - ratio
        points = inverse @ pull @ points
    return points


def _to_canvas(points: Points) -> tuple[Points, float]:
    """Turned so that the longest side is level, and scaled to the width of the page."""
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    turned = centred @ axes.T
    # Singular vectors have no sign of their own: the first record is to the left.
    turned *= np.where(turned[0] > 0, -1.0, 1.0)
    span = np.ptp(turned, axis=0)
    scale = min((_WIDTH - 2 * _MARGIN) / max(span[0] * _STRETCH, 1e-9), _SPACING)
    turned = turned * np.array([scale * _STRETCH, scale])
    turned -= turned.min(axis=0)
    offset = (_WIDTH - np.ptp(turned[:, 0])) / 2
    height = float(np.ptp(turned[:, 1])) + 2 * 62
    return turned + np.array([offset, 52.0]), height


def _spanning(pairs: Sequence[WeighedPair], place: Mapping[str, int], threshold: float) -> set[int]:
    """The strongest pairs that hold each profile together; the others are drawn thin."""
    group = list(range(len(place)))
    chosen = set()
    for pair in sorted(pairs, key=edge_weight, reverse=True):
        if edge_weight(pair) < threshold or pair.decision in ("refused", "held"):
            continue
        a, b = group[place[pair.record_l]], group[place[pair.record_r]]
        if a != b:
            chosen.add(id(pair))
            group = [a if name == b else name for name in group]
    return chosen


def _halo(
    profile: str,
    colour: str,
    records: Sequence[RecordFacts],
    place: Mapping[str, int],
    points: Points,
) -> str:
    """The ground that the records of one profile stand on."""
    members = [record.record_id for record in records if record.profile_id == profile]
    parts = [f'<g stroke="{colour}" fill="{colour}" stroke-width="84" stroke-linecap="round">']
    parts.append(f"<title>profile {escape(profile)}</title>")
    inner = points[[place[name] for name in members]]
    around = inner - inner.mean(axis=0)
    ring = inner[np.argsort(np.arctan2(around[:, 1], around[:, 0]))]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in ring)
    parts.append(f'<polygon points="{corners}" stroke-linejoin="round"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="42" stroke="none"/>' for x, y in inner]
    return "".join([*parts, "</g>"])


def _edge(
    pair: WeighedPair, start: Points, end: Points, threshold: float, *, is_strong: bool
) -> str:
    (x1, y1), (x2, y2) = start, end
    weight = edge_weight(pair)
    told = ", ".join(pair.because)
    if _is_refused(pair):
        kind, width = "refused", 2.5
    elif weight >= threshold:
        kind = "joined" if is_strong else "also"
        width = 2 + min(weight, 24) / 4 if is_strong else 1.2
    elif pair.evidence < 0:
        kind, width = "against", 1.4
    else:
        kind, width = "weak", 1.0
    unit = "" if pair.match_weight is None else " bits"
    return (
        f'<g class="{kind}"><title>{escape(f"{_text(pair)}{unit}: {told}")}</title>'
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke-width="{width:.1f}"/></g>'
    )


def _weight(pair: WeighedPair, start: Points, end: Points, taken: list[Box]) -> str:
    """What a pair is worth, on its line, where it hides nothing that is drawn already."""
    text = _text(pair)
    half = 4 + 3.6 * len(text)
    boxes = []
    for share in _PLACES_ON_LINE:
        x, y = start + (end - start) * share
        boxes.append((x - half, y - 9.0, x + half, y + 9.0))
    left, top, right, bottom = min(
        boxes, key=lambda box: sum(_overlap(box, other) for other in taken)
    )
    taken.append((left, top, right, bottom))
    return (
        f'<g class="{"refused" if _is_refused(pair) else "joined"}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{2 * half:.1f}" height="18" rx="9"/>'
        f'<text x="{(left + right) / 2:.1f}" y="{(top + bottom) / 2 + 4:.1f}">{escape(text)}</text>'
        "</g>"
    )


def _text(pair: WeighedPair) -> str:
    if pair.match_weight is None:
        return joined_without_weighing(pair).removeprefix("by ").removeprefix("a ")
    return f"{pair.match_weight:+.1f}"


def _is_refused(pair: WeighedPair) -> bool:
    return pair.decision in ("refused", "held")


def _boxes(record: RecordFacts, x: float, y: float) -> list[Box]:
    """What a node takes: its disc, its name and its source."""
    name = 3.7 * len(_short(record.name))
    source = 3.1 * len(f"{record.source} {record.entity}".strip())
    return [
        (x - 21, y - 21, x + 21, y + 21),
        (x - name, y + 24, x + name, y + 38),
        (x - source, y + 38, x + source, y + 51),
    ]


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)


def _node(record: RecordFacts, label: str, x: float, y: float, colour: str) -> str:
    return (
        f'<g class="node"><title>{escape(record.record_id)}\n{escape(record.name)}\n'
        f"profile {escape(record.profile_id)}</title>"
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="19" fill="{colour}"/>'
        f'<text class="label" x="{x:.1f}" y="{y + 5:.1f}">{escape(label)}</text>'
        f'<text class="name" x="{x:.1f}" y="{y + 35:.1f}">{escape(_short(record.name))}</text>'
        f'<text class="source" x="{x:.1f}" y="{y + 48:.1f}">'
        f"{escape(f'{record.source} {record.entity}'.strip())}</text></g>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
