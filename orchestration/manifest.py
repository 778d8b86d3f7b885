"""dbt's manifest, the list of all that is in the project: kept in the home, parsed on change.

Belongs here: having a manifest and reading what orchestration needs from it. Does not: running
models.

dbt_project/ -> `dbt parse` -> <home>/dbt/target/manifest.json -> assets
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import private_dir, write_atomic
from klantbeeld.settings import Settings
from klantbeeld.transform.project import (
    build_environment,
    manifest_path,
    project_digest,
    project_dir,
)
from klantbeeld.transform.runner import Dbt

Node = Mapping[str, Any]
Manifest = Mapping[str, Any]


def dbt(settings: Settings) -> Dbt:
    """The dbt of this process that works in this home's build."""
    return _dbt(project_dir(), tuple(build_environment(settings).items()))


@cache
def _dbt(project: Path, environment: tuple[tuple[str, str], ...]) -> Dbt:
    return Dbt(project, dict(environment))


def prepare_manifest(settings: Settings) -> Path:
    """Have a manifest of the project as it is now; parse (4-7 s) only when the project changed.

    Raises:
        KlantbeeldError: The project cannot be parsed; dbt's own words are in the message.
    """
    from klantbeeld.transform.registry import refresh

    refresh()
    manifest = manifest_path(settings)
    private_dir(manifest.parent)
    stamp = manifest.with_name("manifest.digest")
    digest = project_digest()
    if manifest.exists() and stamp.exists() and stamp.read_text() == digest:
        return manifest
    private_dir(settings.paths.build_dir)
    outcome = dbt(settings).parse(write=True)
    if not outcome.success:
        raise KlantbeeldError(
            f"the dbt project cannot be parsed:\n{(outcome.error or '')[-3000:]}",
            "Correct the file that dbt names.",
        )
    write_atomic(stamp, digest.encode())
    return manifest


@cache
def _read(path: Path, _modified: int) -> Manifest:
    manifest: Manifest = json.loads(path.read_bytes())
    return manifest


def read_manifest(settings: Settings) -> Manifest:
    """The manifest; `prepare_manifest` first where it may be missing or old."""
    path = manifest_path(settings)
    return _read(path, path.stat().st_mtime_ns)


def models(manifest: Manifest) -> list[Node]:
    """Everything that becomes a table or view: models, seeds and snapshots."""
    kinds = ("model", "seed", "snapshot")
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] in kinds and node["config"].get("materialized") != "ephemeral"
    ]


def sources(manifest: Manifest, name: str) -> list[Node]:
    """The tables of one dbt source, in the order of its file."""
    return [node for node in manifest["sources"].values() if node["source_name"] == name]


def asset_path(node: Node) -> list[str]:
    """The asset key of a node: where its table is."""
    if node["resource_type"] == "source":
        return [node["source_name"], node["name"]]
    return [node["schema"], node["name"]]


def meta(node: Node) -> Mapping[str, Any]:
    """The node's `meta`, wherever dbt put it."""
    found: Mapping[str, Any] = node.get("config", {}).get("meta") or node.get("meta") or {}
    return found


def audiences(manifest: Manifest) -> list[Node]:
    """The audience models (`segments/seg_<audience>.sql`), by name."""
    found = [node for node in models(manifest) if node["name"].startswith("seg_")]
    return sorted(found, key=lambda node: str(node["name"]))


def record_syncs(manifest: Manifest) -> list[Node]:
    """The models that are sent row by row (`meta.sync`) and are no audiences, by name."""
    found = [
        node
        for node in models(manifest)
        if "sync" in meta(node) and not node["name"].startswith("seg_")
    ]
    return sorted(found, key=lambda node: str(node["name"]))
