"""Every source has the same anatomy, and its contract says all that the load needs."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ingestion.sources
from ingestion.contracts import Table
from ingestion.pipelines import SOURCES, _module, system_of
from ingestion.settings import IngestSettings
from klantbeeld.errors import KlantbeeldError

FOLDER = Path(ingestion.sources.__file__).parent
TABLES = [table for name in SOURCES for table in _module(name).TABLES]


def test_the_five_sources_are_found() -> None:
    assert set(SOURCES) >= {"crm", "newsletter", "pos", "shop", "web"}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_the_anatomy(name: str) -> None:
    files = {path.name for path in (FOLDER / name).iterdir()}
    expected = {"__init__.py", "__main__.py", "contracts.py", "settings.py"}
    assert expected | {"README.md"} <= files
    module = _module(name)
    assert issubclass(module.SETTINGS, IngestSettings)
    assert all(table.source == name for table in module.TABLES)
    assert hasattr(module, "read_files") == module.FROM_FILES


def test_a_source_that_leaves_something_out_is_told_what(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("ingestion.sources.half")
    half.__dict__.update(SETTINGS=IngestSettings, TABLES=(), FROM_FILES=True, open_source=None)
    monkeypatch.setitem(sys.modules, half.__name__, half)
    with pytest.raises(KlantbeeldError, match="'half' lacks SYSTEM, read_files") as told:
        system_of("half")
    assert "docs/sources.md" in str(told.value.hint)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.source}.{table.name}")
def test_a_contract_is_explicit(table: Table) -> None:
    names = [column.name for column in table.all_columns]
    assert len(names) == len(set(names))
    assert table.key
    cursor = [column for column in table.columns if column.name == table.cursor]
    # A row without its cursor would never be asked for again.
    assert all(column.is_required for column in cursor)


def test_only_pipelines_names_a_destination() -> None:
    naming = [
        path.name
        for path in FOLDER.parent.rglob("*.py")
        if "destinations." in path.read_text() or "destination=" in path.read_text()
    ]
    assert naming == ["pipelines.py"]


def test_asking_what_sources_there_are_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ingestion.pipelines import SOURCES, load_source;"
        "print(sorted({'dlt', 'duckdb', 'pyarrow', 'pandas', 'dagster'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
