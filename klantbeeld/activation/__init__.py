"""Sending: what is in the published version, to the systems that work with it.

Belongs here: planning, guarding, delivering and remembering, and the destinations. What is worth
sending is a dbt model (`activation/sync_*`, `segments/seg_*`); when it is sent is decided by the
orchestrator.

    sync_* model, or seg_* model with a `sync` -> preflight -> planning -> guards
        -> ledger (outbox) -> operations -> delivery -> destinations -> ledger
    destination -> reconcile -> ledger
    seg_* model  -> consent (second check) -> exports -> destinations

Reports and logs carry ids and counts, never a value.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from klantbeeld.activation.reports import ExportReport, PlanReport, SyncReport
from klantbeeld.activation.specs import (
    AudienceSpec,
    SyncSpec,
    list_audiences,
    list_syncs,
    read_manifest,
    sent_names,
)

if TYPE_CHECKING:
    from klantbeeld.activation.exports import plan_export, run_export
    from klantbeeld.activation.home import Home
    from klantbeeld.activation.lanes import side_by_side
    from klantbeeld.activation.plans import approve
    from klantbeeld.activation.syncs import (
        apply_plan,
        plan_sync,
        reconcile_sync,
        run_sync,
        settle_unknown,
    )

__all__ = [
    "AudienceSpec",
    "ExportReport",
    "Home",
    "PlanReport",
    "SyncReport",
    "SyncSpec",
    "apply_plan",
    "approve",
    "list_audiences",
    "list_syncs",
    "plan_export",
    "plan_sync",
    "read_manifest",
    "reconcile_sync",
    "run_export",
    "run_sync",
    "sent_names",
    "settle_unknown",
    "side_by_side",
]

# What sends brings an engine and a HTTP client along: loaded when it is first asked for.
_LATE = {
    "Home": "home",
    "apply_plan": "syncs",
    "approve": "plans",
    "plan_export": "exports",
    "plan_sync": "syncs",
    "reconcile_sync": "syncs",
    "run_export": "exports",
    "run_sync": "syncs",
    "settle_unknown": "syncs",
    "side_by_side": "lanes",
}


def __getattr__(name: str) -> Any:
    """What the work is done with, each from its module."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
