"""Training: a candidate for the linkage model, on the records of today. Not part of the daily run.

Belongs here: writing a candidate and, when somebody asks for it by name, promoting it. Does not:
the model itself, nor any automatic promotion: scores of two models are compared by a person first.

intermediate.int_linkage_records -> [identity, candidate_model] -> [identity, current_model]
"""

import time
from typing import Any

import dagster as dg

from orchestration.assets.link import LINKAGE_RECORDS
from orchestration.progress import progress
from orchestration.resources import Platform
from orchestration.results import Result

CANDIDATE_MODEL = dg.AssetKey(["identity", "candidate_model"])
CURRENT_MODEL = dg.AssetKey(["identity", "current_model"])


@dg.asset(
    key=CANDIDATE_MODEL,
    deps=[LINKAGE_RECORDS],
    group_name="training",
    kinds={"splink", "json"},
    owners=["team:customer-data"],
    description=(
        "A linkage model trained on the standardised records of the build. "
        "One versioned folder per training, with the profiles that it would change: "
        "`klantbeeld identity models VERSION`.\n\n"
        "It links nothing until it is promoted."
    ),
)
def candidate_model(platform: Platform) -> Result:
    """Train and keep a candidate."""
    from klantbeeld.identity import train

    started = time.monotonic()
    with platform.warehouse.build() as connection:
        report = train(connection, platform.settings, platform.control)
    progress().done(
        "train", "candidate model", {"": report.model_version}, time.monotonic() - started
    )
    return dg.MaterializeResult(metadata=_metadata(report))


class Promotion(dg.Config):
    """Which model becomes the current one."""

    model_version: str


@dg.asset(
    key=CURRENT_MODEL,
    deps=[CANDIDATE_MODEL],
    group_name="training",
    kinds={"splink", "json"},
    owners=["team:customer-data"],
    description=(
        "The linkage model of the daily run. One model, the current one.\n\n"
        "Materialise it by hand with the `model_version` of the candidate that is to take over; "
        "no job and no schedule does."
    ),
)
def current_model(platform: Platform, config: Promotion) -> Result:
    """Promote a candidate."""
    from klantbeeld.identity import promote

    promote(platform.settings, platform.control, config.model_version)
    return dg.MaterializeResult(metadata={"model_version": config.model_version})


def _metadata(report: Any) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in vars(report).items()
        if not name.startswith("_")
    }
