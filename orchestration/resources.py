"""What steps work with: the home's settings, control plane and warehouse, under the run lock.

Belongs here: opening and closing, once per run. Does not: any work of a stage.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import PrivateAttr

from klantbeeld.control import open_control
from klantbeeld.control.store import ControlPlane
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import Warehouse
from orchestration.instance import fail_abandoned_runs

_lock_is_held = False


@contextmanager
def holding_run_lock(warehouse: Warehouse, purpose: str) -> Iterator[None]:
    """Hold the run lock for as long as this process works on one pipeline run.

    The command line takes it around several Dagster runs; each of those asks again and finds it
    held.
    """
    global _lock_is_held
    if _lock_is_held:
        yield
        return
    with warehouse.run_lock(purpose):
        _lock_is_held = True
        try:
            yield
        finally:
            _lock_is_held = False


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The platform's own services, open for one run.

    The in-process executor opens a resource once per run and closes it after the last step, so the
    run lock is held from the first step to the last, whoever launched the run.
    """

    _settings: Settings | None = PrivateAttr(default=None)
    _control: ControlPlane | None = PrivateAttr(default=None)
    _warehouse: Warehouse | None = PrivateAttr(default=None)

    @property
    def settings(self) -> Settings:
        """The home's settings."""
        assert self._settings is not None  # noqa: S101 - set before any step runs
        return self._settings

    @property
    def control(self) -> ControlPlane:
        """The open control plane."""
        assert self._control is not None  # noqa: S101 - set before any step runs
        return self._control

    @property
    def warehouse(self) -> Warehouse:
        """The data plane."""
        assert self._warehouse is not None  # noqa: S101 - set before any step runs
        return self._warehouse

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Platform"]:
        """Open the services and take the run lock; a second run fails here, with who holds it."""
        self._settings = load_settings()
        self._control = open_control(self._settings)
        try:
            self._warehouse = Warehouse(self._settings, self._control)
            with holding_run_lock(self._warehouse, f"run {(context.run_id or '')[:8]}"):
                if context.instance is not None:
                    fail_abandoned_runs(context.instance, keep_run_id=context.run_id)
                yield self
        finally:
            self._control.close()
