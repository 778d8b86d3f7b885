"""Whatever a batch is answered with, only what it says of a row is believed of that row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.activation.destinations import RecordDestination
from tests.fixtures.destinations import Asked, Service, Told, opened, operation, states

KEYS = "abc"
COLUMNS = {"id": "id", "city": "city"}
REST = {
    "batch": {
        "path": "rows",
        "rows": "results",
        "key": "id",
        "status": "status",
        "ok": ["COMPLETE"],
        "errors": "errors",
    }
}
PROPERTIES = {
    "results": [
        {"name": "id", "type": "string", "hasUniqueValue": True},
        {"name": "city", "type": "string"},
    ]
}


class Voice:
    """A system that answers every write with the same bytes."""

    def __init__(self) -> None:
        self.body = b""
        self.service = Service(self.answer)

    def answer(self, asked: Asked) -> Told:
        return Told(200, PROPERTIES) if asked.method == "GET" else Told(207, body=self.body)


@pytest.fixture(scope="module")
def voice() -> Iterator[Voice]:
    made = Voice()
    yield made
    made.service.close()


@pytest.fixture(scope="module", params=["rest", "hubspot"])
def destination(
    request: pytest.FixtureRequest, voice: Voice, tmp_path_factory: pytest.TempPathFactory
) -> RecordDestination:
    sections: dict[str, dict[str, Any]] = {
        "rest": {"base_url": voice.service.url, "entities": {"rows": REST}},
        "hubspot": {"base_url": voice.service.url, "token": "geheim"},
    }
    section = {"kind": request.param, **sections[request.param]}
    folder: Path = tmp_path_factory.mktemp("home")
    return opened(folder, section, COLUMNS)


def told(key: str, is_ok: bool) -> dict[str, Any]:
    """A result in the terms of both."""
    if is_ok:
        return {"id": key, "status": "COMPLETE", "properties": {"id": key}}
    return {"id": key, "status": "NO", "category": "CONFLICT", "context": {"ids": [key]}}


results = st.lists(st.tuples(st.sampled_from([*KEYS, "z", ""]), st.booleans()), max_size=8)


@settings(max_examples=40)
@given(results, st.integers(0, 40) | st.none())
def test_only_rows_that_an_answer_accepts_and_never_refuses_are_acknowledged(
    voice: Voice, destination: RecordDestination, said: list[tuple[str, bool]], cut: int | None
) -> None:
    accepted = {key for key, is_ok in said if is_ok}
    refused = {key for key, is_ok in said if not is_ok}
    body = json.dumps(
        {
            "status": "COMPLETE",
            "results": [told(key, True) for key, is_ok in said if is_ok],
            "errors": [told(key, False) for key, is_ok in said if not is_ok],
        }
    ).encode()
    voice.body = body if cut is None else body[: -cut - 1]
    batch = [operation(destination, key, city="Ede") for key in KEYS]
    outcome = states(destination.write(batch))
    if cut is not None:
        assert outcome == {}, "half a document proves nothing"
        return
    wanted = dict.fromkeys(accepted - refused, "acknowledged")
    wanted |= dict.fromkeys(refused - accepted, "rejected")
    assert outcome == {key: state for key, state in wanted.items() if key in KEYS and key}
