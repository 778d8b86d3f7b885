"""Sending: what is in the published version, to the systems that work with it.

Belongs here: planning, guarding, delivering and remembering, and the destinations. What is worth
sending is a dbt model (`activation/sync_*`, `segments/seg_*`); when it is sent is decided by the
orchestrator.

    sync_* model -> planning -> guards -> ledger (outbox) -> delivery -> destinations -> ledger
    seg_* model  -> consent (second check) -> exports -> destinations

Reports and logs carry ids and counts, never a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from klantbeeld.activation.reports import ExportReport, SyncReport
from klantbeeld.activation.specs import (
    AudienceSpec,
    SyncSpec,
    list_audiences,
    list_syncs,
    read_manifest,
)

if TYPE_CHECKING:
    from klantbeeld.control import ControlPlane
    from klantbeeld.settings import Settings
    from klantbeeld.warehouse import Warehouse

__all__ = [
    "AudienceSpec",
    "ExportReport",
    "SyncReport",
    "SyncSpec",
    "approve",
    "list_audiences",
    "list_syncs",
    "read_manifest",
    "run_export",
    "run_sync",
]


def run_sync(
    name: str, settings: Settings, control: ControlPlane, warehouse: Warehouse, run_id: str
) -> SyncReport:
    """Bring a destination up to date with the published version; see `syncs.run_sync`."""
    from klantbeeld.activation import syncs

    return syncs.run_sync(name, settings, control, warehouse, run_id)


def run_export(
    audience: str, settings: Settings, control: ControlPlane, warehouse: Warehouse, run_id: str
) -> ExportReport:
    """Write an audience's file, if the audience changed; see `exports.run_export`."""
    from klantbeeld.activation import exports

    return exports.run_export(audience, settings, control, warehouse, run_id)


def approve(name: str, settings: Settings, control: ControlPlane) -> None:
    """Approve what is held: the next run sends exactly that plan, or holds again if it changed.

    Args:
        name: A sync's model (`sync_…`) or an audience (`audience_…`).
        settings: The home's settings.
        control: The home's control plane.

    Raises:
        KlantbeeldError: Nothing of that name is held.
    """
    from klantbeeld.activation.ledger import Ledger
    from klantbeeld.clock import Clock

    Ledger(control, name, Clock(settings)).approve()
