"""Which destination a name in the settings stands for, ours or another package's."""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from klantbeeld.activation.destinations import (
    FILES,
    RECORDS,
    InspectableDestination,
    RecordDestination,
    RowRefused,
    open_files,
    open_records,
)
from klantbeeld.activation.destinations.answers import comparable_text, plain
from klantbeeld.activation.preflight import check_fit, refuse_rivals
from klantbeeld.activation.specs import AudienceSpec, OnLeave, PrivacyRule, SyncSpec
from klantbeeld.doctor import _destinations
from klantbeeld.errors import KlantbeeldError, SettingsError
from klantbeeld.settings import DestinationSettings, Settings, load_settings

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


SECTIONS: dict[str, dict[str, Any]] = {
    "dataverse": {"base_url": "https://x.example/", "client_id": "k", "client_secret": "g"},
    "hubspot": {"token": "g"},
    "klaviyo": {"api_key": "g"},
    "postgres": {"host": "x.example", "database": "d", "user": "u"},
    "rest": {
        "base_url": "https://x.example/",
        "entities": {"rows": {"upsert": {"method": "PUT", "path": "rows/{key}"}}},
    },
    "webhook": {"url": "https://x.example/", "secret": "whsec_" + "A" * 40},
}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_kind_has_all_that_the_engine_asks_for(tmp_path: Path, kind: str) -> None:
    section = {"kind": kind, "environment": "demo", **SECTIONS[kind]}
    made = open_records(home(tmp_path, **section), SPEC)
    for name, wanted in RecordDestination.__annotations__.items():
        if name != "settings_type":
            assert type(getattr(made, name)).__name__ == wanted
    assert issubclass(made.settings_type, DestinationSettings)
    methods = [name for name in vars(RecordDestination) if not name.startswith("_")]
    assert {"check", "encode", "write", "read", "holds"} <= set(methods)
    for name in methods:
        ours, theirs = (
            list(inspect.signature(getattr(owner, name)).parameters)
            for owner in (type(made), RecordDestination)
        )
        assert ours == theirs


@pytest.mark.parametrize(
    ("kind", "entity", "key", "on_leave", "problem"),
    [
        ("hubspot", "contacts", "email", "remove", "contacts of x is no list to remove rows from"),
        ("klaviyo", "profiles", "email", "remove", "profiles of x is no list to remove rows from"),
        ("postgres", "rows", "email", "remove", "rows of x is no list to remove rows from"),
        # Nobody leaves but who withdraws, and has to be deleted then.
        ("klaviyo", "profiles", "email", "nothing", "profiles are not deleted by a sync"),
        ("rest", "rows", "email", "nothing", "rows has no delete request"),
    ],
)
def test_rows_that_cannot_leave_are_told_before_the_first_request(
    tmp_path: Path, kind: str, entity: str, key: str, on_leave: OnLeave, problem: str
) -> None:
    privacy = PrivacyRule({key: "email"}, "commercial")
    spec = SyncSpec(
        "audience_a", "a", "x", entity, key, {key: key}, on_leave=on_leave, privacy=privacy
    )
    settings = home(tmp_path, kind=kind, environment="demo", **SECTIONS[kind])
    with pytest.raises(KlantbeeldError, match=problem):
        check_fit(spec, open_records(settings, spec), {key: "VARCHAR"})


def test_rows_that_another_sync_writes_are_nobodys_own() -> None:
    own = replace(SPEC, is_exclusive=True)
    other = replace(SPEC, name="sync_x__others")
    elsewhere = replace(other, entity="elsewhere")
    refuse_rivals(own, [own, elsewhere])
    refuse_rivals(SPEC, [SPEC, other])
    with pytest.raises(KlantbeeldError, match="sync_x__others write to rows of x too"):
        refuse_rivals(own, [own, other])


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
    ("one", "other"),
    [
        ("012", "12"),
        ("0612", 612),
        ("a", "A"),
        ("1e3", 1000),
        (None, 0),
        ("9" * 29 + "1", "9" * 29 + "2"),
    ],
)
def test_what_only_looks_alike_is_not_the_same(one: Any, other: Any) -> None:
    assert comparable_text(one) != comparable_text(other)


