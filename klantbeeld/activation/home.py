"""What every send works with: one open home."""

from __future__ import annotations

from dataclasses import dataclass

from klantbeeld.control import ControlPlane
from klantbeeld.settings import Settings
from klantbeeld.warehouse import NothingPublished, Version, Warehouse


@dataclass(frozen=True)
class Home:
    """The settings, the control plane and the warehouse of one home."""

    settings: Settings
    control: ControlPlane
    warehouse: Warehouse

    def published(self) -> Version:
        """The version that is published now.

        Raises:
            NothingPublished: There is none.
        """
        version = self.warehouse.current()
        if version is None:
            raise NothingPublished
        return version
