"""A linkage at a glance: figures from its tables, and the page that shows them.

Here: what each blocking rule cost and brought, profile sizes beside those of the last version,
weights, and, where a truth is known, what other thresholds would do. Counts only; no record is in
it. Not here: Splink's charts of the model (`charts`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Final

import duckdb

from klantbeeld.identity.evaluation import Quality, Threshold

LARGEST_SIZE: Final = 13
_LEAST_BITS, _MOST_BITS, _STEP = -30, 30, 2


@dataclass(frozen=True)
class RuleFigures:
    """What one blocking rule cost and brought.

    Attributes:
        rule: Its name; or what else brought pairs together.
        pairs: Pairs that it was the first to find; each was weighed.
        joined: Of these, pairs whose records are in one profile.
        kept_apart: Of these, pairs probable in themselves whose records are not.
        largest_block: Records in the largest block that it may use; None where there is no limit.
    """

    rule: str
    pairs: int
    joined: int
    kept_apart: int
    largest_block: int | None


@dataclass(frozen=True)
class SizeFigures:
    """Profiles of one size.

    Attributes:
        records: The number of records; `LARGEST_SIZE` stands for that and more.
        profiles: Profiles of so many records.
        before: The same in the version before; None if there was none.
    """

    records: int
    profiles: int
    before: int | None


@dataclass(frozen=True)
class WeightFigures:
    """Pairs of about one weight.

    Attributes:
        bits: The least weight of these pairs; the last of the row is two bits on.
        pairs: How many.
        joined: Of these, pairs whose records are in one profile.
    """

    bits: int
    pairs: int
    joined: int


@dataclass(frozen=True)
class Overview:
    """The figures of a linkage.

    Attributes:
        rules: Per blocking rule, most pairs first.
        sizes: Per number of records.
        weights: Per weight, lowest first.
        thresholds: What other thresholds would do; empty where no truth is known.
        quality: How good the profiles are; None where no truth is known.
    """

    rules: tuple[RuleFigures, ...]
    sizes: tuple[SizeFigures, ...]
    weights: tuple[WeightFigures, ...]
    thresholds: tuple[Threshold, ...] = ()
    quality: Quality | None = None


def read_overview(
    con: duckdb.DuckDBPyConnection,
    pairs: str = "pairs",
    profile_records: str = "profile_records",
    *,
    before: Mapping[int, int] | None = None,
    largest_blocks: Mapping[str, int] | None = None,
    thresholds: Sequence[Threshold] = (),
    quality: Quality | None = None,
) -> Overview:
    """Count what a linkage left behind.

    Args:
        con: An engine that has the tables.
        pairs: The table of weighed pairs.
        profile_records: The table of records with their profile.
        before: Profiles by number of records in the version before, as `read_sizes` gives them.
        largest_blocks: Per blocking rule, the records in the largest block it may use.
        thresholds: What other thresholds would do.
        quality: How good the profiles are.
    """
    allowed = largest_blocks or {}
    rules = con.execute(f"""
        select
            match_key,
            count(*),
            count(*) filter (decision = 'joined'),
            count(*) filter (decision not in ('joined', 'below_threshold'))
        from {pairs}
        group by match_key
        order by count(*) desc, match_key
    """).fetchall()
    now = read_sizes(con, profile_records)
    sizes = range(1, max([*now, *(before or {}), 0]) + 1)
    weights = con.execute(f"""
        select
            greatest({_LEAST_BITS}, least({_MOST_BITS}, floor(match_weight / {_STEP}) * {_STEP})),
            count(*),
            count(*) filter (decision = 'joined')
        from {pairs}
        where match_weight is not null
        group by 1
        order by 1
    """).fetchall()
    return Overview(
        rules=tuple(
            RuleFigures(str(rule), int(found), int(joined), int(apart), allowed.get(str(rule)))
            for rule, found, joined, apart in rules
        ),
        sizes=tuple(
            SizeFigures(size, now.get(size, 0), None if before is None else before.get(size, 0))
            for size in sizes
        ),
        weights=tuple(
            WeightFigures(int(bits), int(found), int(joined)) for bits, found, joined in weights
        ),
        thresholds=tuple(thresholds),
        quality=quality,
    )


def read_sizes(con: duckdb.DuckDBPyConnection, profile_records: str) -> dict[int, int]:
    """Profiles by number of records; `LARGEST_SIZE` stands for that and more."""
    rows = con.execute(f"""
        select size, count(*)
        from (
            select least(count(*), {LARGEST_SIZE}) as size
            from {profile_records} group by profile_id
        )
        group by size
    """).fetchall()
    return {int(size): int(profiles) for size, profiles in rows}


def overview_page(overview: Overview, model_version: str, charts: Iterable[str]) -> str:
    """The figures as an HTML page that needs no network.

    Args:
        overview: The figures.
        model_version: The model used.
        charts: File names of charts that lie beside the page.
    """
    links = " · ".join(
        f"<a href='{escape(name)}'>{escape(name.removesuffix('.html').replace('_', ' '))}</a>"
        for name in charts
    )
    css = files("klantbeeld.identity").joinpath("static/page.css").read_text()
    sections = [
        _threshold_section(overview),
        _section(
            "What the blocking rules cost, and what they brought",
            "A pair is counted for the first rule that found it. Weighing pairs is most of the cost"
            " of a linkage: a rule with many pairs of which few join is a candidate to drop.",
            _table(
                ("rule", "pairs weighed", "", "joined", "kept apart", "largest block"),
                [
                    (
                        escape(rule.rule),
                        f"{rule.pairs:,}",
                        _bar(rule.pairs, max(row.pairs for row in overview.rules), rule.joined),
                        f"{rule.joined:,} ({rule.joined / rule.pairs:.0%})",
                        f"{rule.kept_apart:,}",
                        "" if rule.largest_block is None else f"{rule.largest_block:,}",
                    )
                    for rule in overview.rules
                ],
            ),
        ),
        _section(
            "Profiles by number of records",
            "Beside those of the version before: a jump says that something joins or falls apart.",
            _table(
                ("records", "profiles", "", "before", "change"),
                [
                    (
                        f"{size.records}{' or more' if size.records == LARGEST_SIZE else ''}",
                        f"{size.profiles:,}",
                        _bar(size.profiles, max(row.profiles for row in overview.sizes)),
                        "" if size.before is None else f"{size.before:,}",
                        "" if size.before is None else f"{size.profiles - size.before:+,}",
                    )
                    for size in overview.sizes
                ],
            ),
        ),
        _section(
            "Pairs by weight",
            "Two well separated hills are a good sign; many pairs around 0 are undecided. The"
            " darker part is in one profile.",
            _table(
                ("bits", "pairs", ""),
                [
                    (
                        _range(row.bits),
                        f"{row.pairs:,}",
                        _bar(row.pairs, max(one.pairs for one in overview.weights), row.joined),
                    )
                    for row in overview.weights
                ],
            ),
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Linkage</title><style>{css}</style></head><body><main>"
        f"<header><p class='kicker'>Model {escape(model_version)}</p><h1>The linkage</h1></header>"
        f"<section><p class='lead'>Charts of the model: {links}</p></section>"
        f"{''.join(sections)}<footer>Counts only: no record is in this page.</footer>"
        "</main></body></html>\n"
    )


def _section(title: str, note: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p class='note'>{escape(note)}</p>{content}</section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table class='figures'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        if body
        else "<p class='note'>None.</p>"
    )


def _range(bits: int) -> str:
    if bits == _LEAST_BITS:
        return f"under {bits + _STEP:+d}"
    return f"{bits:+d} and over" if bits == _MOST_BITS else f"{bits:+d} to {bits + _STEP:+d}"


def _bar(value: int, most: int, part: int = 0) -> str:
    """A bar of a length, of which a part is darker."""
    width = 100 * value / max(most, 1)
    share = 100 * part / max(value, 1)
    inner = f"<b style='width:{share:.1f}%'></b>"
    return f"<div class='fill'><i style='width:{width:.1f}%'>{inner}</i></div>"


def _threshold_section(overview: Overview) -> str:
    if not overview.thresholds or overview.quality is None:
        return ""
    quality = overview.quality
    return _section(
        "Against the known truth, at other thresholds",
        "Pairs by themselves, joined from so many bits on: what of them is right (precision), and"
        " how much of what is right they are (recall). Pairs that never met cannot be found at"
        f" any threshold. The profiles, where all pairs were weighed together: precision"
        f" {quality.pair_precision:.3f}, recall {quality.pair_recall:.3f}, B-cubed F1"
        f" {quality.bcubed_f1:.3f}.",
        _lines(overview.thresholds),
    )


def _lines(thresholds: Sequence[Threshold]) -> str:
    left, right, top, bottom = 50, 980, 20, 290
    least, most = thresholds[0].bits, thresholds[-1].bits

    def x(bits: float) -> float:
        return left + (bits - least) / max(most - least, 1) * (right - left)

    def y(share: float) -> float:
        return bottom - share * (bottom - top)

    def line(name: str) -> str:
        points = " ".join(f"{x(row.bits):.1f},{y(getattr(row, name)):.1f}" for row in thresholds)
        end = getattr(thresholds[-1], name)
        return (
            f'<g class="{name}"><polyline points="{points}"/>'
            f'<text x="{right - 4}" y="{y(end) - 6:.0f}">{name}</text></g>'
        )

    grid = "".join(
        f'<line x1="{left}" x2="{right}" y1="{y(share):.0f}" y2="{y(share):.0f}"/>'
        f'<text x="{left - 8}" y="{y(share) + 4:.0f}" class="end">{share:.1f}</text>'
        for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    )
    ticks = "".join(
        f'<text x="{x(row.bits):.0f}" y="{bottom + 20}">{row.bits:+d}</text>'
        for row in thresholds
        if row.bits % 5 == 0
    )
    used = next((row.bits for row in thresholds if row.is_used), None)
    mark = (
        ""
        if used is None
        else f'<line class="used" x1="{x(used):.0f}" x2="{x(used):.0f}" y1="{top}" y2="{bottom}"/>'
        f'<text x="{x(used):.0f}" y="{top - 6}">used</text>'
    )
    parts = "".join(line(name) for name in ("precision", "recall", "f1"))
    return (
        f'<svg viewBox="0 0 1000 {bottom + 30}" class="lines" role="img" '
        f'aria-label="precision and recall by threshold">{grid}{ticks}{mark}{parts}</svg>'
    )


def as_rows(figures: Iterable[Any]) -> list[dict[str, str]]:
    """Figures as rows of text by column name; empty where nothing is known."""
    return [{name: _text(value) for name, value in vars(figure).items()} for figure in figures]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
