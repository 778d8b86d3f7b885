"""What is to be sent: syncs and audiences, as their dbt models declare them in `meta`.

Belongs here: reading dbt's manifest into two small types, and saying what is wrong with a
declaration. What is done with them does not.

    manifest.json kept with the version -> SyncSpec, AudienceSpec

A sync (`models/activation/sync_<destination>__<objects>.sql`)::

    meta:
      sync:
        destination: crm                    # [destinations.crm] in the settings
        entity: cdp_customerprofiles
        key: contact_id                     # unique, never null; the destination's own key
        columns: {contact_id: cdp_contactid, full_name: cdp_fullname, …}
        option_columns: [lifecycle_stage]   # optional: labels that must become option codes
        on_leave: delete                    # or keep: what happens when a row leaves the model

An audience (`models/segments/seg_<audience>.sql`)::

meta: {owner: …, purpose: commercial, channel: email, destination: newsletter, columns: [email]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from klantbeeld.errors import KlantbeeldError

Manifest = Mapping[str, Any]
OnLeave = Literal["delete", "keep"]

_CHANNELS = ("email", "phone", "postal")
_PURPOSES = ("commercial", "transactional")


@dataclass(frozen=True)
class SyncSpec:
    """A model whose rows are written to a destination, one by one.

    Attributes:
        name: The model's name.
        relation: Schema and table of the model.
        destination: Name of the destination in the settings.
        entity: The destination's own name for the kind of row.
        key: Model column with the destination's key.
        columns: Destination column by model column, the key's included.
        option_columns: Model columns that hold labels of an option set.
        on_leave: What happens to a row that we created when it leaves the model.
    """

    name: str
    relation: str
    destination: str
    entity: str
    key: str
    columns: Mapping[str, str]
    option_columns: tuple[str, ...] = ()
    on_leave: OnLeave = "delete"

    @property
    def key_column(self) -> str:
        """The destination's name for the key."""
        return self.columns[self.key]

    @property
    def value_columns(self) -> dict[str, str]:
        """Destination column by model column without the key, ordered by destination column."""
        pairs = [(model, column) for model, column in self.columns.items() if model != self.key]
        return dict(sorted(pairs, key=lambda pair: pair[1]))


@dataclass(frozen=True)
class AudienceSpec:
    """A segment that is exported to a destination.

    Attributes:
        name: The audience's name, without `seg_`.
        relation: Schema and table of the shaped audience.
        destination: Name of the destination in the settings.
        channel: The contact points it is for: email, phone or postal.
        purpose: The purpose that consent is needed for.
        owner: Who answers for it.
        columns: The approved columns: nothing else leaves.
    """

    name: str
    relation: str
    destination: str
    channel: str
    purpose: str
    owner: str
    columns: tuple[str, ...]


def read_manifest(path: Path) -> Manifest:
    """Read dbt's manifest.

    Raises:
        KlantbeeldError: It is not there or cannot be read.
    """
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise KlantbeeldError(
            "the published version has no dbt manifest, so its syncs and audiences are not known",
            "Publish a version with `klantbeeld run`.",
        ) from None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise KlantbeeldError(f"{path} is not a dbt manifest", "Run `klantbeeld run` again.")
    return manifest


def list_syncs(manifest: Manifest) -> list[SyncSpec]:
    """Every sync that the dbt project declares, by name.

    Raises:
        KlantbeeldError: A declaration is wrong.
    """
    found = [
        _sync(name, node, meta["sync"])
        for name, node, meta in _models_with_meta(manifest)
        if "sync" in meta
    ]
    return sorted(found, key=lambda spec: spec.name)


def list_audiences(manifest: Manifest) -> list[AudienceSpec]:
    """Every audience that the dbt project declares, by name.

    Raises:
        KlantbeeldError: A declaration is wrong.
    """
    found = [
        _audience(name, meta)
        for name, _, meta in _models_with_meta(manifest)
        if name.startswith("seg_") and "destination" in meta
    ]
    return sorted(found, key=lambda spec: spec.name)


