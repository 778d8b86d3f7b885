"""`$batch`: what goes in comes out, and what is malformed is refused as a whole."""

from __future__ import annotations

from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.crm.batch import (
    MAX_OPERATIONS,
    ChangeSet,
    Operation,
    Response,
    format_batch,
    parse_batch,
)
from demo.crm.errors import CrmError

operations = st.builds(
    Operation,
    st.sampled_from(["POST", "PATCH", "DELETE"]),
    st.sampled_from(["/api/data/v9.2/contacts", "contacts(1)?$select=a b", "$1"]),
    st.dictionaries(st.sampled_from(["if-match", "prefer"]), st.sampled_from(["*", 'W/"1"'])),
    # A body that looks like the end of a part, but is not on a line of its own.
    st.sampled_from([b"", b"{}", b'{"a":"--batch_1"}', b'{"a":\r\n\r\n"b"}', "{'é'}".encode()]),
    st.one_of(st.none(), st.integers(1, 99).map(str)),
)
items = st.lists(
    st.one_of(operations, st.builds(ChangeSet, st.lists(operations, max_size=4).map(tuple))),
    max_size=5,
)


def write_operation(operation: Operation, line: bytes) -> bytes:
    head = [b"Content-Type: application/http", b"Content-Transfer-Encoding: binary"]
    if operation.content_id is not None:
        head.append(f"Content-ID: {operation.content_id}".encode())
    head += [b"", f"{operation.method} {operation.url} HTTP/1.1".encode()]
    head += [f"{name}: {value}".encode() for name, value in operation.headers.items()]
    return line.join([*head, b"", operation.body])


def write_parts(boundary: bytes, parts: list[bytes], line: bytes) -> bytes:
    delimited = [b"--" + boundary + line + part + line for part in parts]
    return b"".join([*delimited, b"--" + boundary + b"--" + line])


def write_batch(batch: list[Operation | ChangeSet], line: bytes) -> bytes:
    parts: list[bytes] = []
    for number, item in enumerate(batch):
        if isinstance(item, Operation):
            parts.append(write_operation(item, line))
            continue
        inner = b"changeset_%d" % number
        head = b"Content-Type: multipart/mixed; boundary=" + inner + line + line
        parts.append(
            head + write_parts(inner, [write_operation(op, line) for op in item.operations], line)
        )
    return write_parts(b"batch_1", parts, line)


@given(items, st.sampled_from([b"\r\n", b"\n"]))
def test_a_batch_is_read_as_it_was_written(batch: list[Operation | ChangeSet], line: bytes) -> None:
    assert parse_batch("multipart/mixed; boundary=batch_1", write_batch(batch, line)) == batch


def test_the_boundary_may_be_quoted() -> None:
    operation = Operation("DELETE", "contacts(1)")
    body = write_batch([operation], b"\r\n")
    assert parse_batch('multipart/mixed;boundary="batch_1"', body) == [operation]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/mixed", b"--batch_1--"),
        ("multipart/mixed; boundary=batch_1", b""),
        ("multipart/mixed; boundary=batch_1", b"--batch_1\r\nContent-Type: application/http\r\n"),
        ("multipart/mixed; boundary=batch_1", b"--batch_1\r\n\r\nGET / HTTP/1.1\r\n--batch_1--"),
        (
            "multipart/mixed; boundary=batch_1",
            b"--batch_1\r\nContent-Type: application/http\r\n\r\nhello\r\n--batch_1--",
        ),
        (
            "multipart/mixed; boundary=batch_1",
            write_batch([ChangeSet((Operation("GET", "contacts"),))], b"\r\n"),
        ),
        (
            "multipart/mixed; boundary=batch_1",
            write_batch([Operation("DELETE", "contacts(1)")] * (MAX_OPERATIONS + 1), b"\r\n"),
        ),
    ],
)
def test_a_malformed_batch_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(CrmError) as refusal:
        parse_batch(content_type, body)
    assert refusal.value.status == 400


def test_responses_are_parts_that_others_can_read() -> None:
    content_type, body = format_batch(
        [
            Response(200, {"Content-Type": "application/json"}, b'{"a":1}'),
            [Response(204, {"OData-EntityId": "contacts(1)"}, content_id="1")],
        ]
    )
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    single, change_set = message.get_payload()
    assert single.get_payload().startswith("HTTP/1.1 200 OK\r\n")
    assert single.get_payload().endswith('{"a":1}')
    (inner,) = change_set.get_payload()
    assert inner["Content-ID"] == "1"
    assert "OData-EntityId: contacts(1)" in inner.get_payload()
