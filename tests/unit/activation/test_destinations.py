"""Which destination a name in the settings stands for, ours or another package's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from klantbeeld.activation.destinations import open_files, open_records
from klantbeeld.activation.destinations.answers import comparable_text, plain
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.settings import Settings, load_settings

SPEC = SyncSpec("sync_x__rows", "activation.x", "x", "rows", "id", {"id": "id", "city": "city"})


def home(tmp_path: Path, **section: Any) -> Settings:
    return load_settings(home=tmp_path, environment="demo", destinations={"x": section})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another distribution, as pip leaves it: a module and its entry points."""
    site = tmp_path / "site"
    info = site / "postduif-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: postduif\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[klantbeeld.destinations]\n"
        "pigeon = postduif:Pigeon\nlost = postduif:Nowhere\ndataverse = postduif:Pigeon\n"
    )
    (site / "postduif.py").write_text(
        "class Pigeon:\n"
        "    largest_batch = 1\n"
        "    def __init__(self, settings, spec): self.entity = spec.entity\n"
        "    def encode(self, key, kind, values): return dict(values)\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("postduif", None)


def test_a_package_brings_a_kind_of_its_own(tmp_path: Path, package: Path) -> None:
    made = open_records(home(tmp_path, kind="pigeon", environment="demo"), SPEC)
    assert type(made).__module__ == "postduif"
    assert made.entity == "rows"  # type: ignore[attr-defined]


def test_a_package_takes_no_kind_of_ours_over(tmp_path: Path, package: Path) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        open_records(home(tmp_path, kind="dataverse", environment="demo"), SPEC)


def test_a_kind_that_cannot_be_loaded_is_told(tmp_path: Path, package: Path) -> None:
    with pytest.raises(KlantbeeldError, match="'lost' of destination cannot be loaded"):
        open_records(home(tmp_path, kind="lost", environment="demo"), SPEC)


@pytest.mark.parametrize("kind", ["unheard_of", "pigeon", "dataverse"])
def test_a_kind_of_the_other_use_is_refused_with_those_that_fit(
    tmp_path: Path, package: Path, kind: str
) -> None:
    with pytest.raises(KlantbeeldError, match=f"kind is '{kind}'") as caught:
        open_files(home(tmp_path, kind=kind, environment="demo"), SPEC)  # type: ignore[arg-type]
    assert "hashed_audience" in str(caught.value.hint)
    assert "dataverse" not in str(caught.value.hint)


@pytest.mark.parametrize("bound", [{}, {"environment": "production"}])
def test_a_destination_of_another_environment_is_not_opened(
    tmp_path: Path, package: Path, bound: dict[str, str]
) -> None:
    with pytest.raises(KlantbeeldError, match="nothing was sent"):
        open_records(home(tmp_path, kind="pigeon", **bound), SPEC)


@pytest.mark.parametrize(
    ("sent", "there"),
    [
        (None, ""),
        (Decimal("12.50"), "12.5"),
        (12, "12.0"),
        (0.1, "0.10"),
        (True, "true"),
        (date(2026, 3, 1), "2026-03-01"),
        ("2026-03-01T10:00:00Z", "2026-03-01T11:00:00.000+01:00"),
        (datetime(2026, 3, 1, 10, tzinfo=UTC), "2026-03-01 10:00:00"),
    ],
)
def test_the_same_value_in_another_spelling_is_the_same(sent: Any, there: Any) -> None:
    assert comparable_text(sent) == comparable_text(there)
    assert comparable_text(plain(sent)) == comparable_text(there)


@pytest.mark.parametrize(
    ("one", "other"), [("012", "12"), ("0612", 612), ("a", "A"), ("1e3", 1000), (None, 0)]
)
def test_what_only_looks_alike_is_not_the_same(one: Any, other: Any) -> None:
    assert comparable_text(one) != comparable_text(other)
