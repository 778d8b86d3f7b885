"""The CRM as an ASGI application."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from demo.crm.access import Limits


@dataclass(frozen=True)
class CrmOptions:
    """What one CRM service needs to run."""

    database: Path
    client_id: str
    client_secret: str
    clock_file: Path | None = None
    token_seconds: float = 3599.0
    delta_seconds: float = 7 * 86_400.0
    limits: Limits = field(default_factory=Limits)


def make_app(options: CrmOptions) -> Starlette:
    """The application that serves one CRM file."""

    def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[Route("/health", health)])
