"""One home with a parsed dbt project for all tests here: parsing takes most of the time."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from klantbeeld.settings import Settings, load_settings


@pytest.fixture(scope="session")
def parsed_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a home in which the dbt project was parsed."""
    home: Path = tmp_path_factory.mktemp("orchestration") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KLANTBEELD_HOME", str(home))
        yield load_settings()


@pytest.fixture(scope="session")
def definitions(parsed_home: Settings) -> dg.Definitions:
    """Everything that Dagster knows, as it is loaded from a home where nothing ever ran."""
    from orchestration.definitions import defs

    assert not parsed_home.paths.build_file.exists()
    return defs()