def find_sync(manifest: Manifest, name: str) -> SyncSpec:
    """One sync by its model's name, with or without `sync_`."""
    known = list_syncs(manifest)
    for spec in known:
        if name in (spec.name, spec.name.removeprefix("sync_")):
            return spec
    raise KlantbeeldError(
        f"there is no sync {name!r} in the published version",
        f"Known: {', '.join(spec.name for spec in known) or 'none'}.",
    )


def find_audience(manifest: Manifest, name: str) -> AudienceSpec:
    """One audience by name, with or without `seg_`."""
    known = list_audiences(manifest)
    for spec in known:
        if name.removeprefix("seg_") == spec.name:
            return spec
    raise KlantbeeldError(
        f"there is no audience {name!r} in the published version",
        f"Known: {', '.join(spec.name for spec in known) or 'none'}.",
    )


def _models_with_meta(manifest: Manifest) -> Iterator[tuple[str, Manifest, Manifest]]:
    for node in manifest.get("nodes", {}).values():
        if node.get("resource_type") != "model":
            continue
        meta = (node.get("config") or {}).get("meta") or node.get("meta") or {}
        if meta:
            yield node["name"], node, meta


def _sync(name: str, node: Manifest, meta: Any) -> SyncSpec:
    where = f"{name}: meta.sync"
    if not isinstance(meta, dict):
        raise KlantbeeldError(f"{where} must be a mapping", "See klantbeeld/activation/specs.py.")
    missing = [key for key in ("destination", "entity", "key", "columns") if not meta.get(key)]
    if missing:
        raise KlantbeeldError(f"{where} lacks {', '.join(missing)}")
    unknown = set(meta) - {
        "destination", "entity", "key", "columns", "option_columns", "on_leave",
    }  # fmt: skip
    if unknown:
        raise KlantbeeldError(f"{where} has unknown entries: {', '.join(sorted(unknown))}")
    columns = dict(meta["columns"])
    if meta["key"] not in columns:
        raise KlantbeeldError(
            f"{where}.columns does not map the key {meta['key']}",
            "Map it to the destination's key column.",
        )
    if len(set(columns.values())) < len(columns):
        raise KlantbeeldError(f"{where}.columns maps two columns to one destination column")
    options = tuple(meta.get("option_columns") or ())
    if not set(options) <= set(columns):
        raise KlantbeeldError(f"{where}.option_columns names a column that is not mapped")
    on_leave = meta.get("on_leave", "delete")
    if on_leave not in ("delete", "keep"):
        raise KlantbeeldError(f"{where}.on_leave must be delete or keep")
    return SyncSpec(
        name=name,
        relation=f"{node['schema']}.{node.get('alias') or name}",
        destination=meta["destination"],
        entity=meta["entity"],
        key=meta["key"],
        columns=columns,
        option_columns=options,
        on_leave=on_leave,
    )


def _audience(name: str, meta: Manifest) -> AudienceSpec:
    keys = ("owner", "purpose", "channel", "destination", "columns")
    missing = [key for key in keys if not meta.get(key)]
    if missing:
        raise KlantbeeldError(f"{name}: meta lacks {', '.join(missing)}")
    if meta["channel"] not in _CHANNELS:
        raise KlantbeeldError(f"{name}: meta.channel must be one of {', '.join(_CHANNELS)}")
    if meta["purpose"] not in _PURPOSES:
        raise KlantbeeldError(f"{name}: meta.purpose must be one of {', '.join(_PURPOSES)}")
    audience = name.removeprefix("seg_")
    return AudienceSpec(
        name=audience,
        relation=f"activation.audience_{audience}",
        destination=meta["destination"],
        channel=meta["channel"],
        purpose=meta["purpose"],
        owner=str(meta["owner"]),
        columns=tuple(meta["columns"]),
    )
