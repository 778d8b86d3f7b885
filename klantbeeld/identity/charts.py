"""Charts of a linkage: HTML files of their own that need no network and hold no record.

Here: match weights and parameters of the model, unlinkable records (Splink's charts, which carry
their drawing library in the file), and the overview beside them; for a linkage that was just done,
and for that of a build. Not here: the figures (`overview`), where they are linked from.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import duckdb

from klantbeeld.control import ControlPlane
from klantbeeld.files import private_dir, write_atomic
from klantbeeld.identity import preparation, registry, truth
from klantbeeld.identity.frozen import Frequencies
from klantbeeld.identity.model import LinkageModel
from klantbeeld.identity.overview import Overview, overview_page, read_overview
from klantbeeld.identity.scoring import Scorer
from klantbeeld.identity.suppression import suppress_values
from klantbeeld.settings import Settings

# In the reports of a home.
FOLDER: Final = "linkage"
OVERVIEW: Final = "linkage.html"
# Scoring every record against itself is one more pass; a sample shows the same curve.
UNLINKABLES_SAMPLE: Final = 50_000
CHARTS: Final = ("match_weights", "parameters", "unlinkable_records")
_DRAWN_FOR: Final = "drawn_for.json"


@dataclass(frozen=True)
class LinkageCharts:
    """Charts and what they show.

    Attributes:
        files: The files, the overview first.
        overview: The figures of the overview.
        is_new: Whether they were drawn just now; otherwise they are still those of this linkage.
    """

    files: tuple[Path, ...]
    overview: Overview
    is_new: bool


def candidate_folder(settings: Settings, model_version: str) -> Path:
    """Where the charts of a candidate are: of the linkage that it was compared by."""
    return settings.paths.reports_dir / FOLDER / model_version


def write_linkage_charts(
    con: duckdb.DuckDBPyConnection, folder: Path, model: LinkageModel, records: int
) -> list[Path]:
    """Write the charts of a linkage that was just done.

    Args:
        con: The linkage's own database, with `people`, `pairs` and `profile_records`.
        folder: Where the files go; made if it is missing.
        model: The model used.
        records: The number of records.

    Returns:
        The files, the overview first.
    """
    if records < 2:
        return []
    con.execute(
        "create or replace table chart_people as from people "
        f"order by hash(record_id) limit {UNLINKABLES_SAMPLE}"
    )
    drawn = _draw(con, folder, model, records, "chart_people")
    con.execute("drop table chart_people")
    return [_write_overview(read_overview(con), folder, model, drawn), *drawn]


def write_candidate_charts(
    con: duckdb.DuckDBPyConnection, settings: Settings, model: LinkageModel, records: int
) -> None:
    """Write the charts of a candidate in the place of those of the candidate before.

    Args:
        con: As `write_linkage_charts` needs it.
        settings: The home's settings; the files go to its reports.
        model: The candidate.
        records: The number of records.
    """
    folder = candidate_folder(settings, model.version)
    for other in folder.parent.glob("*/"):
        shutil.rmtree(other)
    write_linkage_charts(con, folder, model, records)


def draw_charts(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    control: ControlPlane,
    before: Mapping[int, int] | None,
) -> LinkageCharts | None:
    """Draw the linkage of a build, unless the charts in the home are of this linkage already.

    Args:
        con: The open build; it is only read.
        settings: The home's settings; the files go to its reports.
        control: The control plane; it is only read.
        before: Profiles by number of records in the published version (`overview.read_sizes`).

    Returns:
        The charts; None if fewer than two records are linked.
    """
    row = con.execute(
        "select model_version, records, input_digest, state_after from identity.linkage_report"
    ).fetchone()
    if row is None or row[1] < 2:
        return None
    version = registry.named_version(settings, control, str(row[0]))
    frozen = version.frozen()
    overview = read_overview(
        con,
        "identity.pairs",
        "identity.profile_records",
        before=before,
        largest_blocks=None if frozen is None else frozen.largest_blocks,
        thresholds=truth.evaluate_other_thresholds(con, settings),
        quality=truth.evaluate(con, settings),
    )
    folder = settings.paths.reports_dir / FOLDER
    drawn_for = folder / _DRAWN_FOR
    of = json.dumps([str(value) for value in row])
    files = [folder / OVERVIEW, *(folder / f"{name}.html" for name in CHARTS)]
    is_drawn = drawn_for.exists() and all(path.exists() for path in files)
    if is_drawn and drawn_for.read_text() == of:
        return LinkageCharts(tuple(files), overview, is_new=False)
    sample = (
        f"(select * from {preparation.in_build(con, preparation.INPUT_TABLE)} "
        f"order by hash(record_id) limit {UNLINKABLES_SAMPLE})"
    )
    with preparation.beside(con) as own:
        preparation.make_people(own, preparation.input_sql(sample))
        model = version.model
        records = int(row[1])
        if frozen is not None:
            model = replace(model, matches_per_record=frozen.matches_per_record)
            records = frozen.records
            kept = settings.identity.kept_values
            suppress_values(own, settings.home_key(), kept, frozen.suppressed)
        frequencies = None if frozen is None else frozen.frequencies
        drawn = _draw(own, folder, model, records, "people", frequencies)
    files = [_write_overview(overview, folder, version.model, drawn), *drawn]
    write_atomic(drawn_for, of)
    return LinkageCharts(tuple(files), overview, is_new=True)


def _draw(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    model: LinkageModel,
    records: int,
    people: str,
    frequencies: Frequencies | None = None,
) -> list[Path]:
    """Splink's charts of a model, and of the records that it can find."""
    private_dir(folder)
    scorer = Scorer(con, model, records, people, frequencies)
    logging.getLogger("splink").setLevel(logging.CRITICAL)
    visualisations = scorer.linker.visualisations
    charts: tuple[Any, ...] = (
        visualisations.match_weights_chart(),
        visualisations.m_u_parameters_chart(),
        scorer.linker.evaluation.unlinkables_chart(),
    )
    files = []
    for name, chart in zip(CHARTS, charts, strict=True):
        path = folder / f"{name}.html"
        write_atomic(path, chart.to_html(inline=True))
        files.append(path)
    return files


def _write_overview(
    overview: Overview, folder: Path, model: LinkageModel, drawn: list[Path]
) -> Path:
    path = folder / OVERVIEW
    write_atomic(path, overview_page(overview, model.version, [chart.name for chart in drawn]))
    return path
