"""Tokens and service protection, on a clock of their own."""

from __future__ import annotations

import pytest

from demo.crm.access import Limits, ServiceProtection, Tokens
from demo.crm.errors import CrmError


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_token_is_good_until_it_expires() -> None:
    clock = Clock()
    tokens = Tokens("pipeline", "s3cret", 60, clock)
    issued = tokens.issue("pipeline", "s3cret")
    assert issued is not None
    header = f"Bearer {issued['access_token']}"
    assert tokens.client_of(header) == "pipeline"
    # Signed, not stored: another process with the same secret knows it too.
    assert Tokens("pipeline", "s3cret", 60, clock).client_of(header) == "pipeline"
    clock.time += 60
    with pytest.raises(CrmError) as refusal:
        tokens.client_of(header)
    assert refusal.value.status == 401


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer a.b", "Bearer é.é"])
def test_anything_else_is_no_token(header: str | None) -> None:
    with pytest.raises(CrmError) as refusal:
        Tokens("pipeline", "s3cret", 60).client_of(header)
    assert refusal.value.status == 401
    assert refusal.value.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_of_another_secret_is_refused() -> None:
    issued = Tokens("pipeline", "other", 60).issue("pipeline", "other")
    assert issued is not None
    with pytest.raises(CrmError):
        Tokens("pipeline", "s3cret", 60).client_of(f"Bearer {issued['access_token']}")
    assert Tokens("pipeline", "s3cret", 60).issue("pipeline", "wrong") is None
    assert Tokens("pipeline", "s3cret", 60).issue("nobody", "s3cret") is None


def test_the_window_slides() -> None:
    clock = Clock()
    protection = ServiceProtection(Limits(requests=2, window_seconds=10), clock)
    for remaining in (1, 0):
        with protection.request("pipeline") as left:
            assert left == remaining
        clock.time += 4
    with pytest.raises(CrmError) as refusal, protection.request("pipeline"):
        pass
    assert (refusal.value.status, refusal.value.code) == (429, "0x80072322")
    assert refusal.value.headers["Retry-After"] == "2"
    with protection.request("somebody else"):
        pass
    clock.time += 2
    with protection.request("pipeline") as left:
        assert left == 0


def test_too_many_at_once_are_refused() -> None:
    protection = ServiceProtection(Limits(concurrent=1))
    with protection.request("pipeline"):
        with pytest.raises(CrmError) as refusal, protection.request("pipeline"):
            pass
        assert (refusal.value.status, refusal.value.code) == (429, "0x80072326")
    with protection.request("pipeline"):
        pass
