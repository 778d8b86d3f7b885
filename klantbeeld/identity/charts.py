"""Charts of the linkage: HTML files of their own that need no network and hold no record.

Here: match weights and parameters of the model, weights of the pairs, unlinkable records, profile
sizes. Not here: where they are linked from. Splink's charts carry their drawing library in the
file.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from klantbeeld.files import private_dir, write_atomic
from klantbeeld.identity.linking import Scorer
from klantbeeld.identity.model import LinkageModel

# In the reports of a home.
FOLDER: Final = "linkage"
# Scoring every record against itself is one more pass; a sample shows the same curve.
UNLINKABLES_SAMPLE: Final = 50_000


def write_linkage_charts(
    con: duckdb.DuckDBPyConnection, folder: Path, model: LinkageModel, records: int
) -> list[Path]:
    """Write the charts of a linkage that was just done.

    Args:
        con: The linkage's own engine, with `people`, `pairs` and `profile_records`.
        folder: Where the files go; made if it is missing.
        model: The model used.
        records: The number of records.

    Returns:
        The files.
    """
    if records < 2:
        return []
    private_dir(folder)
    logging.getLogger("splink").setLevel(logging.CRITICAL)
    con.execute(
        "create or replace table chart_people as from people "
        f"order by hash(record_id) limit {UNLINKABLES_SAMPLE}"
    )
    scorer = Scorer(con, model, records, people="chart_people")
    visualisations = scorer.linker.visualisations
    sections: dict[str, Any] = {
        "match_weights": visualisations.match_weights_chart(),
        "parameters": visualisations.m_u_parameters_chart(),
        "unlinkable_records": scorer.linker.evaluation.unlinkables_chart(),
    }
    files = []
    for name, chart in sections.items():
        path = folder / f"{name}.html"
        write_atomic(path, chart.to_html(inline=True))
        files.append(path)
    files.append(_bars(con, folder / "profile_sizes.html", "Profiles by number of records", _SIZES))
    files.append(_bars(con, folder / "pair_weights.html", "Pairs by match weight (bits)", _WEIGHTS))
    con.execute("drop table chart_people")
    return files


_SIZES: Final = """
    with sizes as (
        select profile_id, max(cluster_size) as size from profile_records group by profile_id
    )
    select case when size > 12 then '13 or more' else cast(size as varchar) end, count(*)
    from sizes group by 1 order by min(size)
"""
_WEIGHTS: Final = """
    with rounded as (
        select greatest(-30, least(30, cast(floor(match_weight / 2) * 2 as integer))) as bits
        from pairs where match_weight is not null
    )
    select cast(bits as varchar) || ' to ' || cast(bits + 2 as varchar), count(*)
    from rounded group by bits order by bits
"""


def _bars(con: duckdb.DuckDBPyConnection, path: Path, title: str, sql: str) -> Path:
    rows: Sequence[tuple[str, int]] = con.execute(sql).fetchall()
    most = max((count for _, count in rows), default=1)
    lines = "\n".join(
        f"<tr><th>{label}</th>"
        f"<td><div style='width:{max(0.2, 100 * count / most):.1f}%'></div></td>"
        f"<td class='n'>{count:,}</td></tr>"
        for label, count in rows
    )
    write_atomic(path, _PAGE.replace("{title}", title).replace("{lines}", lines))
    return path


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; color: #222; }
table { border-collapse: collapse; width: 100%; }
th { font-weight: normal; text-align: right; padding-right: .8rem; white-space: nowrap; width: 8rem;
} td div { background: #3b7ea1; height: 1rem; border-radius: 2px; } td.n { text-align: right; width:
6rem; font-variant-numeric: tabular-nums; } </style></head><body><h1>{title}</h1><table> {lines}
</table></body></html>
"""
