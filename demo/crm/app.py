"""The CRM as an ASGI application: sign-in, the Web API, and the pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from demo.crm.access import Limits, ServiceProtection, Tokens
from demo.crm.errors import CrmError
from demo.crm.pages import Pages
from demo.crm.privileges import Privileges
from demo.crm.store import Store
from demo.crm.web_api import ApiRequest, WebApi, error_response

_API_PATHS = ("/api/data/{version}", "/api/data/{version}/{path:path}")
_VERSIONS = ("v9.0", "v9.1", "v9.2")
_METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


@dataclass(frozen=True)
class CrmOptions:
    """What one CRM service needs to run.

    Attributes:
        database: The CRM file, made by `store.create`.
        client_id: The one client that may use the Web API.
        client_secret: Its secret.
        clock_file: JSON with `as_of`, the business time that stamps writes; else the wall clock.
        token_seconds: Lifetime of a token.
        delta_seconds: Lifetime of a delta link.
        limits: Service protection.
        withheld: Names of privileges that the client lacks, such as `prvDeletecontact`.
    """

    database: Path
    client_id: str
    client_secret: str
    clock_file: Path | None = None
    token_seconds: float = 3599.0
    delta_seconds: float = 7 * 86_400.0
    limits: Limits = field(default_factory=Limits)
    withheld: tuple[str, ...] = ()


def make_app(options: CrmOptions) -> Starlette:
    """The application that serves one CRM file."""
    rows = Store(options.database, _clock(options.clock_file))
    lifetime = timedelta(seconds=options.delta_seconds)
    api = WebApi(rows, lifetime, Privileges(options.withheld))
    tokens = Tokens(options.client_id, options.client_secret, options.token_seconds)
    protection = ServiceProtection(options.limits)
    pages = Pages(rows)

    async def web_api(request: Request) -> Response:
        version = request.path_params["version"]
        headers = {"OData-Version": "4.0"}
        try:
            client = tokens.client_of(request.headers.get("authorization"))
            if version not in _VERSIONS:
                raise CrmError(404, "0x8006088a", f"There is no version '{version}'.")
            with protection.request(client) as remaining:
                headers["x-ms-ratelimit-burst-remaining-xrm-requests"] = str(remaining)
                call = ApiRequest(
                    request.method,
                    request.path_params.get("path", "").strip("/"),
                    request.url.query,
                    dict(request.headers),
                    await request.body(),
                    f"{request.url.scheme}://{request.url.netloc}/api/data/{version}",
                )
                answer = await run_in_threadpool(api.handle, call)
        except CrmError as error:
            answer = error_response(error)
        return Response(answer.body, answer.status, {**headers, **answer.headers})

    async def token(request: Request) -> JSONResponse:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if form.get("grant_type") != ["client_credentials"]:
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        issued = tokens.issue(form.get("client_id", [""])[0], form.get("client_secret", [""])[0])
        if issued is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        return JSONResponse(issued, headers={"Cache-Control": "no-store"})

    def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/token", token, methods=["POST"]),
            *(Route(path, web_api, methods=_METHODS) for path in _API_PATHS),
            *pages.routes(),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        # Another name that resolves to this machine is a page elsewhere trying to read along.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={Exception: _unexpected},
    )


def _unexpected(_: Request, __: Exception) -> Response:
    answer = error_response(CrmError(500, "0x80040216", "An unexpected error occurred."))
    return Response(answer.body, answer.status, dict(answer.headers))


def _clock(clock_file: Path | None) -> Callable[[], datetime]:
    """Business time from the world's clock file, read again whenever it is asked for."""
    if clock_file is None:
        return lambda: datetime.now(UTC)

    def as_of() -> datetime:
        moment = datetime.fromisoformat(json.loads(clock_file.read_text())["as_of"])
        return moment.astimezone(UTC)

    return as_of
