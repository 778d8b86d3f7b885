"""What integration tests share: a home that sends to the demo's CRM, and one that was run once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.activation import Crm, Proxy, World
from tests.fixtures.living_home import CalmHome, calm_home

CONTACTS = 60


@pytest.fixture(scope="module")
def one_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    running = Crm(tmp_path_factory.mktemp("crm"), CONTACTS).start()
    yield running
    running.stop()


@pytest.fixture
def crm(one_crm: Crm) -> Crm:
    one_crm.change("delete from cdp_customerprofiles")
    return one_crm


@pytest.fixture
def proxy(crm: Crm) -> Iterator[Proxy]:
    running = Proxy(crm)
    yield running
    running.close()


@pytest.fixture
def world(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("klantbeeld.activation.delivery._BASE_SECONDS", 0.01)
    made = World(tmp_path / "home", proxy.url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalmHome]:
    """A home that was run once, undisturbed. Tests leave it as it is."""
    with calm_home(tmp_path_factory.mktemp("calm")) as made:
        yield made


@pytest.fixture
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before another try are short; `Retry-After` is kept to all the same."""
    monkeypatch.setattr("klantbeeld.activation.delivery._BASE_SECONDS", 0.01)
    monkeypatch.setattr("klantbeeld.http.GuardedSession._back_off", lambda *_: 0.01)
