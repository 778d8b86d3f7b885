"""The pages."""

from __future__ import annotations

from starlette.routing import Route

from demo.crm.store import Store


class Pages:
    """stub"""

    def __init__(self, rows: Store) -> None:
        self._store = rows

    def routes(self) -> list[Route]:
        return []
