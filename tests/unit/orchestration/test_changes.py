"""Whether a run has anything to build, also after a kill at the worst moment."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import Version, Warehouse
from orchestration.changes import (
    current_fingerprint,
    marking_load,
    needs_build,
    record_published,
)


class Home:
    """A home in which something was loaded and published."""

    def __init__(self, path: Path) -> None:
        clock = path / "clock.json"
        path.mkdir()
        self.settings: Settings = load_settings(home=path, as_of_file=clock)
        self.at("2026-03-01T22:59:59+00:00")
        self.control: ControlPlane = open_control(self.settings)
        self.warehouse = Warehouse(self.settings, self.control)

    def at(self, moment: str) -> None:
        assert self.settings.as_of_file is not None
        self.settings.as_of_file.write_text(f'{{"as_of": "{moment}"}}')

    def load(self, run_id: str, *, changed: bool | None) -> None:
        with marking_load(self.control, "crm", run_id) as mark:
            mark.changed = changed

    def publish(self, *, is_whole: bool = True) -> Version:
        fingerprint = current_fingerprint(self.settings, self.control) if is_whole else None
        return self.warehouse.publish(
            run_id="r",
            as_of=datetime(2026, 3, 1, tzinfo=UTC),
            counts={},
            on_commit=lambda connection, version: record_published(
                connection, version, fingerprint
            ),
        )

    def reasons(self) -> list[str]:
        return needs_build(self.settings, self.control, self.warehouse)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    made.load("first", changed=True)
    yield made
    made.control.close()


def test_without_a_version_there_is_a_reason(home: Home) -> None:
    assert home.reasons() == ["nothing is published yet"]


def test_a_version_whose_files_are_gone_is_built_again(home: Home) -> None:
    home.publish()
    shutil.rmtree(home.settings.paths.versions_dir)
    assert home.reasons() == ["the files of the current version are gone"]


def test_nothing_changed(home: Home) -> None:
    home.publish()
    home.load("second", changed=False)
    assert home.reasons() == []


def test_new_rows_are_a_reason(home: Home) -> None:
    home.publish()
    home.load("second", changed=True)
    assert home.reasons() == ["crm"]


def test_rows_that_a_failed_run_loaded_stay_a_reason(home: Home) -> None:
    home.publish()
    home.load("second", changed=True)
    home.load("third", changed=False)
    assert home.reasons() == ["crm"]


def test_a_load_that_was_killed_counts_as_changed(home: Home) -> None:
    home.publish()
    with pytest.raises(KeyboardInterrupt), marking_load(home.control, "crm", "second"):
        raise KeyboardInterrupt
    home.load("third", changed=False)
    assert home.reasons() == ["crm"]


def test_a_source_that_is_down_is_no_reason_and_its_return_is(home: Home) -> None:
    home.publish()
    home.load("second", changed=None)
    home.load("third", changed=None)
    assert home.reasons() == []
    home.load("fourth", changed=False)
    assert home.reasons() == ["crm"]
    home.publish()
    home.load("fifth", changed=False)
    assert home.reasons() == []


def test_a_killed_load_is_a_reason_also_when_the_source_is_down_next(home: Home) -> None:
    home.publish()
    with pytest.raises(KeyboardInterrupt), marking_load(home.control, "crm", "second"):
        raise KeyboardInterrupt
    home.load("third", changed=None)
    assert home.reasons() == ["crm"]


def test_a_new_business_date_is_a_reason(home: Home) -> None:
    home.publish()
    home.at("2026-03-02T22:59:59+00:00")
    assert home.reasons() == ["business_date"]


def test_a_later_moment_of_the_same_business_date_is_none(home: Home) -> None:
    home.at("2026-02-28T23:00:01+00:00")
    home.publish()
    home.at("2026-03-01T22:59:59+00:00")
    assert home.reasons() == []


def test_a_version_of_a_partial_run_is_built_again(home: Home) -> None:
    home.publish(is_whole=False)
    assert home.reasons() == ["the current version is not what the last whole run published"]


def test_a_rolled_back_version_is_built_again(home: Home) -> None:
    home.publish()
    home.load("second", changed=True)
    home.publish()
    home.warehouse.roll_back()
    assert home.reasons() == ["the current version is not what the last whole run published"]
