"""The newsletter tool as an ASGI application: a bearer token, filters, and pages by cursor."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.newsletter.store import COLLECTIONS, Collection, page

DEFAULT_LIMIT, LARGEST_LIMIT = 500, 5_000


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def make_app(database: Path, token: str) -> Starlette:
    """The application that serves one newsletter store."""

    def health(_: Request) -> Response:
        with closing(_open(database)) as connection:
            connection.execute("select 1 from lists limit 1")
        return JSONResponse({"status": "ok"})

    def endpoint(collection: Collection) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            try:
                _check_token(request, token)
                since, after, limit = _parameters(request, collection)
            except Refused as refused:
                return JSONResponse(
                    {"error": {"code": refused.code, "message": refused.message}},
                    refused.status,
                    headers={"WWW-Authenticate": "Bearer"} if refused.status == 401 else None,
                )
            with closing(_open(database)) as connection:
                rows, place = page(connection, collection, since, after, limit)
            return JSONResponse({"data": rows, "next_cursor": _encode(collection, place)})

        return answer

    routes = [Route("/health", health)]
    routes += [Route(f"/v1/{name}", endpoint(each)) for name, each in COLLECTIONS.items()]
    return Starlette(routes=routes, exception_handlers={404: _not_found})


def _not_found(_: Request, __: Exception) -> Response:
    return JSONResponse(
        {"error": {"code": "not_found", "message": f"known: {', '.join(COLLECTIONS)}"}}, 404
    )


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database.resolve()}?mode=ro", uri=True, timeout=30)


def _check_token(request: Request, token: str) -> None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refused(401, "unauthorized", "expected Authorization: Bearer <token>")


def _parameters(
    request: Request, collection: Collection
) -> tuple[str | None, tuple[str, str | int] | None, int]:
    known = {collection.since, "cursor", "limit"}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise Refused(400, "unknown_parameter", f"expected only {', '.join(sorted(known))}")
    try:
        limit = int(request.query_params.get("limit", DEFAULT_LIMIT))
    except ValueError:
        limit = 0
    if not 1 <= limit <= LARGEST_LIMIT:
        raise Refused(400, "bad_limit", f"limit: expected 1 to {LARGEST_LIMIT}")
    since = request.query_params.get(collection.since)
    after = _decode(collection, request.query_params.get("cursor"))
    return (None if since is None else _moment(collection, since)), after, limit


def _moment(collection: Collection, text: str) -> str:
    try:
        # A plus sign that nobody escaped arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise Refused(
            400, "bad_time", f"{collection.since}: expected ISO 8601, such as 2026-03-01T00:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _encode(collection: Collection, place: tuple[str, str | int] | None) -> str | None:
    if place is None:
        return None
    text = json.dumps([collection.name, *place])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(collection: Collection, cursor: str | None) -> tuple[str, str | int] | None:
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, moment, key = json.loads(base64.urlsafe_b64decode(padded))
        if name == collection.name and isinstance(moment, str) and isinstance(key, str | int):
            return moment, key
    except (ValueError, TypeError, binascii.Error):
        pass
    raise Refused(
        400, "bad_cursor", "cursor: expected the next_cursor of an answer to this address"
    )
