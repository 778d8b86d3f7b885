"""The dbt project on disk and what dbt is run with."""

import hashlib
import os
import sys
from pathlib import Path

from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import private_dir
from klantbeeld.settings import Settings

# Installed beside the interpreter by `pip install -e .`; see `__main__.py`.
EXECUTABLE = Path(sys.executable).parent / "klantbeeld-dbt"


def project_dir() -> Path:
    """The folder `dbt_project/`, beside this package.

    Raises:
        KlantbeeldError: The package was installed without its project.
    """
    folder = Path(__file__).resolve().parents[2] / "dbt_project"
    if not (folder / "dbt_project.yml").exists():
        raise KlantbeeldError(
            f"the dbt project is not at {folder}",
            "Install Klantbeeld from a clone: `make install`.",
        )
    return folder


def environment(settings: Settings, warehouse_file: Path, state_dir: Path) -> dict[str, str]:
    """The variables dbt is run with.

    Args:
        settings: The home's settings.
        warehouse_file: The DuckDB file that models are built in.
        state_dir: Where dbt keeps its target and logs; its parse cache makes the next start fast.
    """
    project = str(project_dir())
    return {
        "KLANTBEELD_HOME": str(settings.paths.home),
        "KLANTBEELD_WAREHOUSE_FILE": str(warehouse_file.absolute()),
        "KLANTBEELD_WAREHOUSE__THREADS": str(settings.warehouse.threads),
        "KLANTBEELD_WAREHOUSE__MEMORY_LIMIT": settings.warehouse.memory_limit,
        "DBT_PROJECT_DIR": project,
        "DBT_PROFILES_DIR": project,
        "DBT_TARGET_PATH": str(private_dir(state_dir / "target")),
        "DBT_LOG_PATH": str(private_dir(state_dir / "logs")),
        "DBT_INDIRECT_SELECTION": "buildable",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def build_environment(settings: Settings) -> dict[str, str]:
    """The variables of a run: it builds in the build file."""
    return environment(settings, settings.paths.build_file, settings.paths.dbt_dir)


def manifest_path(settings: Settings) -> Path:
    """The dbt manifest of the last parse in this home."""
    return settings.paths.dbt_dir / "target" / "manifest.json"


def project_digest() -> str:
    """SHA-256 over the project's files: two runs with the same digest build the same models."""
    digest = hashlib.sha256()
    folder = project_dir()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - {"target", "logs", "dbt_packages"})
        for name in sorted(names):
            path = Path(root) / name
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
