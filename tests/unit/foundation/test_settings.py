"""Settings: named when wrong, private when secret, strongest place first."""

import stat
from pathlib import Path

import pytest

from klantbeeld.activation.destinations.rest import RestSettings
from klantbeeld.errors import ExitCode, SettingsError
from klantbeeld.settings import SourceSettings, load_settings


class ShopSettings(SourceSettings):
    host: str
    port: int = 5432


def write(home: Path, name: str, text: str, mode: int = 0o600) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    path = home / name
    path.write_text(text)
    path.chmod(mode)


def test_environment_wins_over_secrets_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    write(home, "klantbeeld.toml", '[sources.shop]\nhost = "file"\nport = 1\n')
    write(home, "secrets.toml", "[sources.shop]\nport = 2\n")
    assert load_settings(home=home).source("shop", ShopSettings).port == 2
    monkeypatch.setenv("KLANTBEELD_SOURCES__SHOP__PORT", "3")
    shop = load_settings(home=home).source("shop", ShopSettings)
    assert (shop.host, shop.port) == ("file", 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('time_zone = "Mars/Olympus"', "time_zone"),
        ('[warehouse]\nmemory_limit = "lots"', "warehouse.memory_limit"),
        ("[demo]\npersons = 3", "demo.persons"),
        ("[demo]\npeople = 300", "demo.people"),
        ('colour = "blue"', "colour"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, named: str) -> None:
    write(tmp_path / "home", "klantbeeld.toml", text)
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path / "home")
    assert named in caught.value.message
    assert f"KLANTBEELD_{named.replace('.', '__').upper()}" in caught.value.message
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('time_zone = "Mars/Olympus"', "expected a time zone such as Europe/Amsterdam"),
        ('[warehouse]\nmemory_limit = "lots"', "expected a size such as 4GB"),
        ('environment = "My Shop"', "expected a name in small letters, such as production"),
    ],
)
def test_what_is_expected_is_told_in_plain_words(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path / "home", "klantbeeld.toml", text)
    with pytest.raises(SettingsError, match=f"^[a-z_.]+: {told} "):
        load_settings(home=tmp_path / "home")


@pytest.mark.parametrize(
    "name", ["KLANTBEELD_HOEM", "KLANTBEELD_WAREHOUS__THREADS", "klantbeeld_warehouse_threads"]
)
def test_an_unknown_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("KLANTBEELD_DEMO__PERSONS", "60")
    assert load_settings(home=tmp_path).demo.persons == 60
    monkeypatch.setenv(name, "2")
    with pytest.raises(SettingsError, match=f"^{name} is not a known setting") as caught:
        load_settings(home=tmp_path)
    assert "KLANTBEELD_WAREHOUSE__…" in str(caught.value.hint)


AUTH = "destinations.loyalty.auth"


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({"kind": "bearer"}, f"{AUTH}.token: is missing .*`{AUTH}.token` in secrets.toml"),
        (
            {"kind": "header", "name": "X-Key", "value": "k", "realm": "r"},
            f"{AUTH}.realm: is not a known setting .*AUTH__REALM, or `{AUTH}.realm` in klantbeeld",
        ),
        ({"kind": "badge"}, f"{AUTH}: expected kind to be one of bearer, basic, header, client_"),
        ({}, f"{AUTH}: expected kind to be one of bearer, basic, header, client_credentials"),
    ],
)
def test_a_setting_of_one_of_several_kinds_is_named_as_it_is_written(
    tmp_path: Path, auth: dict[str, str], told: str
) -> None:
    entity = {"create": {"method": "POST", "path": "members"}}
    loyalty = {
        "kind": "rest",
        "base_url": "https://api.example.test",
        "auth": auth,
        "entities": {"members": entity},
    }
    settings = load_settings(home=tmp_path, destinations={"loyalty": loyalty})
    with pytest.raises(SettingsError, match=f"^{told}") as caught:
        settings.destination("loyalty", RestSettings)
    assert len(caught.value.message.splitlines()) == 1


def test_toml_that_is_broken_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "home", "klantbeeld.toml", "home = [")
    with pytest.raises(SettingsError, match=r"klantbeeld\.toml is not valid TOML"):
        load_settings(home=tmp_path / "home")


def test_settings_that_cannot_be_read_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "klantbeeld.toml").mkdir()
    with pytest.raises(SettingsError, match=r"klantbeeld\.toml cannot be read"):
        load_settings(home=tmp_path)


def test_a_home_that_cannot_be_read_is_told_so(tmp_path: Path) -> None:
    # The longest name of a file is 255 bytes: looking there fails for every user.
    with pytest.raises(SettingsError, match=r"secrets\.toml cannot be read"):
        load_settings(home=tmp_path / ("x" * 300))


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "home", "secrets.toml", "", mode=0o644)
    with pytest.raises(SettingsError, match="can be read by others"):
        load_settings(home=tmp_path / "home")


def test_the_environment_can_switch_a_source_or_destination_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path, "klantbeeld.toml", '[sources.web]\nfolder = "x"\n[destinations.crm]\nkind = "d"'
    )
    assert load_settings(home=tmp_path).source_enabled("web")
    assert load_settings(home=tmp_path).destination_enabled("crm")
    monkeypatch.setenv("KLANTBEELD_SOURCES__WEB__ENABLED", "false")
    monkeypatch.setenv("KLANTBEELD_DESTINATIONS__CRM__ENABLED", "false")
    assert not load_settings(home=tmp_path).source_enabled("web")
    assert not load_settings(home=tmp_path).destination_enabled("crm")
    monkeypatch.setenv("KLANTBEELD_SOURCES__WEB__ENABLED", "perhaps")
    with pytest.raises(SettingsError, match=r"sources\.web\.enabled"):
        load_settings(home=tmp_path).source_enabled("web")


def test_a_source_that_is_not_set_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path).source("shop", ShopSettings)
    assert "sources.shop is not set" in caught.value.message
    assert "host" in str(caught.value.hint)


def test_a_value_of_a_wrong_setting_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLANTBEELD_SOURCES__SHOP__PORT", "hunter2-secret")
    monkeypatch.setenv("KLANTBEELD_SOURCES__SHOP__HOST", "h")
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path).source("shop", ShopSettings)
    assert "sources.shop.port" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_home_key_is_made_once_and_private(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    key = settings.home_key()
    assert len(key) == 32
    assert load_settings(home=tmp_path / "home").home_key() == key
    assert stat.S_IMODE(settings.paths.home_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.paths.home.stat().st_mode) == 0o700
