"""What an answer to `$batch` proves, and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klantbeeld.activation.destinations.dataverse import _answers

TYPE = "multipart/mixed; boundary=batchresponse_1"


def accepted(number: str) -> str:
    boundary = f"changesetresponse_{number}"
    return (
        f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n"
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: {number}\r\n\r\nHTTP/1.1 204 No Content\r\nOData-Version: 4.0\r\n\r\n\r\n"
        f"--{boundary}--\r\n"
    )


def refused(number: str) -> str:
    return (
        f"Content-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n"
        '{"error": {"code": "0x1", "message": "x"}}'
    )


def batch(*parts: str) -> bytes:
    body = "".join(f"--batchresponse_1\r\n{part}\r\n" for part in parts)
    return f"{body}--batchresponse_1--\r\n".encode()


def test_answers_are_found_by_their_id_in_any_order() -> None:
    answers = _answers(TYPE, batch(accepted("2"), refused("10"), accepted("1")))
    assert {number: answer.status for number, answer in answers.items()} == {
        "1": 204,
        "2": 204,
        "10": 429,
    }
    assert answers["10"].headers["retry-after"] == "7"
    assert answers["10"].body.startswith(b'{"error"')


@pytest.mark.parametrize("content_type", ["text/html", "", "application/json", "multipart/mixed"])
def test_what_is_not_multipart_proves_nothing(content_type: str) -> None:
    assert _answers(content_type, batch(accepted("1"))) == {}


def test_an_id_that_is_answered_twice_proves_nothing() -> None:
    answers = _answers(TYPE, batch(accepted("1"), refused("1"), accepted("2")))
    assert set(answers) == {"2"}


def test_an_answer_without_an_id_or_a_status_proves_nothing() -> None:
    nameless = accepted("1").replace("Content-ID: 1\r\n", "")
    statusless = accepted("2").replace("HTTP/1.1 204 No Content", "all went well")
    assert set(_answers(TYPE, batch(nameless, statusless, accepted("3")))) == {"3"}


def test_bare_line_feeds_and_a_quoted_boundary_are_read() -> None:
    content = batch(accepted("1"), refused("2")).replace(b"\r\n", b"\n")
    assert set(_answers('multipart/mixed; boundary="batchresponse_1"', content)) == {"1", "2"}


@given(st.data())
def test_half_an_answer_proves_no_more_than_it_says(data: st.DataObject) -> None:
    whole = batch(*(accepted(str(number)) for number in range(9, 13)), refused("13"))
    cut = data.draw(st.integers(0, len(whole)))
    everything = _answers(TYPE, whole)
    for number, answer in _answers(TYPE, whole[:cut]).items():
        assert answer.status == everything[number].status


@given(st.binary(max_size=200))
def test_no_answer_at_all_is_an_exception(content: bytes) -> None:
    _answers(TYPE, b"--batchresponse_1\r\n" + content)
