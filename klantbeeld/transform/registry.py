"""The generated parts of the dbt project, and the check that they have not drifted.

dbt cannot infer the dependencies of a model that discovers others while it runs, nor what leaves
the warehouse, so three things are written from what is on disk, at the start of every run and by
`make dev`:

* `macros/generated/registry.sql`: which harmonised models exist for each entity of the standard
  model (`models/intermediate/<source>/int_<source>__<entity>.sql`), for the unions, and which
  audiences (`models/segments/seg_<audience>.sql`), for who is in which;
* the contract of the carried columns in `models/marts/_marts__models.yml`, from the one list
  `vars: carried_columns:` in `dbt_project.yml`;
* `models/activation/_activation__exposures.yml`: each sync and each audience as an exposure, so
  that dbt's own lineage ends where the data goes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import write_atomic
from klantbeeld.transform.project import project_dir

_HARMONISED = re.compile(r"^int_(?P<source>[a-z0-9_]+?)__(?P<entity>[a-z0-9_]+)\.sql$")
_SYNC = re.compile(r"^sync_(?P<destination>[a-z0-9]+)__(?P<objects>[a-z0-9_]+)$")
_BEGIN = "# carried columns: begin (generated)"
_END = "# carried columns: end"
_CARRIED_KEYS = {"name", "model", "column", "data_type", "description", "rule"}


def refresh(folder: Path | None = None) -> list[Path]:
    """Write the generated parts that differ from what is on disk.

    Args:
        folder: A copy of the dbt project; without it, the project itself.

    Returns:
        The files that were written; empty when nothing had drifted.
    """
    changed = [(path, text) for path, text in _generated(folder) if _read(path) != text]
    for path, text in changed:
        write_atomic(path, text)
        path.chmod(0o644)
    return [path for path, _ in changed]


def drift() -> list[Path]:
    """The generated files that are not as they should be; `make check` fails on any."""
    return [path for path, text in _generated() if _read(path) != text]


def _generated(folder: Path | None = None) -> list[tuple[Path, str]]:
    project = folder or project_dir()
    registry = project / "macros" / "generated" / "registry.sql"
    contract = project / "models" / "marts" / "_marts__models.yml"
    return [
        (registry, _registry_sql(project / "models")),
        (contract, _with_carried_columns(contract, project / "dbt_project.yml")),
        (
            project / "models" / "activation" / "_activation__exposures.yml",
            _exposures_yaml(project / "models"),
        ),
    ]


def _registry_sql(models_dir: Path) -> str:
    entities: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((models_dir / "intermediate").glob("*/int_*__*.sql")):
        match = _HARMONISED.match(path.name)
        if match is None or match["source"] != path.parent.name:
            raise KlantbeeldError(
                f"models/intermediate/{path.parent.name}/{path.name} is not named for its folder",
                f"Expected int_{path.parent.name}__<entity>.sql.",
            )
        entities[match["entity"]].append(path.stem)
    segments = sorted((models_dir / "segments").glob("seg_*.sql"))
    audiences = [path.stem.removeprefix("seg_") for path in segments]
    lines = [
        "{#- Written by `klantbeeld dev prepare` from models/intermediate and models/segments. -#}",
        "{% macro harmonised_models() %}{{ return({",
        *(f"    '{entity}': {models!r}," for entity, models in sorted(entities.items())),
        "}) }}{% endmacro %}",
        "{% macro audience_names() %}{{ return([",
        *(f"    '{audience}'," for audience in audiences),
        "]) }}{% endmacro %}",
        "",
    ]
    return "\n".join(lines)


class _Indented(yaml.SafeDumper):
    """Lists indented under their name, as everywhere in the project."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Go one level deeper, for a list too."""
        super().increase_indent(flow, False)


def _exposures_yaml(models_dir: Path) -> str:
    exposures = [*_sync_exposures(models_dir / "activation")]
    exposures += _audience_exposures(models_dir / "segments")
    text = yaml.dump(
        {"exposures": exposures},
        Dumper=_Indented,
        sort_keys=False,
        allow_unicode=True,
        width=10_000,
    )
    origin = "models/activation and models/segments"
    return f"# Written by `klantbeeld dev prepare` from {origin}.\n{text}"


def _sync_exposures(folder: Path) -> Iterator[dict[str, Any]]:
    described = {
        model["name"]: model.get("config", {}).get("meta", {})
        for path in sorted(folder.glob("*.yml"))
        for model in (yaml.safe_load(path.read_text()) or {}).get("models", [])
    }
    for path in sorted(folder.glob("sync_*.sql")):
        found = _SYNC.match(path.stem)
        if found is None:
            raise KlantbeeldError(
                f"models/activation/{path.name} is not named for its destination",
                "Expected sync_<destination>__<objects>.sql.",
            )
        meta = described.get(path.stem, {})
        destination = meta.get("sync", {}).get("destination", found["destination"])
        yield _exposure(
            f"{found['destination']}__{found['objects']}",
            f"What `{destination}` is sent of `{path.stem}`, row by row.",
            meta.get("owner"),
            path.stem,
        )


def _audience_exposures(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("seg_*.sql")):
        text = path.read_text()
        # A segment says these in its own `config(meta={...})`, each a literal.
        meta = dict(re.findall(r"'(owner|destination)':\s*'([^']*)'", text))
        audience = path.stem.removeprefix("seg_")
        how = "row by row" if re.search(r"'sync':\s*\{", text) else "as a file"
        yield _exposure(
            f"audience_{audience}",
            f"The audience `{audience}`, sent to `{meta.get('destination', '?')}` {how}.",
            meta.get("owner"),
            path.stem,
        )


def _exposure(name: str, description: str, owner: str | None, model: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "application",
        "description": description,
        "owner": {"name": owner or "customer-data"},
        "depends_on": [f"ref('{model}')"],
    }


def _with_carried_columns(contract: Path, project_file: Path) -> str:
    text = _read(contract)
    if text is None or _BEGIN not in text or _END not in text:
        raise KlantbeeldError(
            f"{contract.name} has no place for the carried columns",
            f"Put the lines `{_BEGIN}` and `{_END}` among the columns of dim_profiles.",
        )
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    indent = head.rpartition("\n")[2]
    block = "".join(_column_yaml(entry, indent) for entry in _carried_columns(project_file))
    return f"{head}{_BEGIN}\n{block}{indent}{_END}{tail}"


def _carried_columns(project_file: Path) -> list[dict[str, Any]]:
    project = yaml.safe_load(project_file.read_text())
    entries = (project.get("vars") or {}).get("carried_columns") or []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not set(entry) >= _CARRIED_KEYS:
            raise KlantbeeldError(
                f"dbt_project.yml: entry {number} of vars.carried_columns is not complete",
                f"Each entry has: {', '.join(sorted(_CARRIED_KEYS))}.",
            )
    return entries


def _column_yaml(entry: dict[str, Any], indent: str) -> str:
    column = [
        {
            "name": entry["name"],
            "data_type": entry["data_type"],
            "description": entry["description"],
            "config": {"meta": {"pii": bool(entry.get("pii", True))}},
        }
    ]
    text = yaml.safe_dump(column, sort_keys=False, allow_unicode=True, width=10_000)
    return "".join(f"{indent}{line}\n" for line in text.splitlines())


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
