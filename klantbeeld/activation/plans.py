"""Plans that people look at: shown, held for review, approved, applied.

Belongs here: the rows of `sync_plans`. A plan is not stored with its rows: it is made again when it
is applied, and its digest says whether it is the one that was looked at. The digest covers every
operation's id, which covers what is wanted and what was acknowledged before, so that anything that
moved in the model or in the ledger makes another plan.

    planned | held -> approved -> done
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from klantbeeld.clock import Clock
from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import sync_plans
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings

_OPEN = ("planned", "held", "approved")


@dataclass(frozen=True)
class SavedPlan:
    """A plan that was shown or held.

    Attributes:
        plan_id: What `apply` and `approve` take.
        reasons: Why it is held; empty if it is not.
    """

    plan_id: str
    sync: str
    digest: str
    version_id: str
    status: str
    counts: Mapping[str, int]
    reasons: tuple[str, ...]
    created_at: datetime


def plan_id(sync: str, digest: str) -> str:
    """The short name of a plan: the same plan has the same one."""
    return hashlib.sha256(f"{sync}|{digest}".encode()).hexdigest()[:12]


class PlanBook:
    """The plans of one sync or export."""

    def __init__(self, control: ControlPlane, sync: str, clock: Clock, hours: int) -> None:
        """Open it.

        Args:
            control: The home's control plane.
            sync: Name of the sync, or of the export's file.
            clock: Says what time it is.
            hours: How long a plan may be applied, and an approval counts.
        """
        self._control = control
        self._sync = sync
        self._clock = clock
        self._age = timedelta(hours=hours)

    def record(
        self,
        digest: str,
        version_id: str,
        counts: Mapping[str, int] | None = None,
        reasons: Sequence[str] = (),
    ) -> SavedPlan:
        """Write down a plan that is shown, or that is held for these reasons."""
        now = self._clock.now()
        name = plan_id(self._sync, digest)
        values: dict[str, Any] = {
            "version_id": version_id,
            "status": "held" if reasons else "planned",
            "counts": dict(counts or {}),
            "reasons": list(reasons),
            "created_at": now,
        }
        with self._control.begin() as connection:
            make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            insert = make(sync_plans).values(plan_id=name, sync=self._sync, digest=digest, **values)
            # Shown once more, an approved plan stays approved.
            still = sync_plans.c.approved_at.is_not(None)
            values["status"] = sa.case((still, sync_plans.c.status), else_=insert.excluded.status)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["plan_id"], set_=values)
            )
            row = connection.execute(
                sa.select(sync_plans).where(sync_plans.c.plan_id == name)
            ).one()
        return _saved(row)

    def _held(self) -> sa.Select[Any]:
        return (
            sa.select(sync_plans)
            .where(sync_plans.c.sync == self._sync, sync_plans.c.status.in_(("held", "approved")))
            .order_by(sync_plans.c.created_at.desc())
            .limit(1)
        )

    @property
    def is_held(self) -> bool:
        """Whether a plan waits for a person."""
        with self._control.read() as connection:
            return connection.execute(self._held()).one_or_none() is not None

    def approve(self) -> SavedPlan:
        """Approve the plan that was held last.

        Raises:
            KlantbeeldError: Nothing is held.
        """
        with self._control.begin() as connection:
            row = connection.execute(self._held()).one_or_none()
            if row is None:
                raise KlantbeeldError(f"{self._sync} is not held", "There is nothing to approve.")
            connection.execute(
                sync_plans.update()
                .where(sync_plans.c.plan_id == row.plan_id)
                .values(status="approved", approved_at=self._clock.now())
            )
            self._control.audit(connection, "approve_sync", self._sync, plan=row.plan_id)
        return _saved(row)

    def is_approved(self, digest: str) -> bool:
        """Whether a person approved exactly this plan, not too long ago."""
        query = sa.select(sync_plans.c.approved_at).where(
            sync_plans.c.plan_id == plan_id(self._sync, digest),
            sync_plans.c.status == "approved",
        )
        with self._control.read() as connection:
            approved_at = connection.scalar(query)
        return approved_at is not None and self._clock.now() - approved_at <= self._age

    def require(self, name: str) -> SavedPlan:
        """A plan to apply.

        Raises:
            KlantbeeldError: It is of another sync, too old, or was applied already.
        """
        plan = find_plan(self._control, name)
        if plan.status not in _OPEN:
            raise KlantbeeldError(
                f"plan {name} of {plan.sync} was applied already, or replaced by a run",
                f"Make a new one: `klantbeeld sync plan {plan.sync}`.",
            )
        if self._clock.now() - plan.created_at > self._age:
            raise KlantbeeldError(
                f"plan {name} of {plan.sync} is older than {self._age.total_seconds() / 3600:g}"
                " hours",
                f"Make a new one: `klantbeeld sync plan {plan.sync}`.",
            )
        return plan

    def close(self) -> None:
        """What was planned, held and approved is past: something was sent, or nothing is left."""
        with self._control.begin() as connection:
            connection.execute(
                sync_plans.update()
                .where(sync_plans.c.sync == self._sync, sync_plans.c.status.in_(_OPEN))
                .values(status="done", approved_at=None)
            )


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
    hours = settings.activation.approval_hours
    books = [
        PlanBook(control, prefix + name, Clock(settings), hours)
        for prefix in ("", "sync_", "audience_")
    ]
    book = next((book for book in books if book.is_held), books[0])
    return book.approve().plan_id


def find_plan(control: ControlPlane, name: str) -> SavedPlan:
    """A plan by its id.

    Raises:
        KlantbeeldError: There is none of that id.
    """
    with control.read() as connection:
        row = connection.execute(
            sa.select(sync_plans).where(sync_plans.c.plan_id == name)
        ).one_or_none()
    if row is None:
        raise KlantbeeldError(
            f"there is no plan {name!r}", "`klantbeeld sync plan NAME` makes one and says its id."
        )
    return _saved(row)


def _saved(row: sa.Row[Any]) -> SavedPlan:
    return SavedPlan(
        row.plan_id,
        row.sync,
        row.digest,
        row.version_id,
        row.status,
        row.counts,
        tuple(row.reasons),
        row.created_at,
    )
