"""Identity: which records are one person or one company, who lives together, and lasting ids.

Belongs here: linkage of the standardised records, its model and training, clusters, lasting ids,
companies, households, evaluation. Does not: standardising (harmonise), choosing golden values
(publish), when things run (orchestration).

Flow: intermediate.int_linkage_records -> people -> candidate pairs -> weighed pairs -> clusters ->
profile ids -> identity.profile_records, pairs, suppressed_values, profile_id_changes,
current_profile_ids, linkage_report. Companies and households have tables of the same kind.

Files, in the order of work: preparation, suppression, blocking, model, scoring, linking,
clustering, incremental, profile_ids (with id_spaces), outcome, report, stage; then companies and
households (with entities); beside them decisions, aliases, constraints, membership and review (what
stewards decide), fitting, training, promotion, registry and frozen (model versions) and evaluation,
truth, charts, overview (figures); explain and files are packages of their own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klantbeeld.identity.charts import LinkageCharts, draw_charts
    from klantbeeld.identity.companies import CompanyReport, link_companies
    from klantbeeld.identity.evaluation import Quality
    from klantbeeld.identity.households import HouseholdReport, form_households
    from klantbeeld.identity.id_spaces import ID_SPACES
    from klantbeeld.identity.profile_ids import (
        PendingProfileIds,
        commit_profile_ids,
        read_pending_profile_ids,
    )
    from klantbeeld.identity.registry import list_old, promote, remove_values
    from klantbeeld.identity.report import LinkReport
    from klantbeeld.identity.stage import How, link
    from klantbeeld.identity.training import TrainingReport, train
    from klantbeeld.identity.truth import evaluate

__all__ = [
    "ID_SPACES",
    "CompanyReport",
    "HouseholdReport",
    "How",
    "LinkReport",
    "LinkageCharts",
    "PendingProfileIds",
    "Quality",
    "TrainingReport",
    "commit_profile_ids",
    "draw_charts",
    "evaluate",
    "form_households",
    "link",
    "link_companies",
    "list_old",
    "promote",
    "read_pending_profile_ids",
    "remove_values",
    "train",
]

_WHERE = {
    "CompanyReport": "companies.CompanyReport",
    "HouseholdReport": "households.HouseholdReport",
    "How": "stage.How",
    "ID_SPACES": "id_spaces.ID_SPACES",
    "LinkReport": "report.LinkReport",
    "PendingProfileIds": "profile_ids.PendingProfileIds",
    "Quality": "evaluation.Quality",
    "TrainingReport": "training.TrainingReport",
    "commit_profile_ids": "profile_ids.commit_profile_ids",
    "evaluate": "truth.evaluate",
    "form_households": "households.form_households",
    "link": "stage.link",
    "link_companies": "companies.link_companies",
    "list_old": "registry.list_old",
    "promote": "registry.promote",
    "remove_values": "registry.remove_values",
    "read_pending_profile_ids": "profile_ids.read_pending_profile_ids",
    "train": "training.train",
    "LinkageCharts": "charts.LinkageCharts",
    "draw_charts": "charts.draw_charts",
}


def __getattr__(name: str) -> Any:
    # Late: promoting a model must not pay for the arrays that linking needs.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name].rsplit(".", 1)
    return getattr(import_module(f"{__name__}.{module}"), attribute)
