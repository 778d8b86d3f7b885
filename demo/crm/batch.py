"""`$batch`: multipart/mixed in, operations and change sets out; and responses back into parts.

Pure: bytes in, bytes out. Lines may end in CRLF or in LF alone, as clients that compose a batch by
hand often do.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus

from demo.crm.errors import CrmError

MAX_OPERATIONS = 1000

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n")


@dataclass(frozen=True)
class Operation:
    """One request inside a batch; header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_id: str | None = None


@dataclass(frozen=True)
class ChangeSet:
    """Operations that succeed or fail as one."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Response:
    """The answer to one operation."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_id: str | None = None


def parse_batch(content_type: str, body: bytes) -> list[Operation | ChangeSet]:
    """Read the body of a `$batch` request.

    Raises:
        CrmError: 400, when it is malformed or holds too many operations.
    """
    items: list[Operation | ChangeSet] = []
    total = 0
    for headers, content in _parts(_boundary(content_type), body):
        part_type = headers.get("content-type", "")
        if part_type.lower().startswith("multipart/mixed"):
            operations = tuple(
                _operation(inner_headers, inner)
                for inner_headers, inner in _parts(_boundary(part_type), content)
            )
            if any(operation.method == "GET" for operation in operations):
                raise _malformed("A GET operation is not allowed in a change set.")
            items.append(ChangeSet(operations))
            total += len(operations)
        else:
            items.append(_operation(headers, content))
            total += 1
    if total > MAX_OPERATIONS:
        raise CrmError(
            400,
            "0x0",
            "The current batch message contains too many parts. A maximum number of"
            f" '{MAX_OPERATIONS}' query operations and change sets are allowed in a batch message.",
        )
    return items


def format_batch(items: Sequence[Response | Sequence[Response]]) -> tuple[str, bytes]:
    """Write responses as multipart/mixed; an inner sequence is the answer to a change set.

    Returns:
        The content type, with its boundary, and the body.
    """
    return _multipart(
        "batchresponse",
        [
            _response_part(item) if isinstance(item, Response) else _change_set_part(item)
            for item in items
        ],
    )


def _change_set_part(responses: Sequence[Response]) -> bytes:
    content_type, body = _multipart(
        "changesetresponse", [_response_part(response) for response in responses]
    )
    return b"Content-Type: %s\r\n\r\n%s" % (content_type.encode(), body)


def _response_part(response: Response) -> bytes:
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    if response.content_id is not None:
        lines.append(f"Content-ID: {response.content_id}")
    lines += ["", f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + response.body


def _multipart(prefix: str, parts: Sequence[bytes]) -> tuple[str, bytes]:
    boundary = f"{prefix}_{secrets.token_hex(16)}"
    delimiter = f"--{boundary}\r\n".encode()
    body = b"".join(delimiter + part + b"\r\n" for part in parts)
    return f"multipart/mixed; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/mixed" or not boundary:
        raise _malformed(
            "The content type must be multipart/mixed with a boundary, not"
            f" '{message.get_content_type()}'."
        )
    return boundary.encode()


def _parts(boundary: bytes, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    found: list[tuple[dict[str, str], bytes]] = []
    start: int | None = None
    for match in delimiter.finditer(body):
        if start is not None:
            found.append(_head(body[start : match.start()]))
        if match[1]:
            return found
        start = match.end()
    raise _malformed("The batch does not end with its boundary.")


def _head(part: bytes) -> tuple[dict[str, str], bytes]:
    """Headers up to the first blank line, and what follows it."""
    end = _BLANK_LINE.search(part)
    head, content = (part, b"") if end is None else (part[: end.start()], part[end.end() :])
    headers: dict[str, str] = {}
    for line in _LINE.split(head):
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
        elif name.strip():
            raise _malformed("A part of the batch has a line that is not a header.")
    return headers, content


def _operation(headers: Mapping[str, str], content: bytes) -> Operation:
    part_type = headers.get("content-type", "")
    if not part_type.lower().startswith("application/http"):
        raise _malformed(f"A part of the batch is '{part_type}' instead of application/http.")
    first, *rest = _LINE.split(content.lstrip(b"\r\n"), maxsplit=1)
    words = first.decode("utf-8", "replace").split(" ")
    method, url, protocol = words[0], " ".join(words[1:-1]).strip(), words[-1].strip()
    if not url or not protocol.startswith("HTTP/"):
        raise _malformed("A part of the batch does not start with a request line.")
    inner_headers, body = _head(b"\n" + rest[0] if rest else b"")
    return Operation(method, url, inner_headers, body, headers.get("content-id"))


def _malformed(message: str) -> CrmError:
    return CrmError(400, "0x80060888", message)