def test_what_no_answer_should_hold_is_compared_or_refused() -> None:
    before_all_years = "0001-01-01T00:00:00+02:00"
    assert comparable_text(before_all_years) == before_all_years
    for value in (float("nan"), float("inf"), Decimal("NaN")):
        with pytest.raises(RowRefused):
            plain(value)


# ---- what the doctor says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"kind": "unheard_of"}, ["kind is 'unheard_of'"]),
        ({"kind": "webhook", "url": "https://x.example/"}, ["destinations.x.secret"]),
        ({"kind": "files", "folder": "/nergens"}, ["/nergens does not exist"]),
        ({"kind": "files"}, ["exactly one of folder, sftp or s3"]),
        ({"kind": "unheard_of", "enabled": False}, []),
        ({"kind": "postgres", "host": "127.0.0.1", "port": 9, "database": "d", "user": "u"},
         ["127.0.0.1:9 cannot be reached"]),
        ({"kind": "files", "sftp": {"host": "127.0.0.1", "port": 9, "user": "u", "password": "p",
                                    "host_keys": ["k"]}}, ["127.0.0.1:9 cannot be reached"]),
        ({"kind": "klaviyo", "api_key": "g"}, []),
        ({"kind": "klaviyo", "api_key": "g", "base_url": "https://x.example:99999/"},
         ["a port that cannot be"]),
    ],
)  # fmt: skip
def test_the_doctor_checks_the_section_of_every_destination(
    tmp_path: Path, section: dict[str, Any], said: list[str]
) -> None:
    settings = home(tmp_path, environment="demo", **section)
    found = [finding for finding in _destinations(settings) if finding.level != "ok"]
    assert [finding.level for finding in found] == ["problem"] * len(said)
    for finding, text in zip(found, said, strict=True):
        assert text in finding.message


# ---- what the documentation shows --------------------------------------------------------------

SECRETS: dict[str, dict[str, Any]] = {
    "crm": {"client_secret": "geheim"},
    "loyalty": {"auth": {"token": "geheim"}},
    "print_house": {"kind": "files", "environment": "production", "sftp": {"password": "geheim"}},
    "advertising": {
        "kind": "hashed_audience",
        "environment": "production",
        "s3": {"secret_access_key": "geheim"},
    },
}


def documented() -> dict[str, dict[str, Any]]:
    """The destinations that docs/destinations.md shows, with their secrets."""
    page = Path(__file__).parents[3] / "docs" / "destinations.md"
    found: dict[str, dict[str, Any]] = {}
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.S):
        found |= tomllib.loads(block).get("destinations", {})
    for name, secrets in SECRETS.items():
        for key, value in secrets.items():
            there = found[name].get(key)
            found[name][key] = there | value if isinstance(there, dict) else value
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    found["print_house"]["sftp"]["host_keys"] = [key]
    return found


@pytest.mark.parametrize("entity", ["members", "cards", "points"])
def test_the_documented_descriptions_of_an_api_hold(tmp_path: Path, entity: str) -> None:
    shown = documented()
    settings = load_settings(home=tmp_path, environment="production", destinations=shown)
    keep = replace(SPEC, destination="loyalty", entity=entity, on_leave="nothing")
    destination = open_records(settings, keep)
    destination.check({"id": "VARCHAR", "city": "VARCHAR"})
    assert isinstance(destination, InspectableDestination) == (entity == "members")


@pytest.mark.parametrize("name", ["newsletter", "print_house", "advertising"])
def test_the_documented_places_hold(tmp_path: Path, name: str) -> None:
    settings = load_settings(home=tmp_path, environment="production", destinations=documented())
    columns = ("email",)
    spec = AudienceSpec("a", "activation.a", name, "email", "commercial", "us", columns)
    columns_of, _ = open_files(settings, spec).select(spec, {"email": "VARCHAR"})
    assert len(columns_of) == 1


def test_every_kind_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "destinations.md").read_text()
    assert [kind for kind in (*RECORDS, *FILES) if f"| `{kind}` |" not in page] == []
