"""Sending: what is in the published version, to the systems that work with it.

Belongs here: planning, guarding, delivering and remembering, and the destinations. What is worth
sending is a dbt model (`activation/sync_*`, `segments/seg_*`); when it is sent is decided by the
orchestrator.

    sync_* model -> preflight -> planning -> guards -> ledger (outbox) -> operations -> delivery
        -> destinations -> ledger;  destination -> reconcile -> ledger
    seg_* model  -> consent (second check) -> exports -> destinations

Reports and logs carry ids and counts, never a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from klantbeeld.activation.reports import ExportReport, PlanReport, SyncReport
from klantbeeld.activation.specs import (
    AudienceSpec,
    SyncSpec,
    list_audiences,
    list_syncs,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from klantbeeld.activation.reconcile import Drift
    from klantbeeld.control import ControlPlane
    from klantbeeld.settings import Settings
    from klantbeeld.warehouse import Warehouse

__all__ = [
    "AudienceSpec",
    "ExportReport",
    "PlanReport",
    "SyncReport",
    "SyncSpec",
    "apply_plan",
    "approve",
    "list_audiences",
    "list_syncs",
    "plan_sync",
    "read_manifest",
    "reconcile_sync",
    "run_export",
    "run_sync",
]


def run_sync(
    name: str,
    settings: Settings,
    control: ControlPlane,
    warehouse: Warehouse,
    run_id: str,
    *,
    progress: Callable[[int], None] | None = None,
) -> SyncReport:
    """Bring a destination up to date with the published version; see `syncs.run_sync`."""
    from klantbeeld.activation import syncs

    return syncs.run_sync(name, settings, control, warehouse, run_id, progress=progress)


def plan_sync(
    name: str,
    settings: Settings,
    control: ControlPlane,
    warehouse: Warehouse,
    *,
    against_destination: bool = False,
    limit: int | None = None,
) -> PlanReport:
    """Say what a run would do now, and send nothing; see `syncs.plan_sync`."""
    from klantbeeld.activation import syncs

    return syncs.plan_sync(
        name, settings, control, warehouse, against_destination=against_destination, limit=limit
    )


def apply_plan(
    plan_id: str,
    settings: Settings,
    control: ControlPlane,
    warehouse: Warehouse,
    run_id: str,
    *,
    progress: Callable[[int], None] | None = None,
) -> SyncReport:
    """Send exactly a plan that was shown; see `syncs.apply_plan`."""
    from klantbeeld.activation import syncs

    return syncs.apply_plan(plan_id, settings, control, warehouse, run_id, progress=progress)


def reconcile_sync(
    name: str,
    settings: Settings,
    control: ControlPlane,
    warehouse: Warehouse,
    *,
    repair: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Drift:
    """Compare a destination with what we know of it; see `syncs.reconcile_sync`."""
    from klantbeeld.activation import syncs

    return syncs.reconcile_sync(
        name, settings, control, warehouse, repair=repair, progress=progress
    )


def run_export(
    audience: str, settings: Settings, control: ControlPlane, warehouse: Warehouse, run_id: str
) -> ExportReport:
    """Write an audience's file, if the audience changed; see `exports.run_export`."""
    from klantbeeld.activation import exports

    return exports.run_export(audience, settings, control, warehouse, run_id)


def approve(name: str, settings: Settings, control: ControlPlane) -> str:
    """Approve what is held: the next run sends exactly that plan, or holds again if it changed.

    An approval is for one plan, for once, and expires (`activation.approval_hours`).

    Args:
        name: A sync's model (`sync_…`) or an audience (`audience_…`), or what follows that.
        settings: The home's settings.
        control: The home's control plane.

    Returns:
        The id of the plan.

    Raises:
        KlantbeeldError: Nothing of that name is held.
    """
    from klantbeeld.activation.plans import PlanBook
    from klantbeeld.clock import Clock

    hours = settings.activation.approval_hours
    books = [
        PlanBook(control, prefix + name, Clock(settings), hours)
        for prefix in ("", "sync_", "audience_")
    ]
    book = next((book for book in books if book.is_held), books[0])
    return book.approve().plan_id
