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
        columns:                            # where each goes; what is not here is not touched
          contact_id: cdp_contactid
          full_name: cdp_fullname
          city: {column: cdp_city, owner: fill_empty, when_null: keep}
        option_columns: [lifecycle_stage]   # labels that must become option codes
        mode: mirror                        # upsert, update_only, create_only, mirror or append
        on_leave: delete                    # nothing, clear, delete or remove, when a row leaves

What may be given besides, and what each word means, is in the docstrings of the types below.

An audience (`models/segments/seg_<audience>.sql`)::

    meta: {owner: …, purpose: commercial, channel: email, destination: newsletter, columns: [email]}

is a file, or with a `sync` among these a sync of its members, row by row: see `_audience_sync`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from klantbeeld.errors import KlantbeeldError

Manifest = Mapping[str, Any]
Mode = Literal["upsert", "update_only", "create_only", "mirror", "append"]
OnLeave = Literal["nothing", "clear", "delete", "remove"]
Owner = Literal["ours", "theirs", "fill_empty", "newest"]
WhenNull = Literal["clear", "keep"]
WhenEmpty = Literal["write", "clear", "keep"]

# Columns that show a contact point in its standard form, and the channel it belongs to.
CONTACT_COLUMNS = {"email": "email", "phone": "phone", "mobile_phone": "phone"}

_CHANNELS = ("email", "phone", "postal")
_PURPOSES = ("commercial", "transactional")
_OPERATIONS = ("creates", "updates", "deletes")


@dataclass(frozen=True)
class ColumnRule:
    """How one column is written.

    Attributes:
        owner: Whose the value is. `ours`: always as the model says. `theirs`: written when the row
            is made, never again. `fill_empty`: written where nothing is there, and kept up to date
            as long as nobody else changed it. `newest`: if both sides changed it since we last
            wrote it, the later change wins (needs `updated_at` and `modified_at`).
        when_null: What a null does: `clear` empties the field, `keep` leaves what is there.
        when_empty: What an empty text does: `write` writes it, `clear` and `keep` as for a null.
    """

    owner: Owner = "ours"
    when_null: WhenNull = "clear"
    when_empty: WhenEmpty = "write"

    @property
    def may_be_absent(self) -> bool:
        """Whether a row may have no say about this column."""
        return "keep" in (self.when_null, self.when_empty)


@dataclass(frozen=True)
class PrivacyRule:
    """Which rows leave first, whatever the guards say, when somebody withdraws or is erased.

    Attributes:
        contact_points: Channel (email or phone) by the model column that shows the contact point.
        purpose: A withdrawal for this purpose takes the row away; None: erasure alone does.
        record: Source and entity of the record that the key is of, such as `crm:contact`: rows of
            erased records are taken away.
    """

    contact_points: Mapping[str, str]
    purpose: str | None = None
    record: str | None = None


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
        mode: `upsert`: rows are made or updated. `update_only`: only rows that are there.
            `create_only`: only rows that are not; nothing is changed afterwards. `mirror`: as
            upsert, and rows that we made leave with the model. `append`: each row is sent once.
        on_leave: What happens at the destination when a row leaves the model.
        rules: How columns are written, by destination column; see `rule`.
        updated_at: Model column with the time of the row's last change, for `newest`.
        modified_at: The destination's column with the same, for `newest`.
        is_exclusive: All rows of the entity are this sync's: what is there and not in the model has
            lost its entry in the ledger, and is treated as ours.
        limits: Rows and percentage by operation, where they are not those of the settings.
        baseline: Rows that a first sync may make; None: as in the settings.
        give_up_after: Refusals after which a row whose data does not change is not tried again;
            None: as in the settings.
        privacy: Which rows leave when somebody withdraws or is erased.
        is_key_personal: The key is personal data: shown as a keyed hash only.
        is_audience: Its rows are the members of an audience, who come and go: as many may leave at
            once as may leave an audience's file.
    """

    name: str
    relation: str
    destination: str
    entity: str
    key: str
    columns: Mapping[str, str]
    option_columns: tuple[str, ...] = ()
    mode: Mode = "upsert"
    on_leave: OnLeave = "nothing"
    rules: Mapping[str, ColumnRule] = field(default_factory=dict)
    updated_at: str | None = None
    modified_at: str | None = None
    is_exclusive: bool = False
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    baseline: int | None = None
    give_up_after: int | None = None
    privacy: PrivacyRule | None = None
    is_key_personal: bool = False
    is_audience: bool = False

    @property
    def key_column(self) -> str:
        """The destination's name for the key."""
        return self.columns[self.key]

    @property
    def value_columns(self) -> dict[str, str]:
        """Destination column by model column without the key, ordered by destination column."""
        pairs = [(model, column) for model, column in self.columns.items() if model != self.key]
        return dict(sorted(pairs, key=lambda pair: pair[1]))

    def rule(self, column: str) -> ColumnRule:
        """How a destination column is written."""
        return self.rules.get(column, _PLAIN)

    @property
    def owned_columns(self) -> tuple[str, ...]:
        """Destination columns that are ours alone."""
        return tuple(c for c in self.value_columns.values() if self.rule(c).owner == "ours")

    @property
    def on_withdrawal(self) -> OnLeave:
        """What happens to a row whose person withdrew or was erased; in no case nothing."""
        return "delete" if self.on_leave == "nothing" else self.on_leave

    @property
    def deletes_rows(self) -> bool:
        """Whether rows may have to be deleted there, for whatever reason."""
        return "delete" in (self.on_leave, self.on_withdrawal if self.privacy else None)

    @property
    def reads_first(self) -> bool:
        """Whether what is there has to be known before a row is written."""
        return len(self.owned_columns) < len(self.value_columns)


_PLAIN = ColumnRule()


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
        _audience_sync(name, meta) if _is_audience(name) else _sync(name, node, meta["sync"])
        for name, node, meta in _models_with_meta(manifest)
        if "sync" in meta
    ]
    return sorted(found, key=lambda spec: spec.name)


def list_audiences(manifest: Manifest) -> list[AudienceSpec]:
    """Every audience that the dbt project declares as a file, by name.

    Raises:
        KlantbeeldError: A declaration is wrong.
    """
    found = [
        _audience(name, meta)
        for name, _, meta in _models_with_meta(manifest)
        if _is_audience(name) and "destination" in meta and "sync" not in meta
    ]
    return sorted(found, key=lambda spec: spec.name)


def sent_names(manifest: Manifest) -> set[str]:
    """The names under which runs are kept of all that is sent: `sync_...` and `audience_...`."""
    files = {f"audience_{spec.name}" for spec in list_audiences(manifest)}
    return files | {spec.name for spec in list_syncs(manifest)}


def find_sync(manifest: Manifest, name: str) -> SyncSpec:
    """One sync by its model's name with or without `sync_`, or by its audience's."""
    known = list_syncs(manifest)
    for spec in known:
        short = spec.name.removeprefix("audience_" if spec.is_audience else "sync_")
        if name in (spec.name, short):
            return spec
    names = ", ".join(sorted(sent_names(manifest)))
    raise KlantbeeldError(
        f"there is no sync or audience {name!r} in the published version",
        f"Known: {names or 'none'}. One that is new is known when a run has published it.",
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


def _is_audience(name: str) -> bool:
    return name.startswith("seg_")


def _models_with_meta(manifest: Manifest) -> Iterator[tuple[str, Manifest, Manifest]]:
    for node in manifest.get("nodes", {}).values():
        if node.get("resource_type") != "model":
            continue
        meta = (node.get("config") or {}).get("meta") or node.get("meta") or {}
        if meta:
            yield node["name"], node, meta


class _Declaration:
    """`meta.sync` of one model; every complaint names the model and the entry."""

    def __init__(self, name: str, values: Any, path: str = "meta.sync") -> None:
        self._where = f"{name}: {path}"
        self._name, self._path = name, path
        if not isinstance(values, dict):
            raise KlantbeeldError(f"{self._where} must be a mapping", _SEE)
        self._values = values

    def allow(self, *names: str) -> None:
        """Refuse entries of other names, which would be mistakes in spelling."""
        unknown = sorted(set(map(str, self._values)) - set(names))
        if unknown:
            raise KlantbeeldError(
                f"{self._where} has unknown entries: {', '.join(unknown)}",
                f"Known: {', '.join(names)}.",
            )

    def require(self, *names: str) -> None:
        """Refuse a declaration without these."""
        missing = [name for name in names if not self._values.get(name)]
        if missing:
            raise KlantbeeldError(f"{self._where} lacks {', '.join(missing)}", _SEE)

    def get(self, name: str) -> Any:
        """An entry as it is, or None."""
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        """An entry that is a text."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise KlantbeeldError(f"{self._where}.{name} must be a text, not {value!r}")
        return value

    def choice(self, name: str, choices: object, default: str) -> Any:
        """An entry that is one of some words."""
        value = self._values.get(name, default)
        known = get_args(choices)
        if value not in known:
            raise KlantbeeldError(
                f"{self._where}.{name} is {value!r}", f"One of: {', '.join(known)}."
            )
        return value

    def whole(self, name: str) -> int | None:
        """An entry that is a whole number, not negative."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise KlantbeeldError(
            f"{self._where}.{name} is {value!r}", "A whole number, 0 or more, is expected."
        )

    def flag(self, name: str) -> bool:
        """An entry that is true or false."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise KlantbeeldError(f"{self._where}.{name} must be true or false")
        return value

    def inner(self, name: str) -> _Declaration | None:
        """An entry that is a declaration itself."""
        if self._values.get(name) is None:
            return None
        return _Declaration(self._name, self._values[name], f"{self._path}.{name}")

    def refuse(self, name: str, problem: str, hint: str | None = None) -> KlantbeeldError:
        """The error for an entry."""
        return KlantbeeldError(f"{self._where}.{name} {problem}", hint)


_SEE = "See docs/destinations.md, or another sync of this project."


def _sync(name: str, node: Manifest, meta: Any) -> SyncSpec:
    given = _Declaration(name, meta)
    given.require("destination", "entity", "key", "columns")
    given.allow(
        "destination", "entity", "key", "columns", "option_columns", "mode", "on_leave",
        "updated_at", "modified_at", "exclusive", "limits", "give_up_after", "privacy",
    )  # fmt: skip
    columns, rules = _columns(name, given)
    key = str(given.get("key"))
    if key not in columns:
        raise given.refuse(
            "columns", f"does not map the key {key}", "Map it to the destination's key column."
        )
    if len(set(columns.values())) < len(columns):
        raise given.refuse("columns", "maps two columns to one destination column")
    if columns[key] in rules:
        raise given.refuse("columns", f"gives rules for the key {key}, which is always written")
    options = tuple(given.get("option_columns") or ())
    if not set(options) <= set(columns):
        raise given.refuse("option_columns", "names a column that is not mapped")
    mode: Mode = given.choice("mode", Mode, "upsert")
    on_leave: OnLeave = given.choice(
        "on_leave", OnLeave, "delete" if mode == "mirror" else "nothing"
    )
    if mode == "mirror" and on_leave == "nothing":
        raise given.refuse("on_leave", "is nothing while mode is mirror", "Use mode: upsert.")
    if mode in ("create_only", "append") and on_leave == "clear":
        raise given.refuse("on_leave", f"is clear while mode is {mode}, which changes no row")
    updated_at, modified_at = given.text("updated_at"), given.text("modified_at")
    newest = sorted(column for column, rule in rules.items() if rule.owner == "newest")
    if newest and not (updated_at and modified_at):
        raise given.refuse(
            "columns",
            f"says owner: newest of {', '.join(newest)}, without updated_at and modified_at",
            "Name the model's column and the destination's column with the time of a change.",
        )
    limits, baseline = _limits(given)
    return SyncSpec(
        name=name,
        relation=f"{node['schema']}.{node.get('alias') or name}",
        destination=str(given.text("destination")),
        entity=str(given.text("entity")),
        key=key,
        columns=columns,
        option_columns=options,
        mode=mode,
        on_leave=on_leave,
        rules=rules,
        updated_at=updated_at,
        modified_at=modified_at,
        is_exclusive=given.flag("exclusive"),
        limits=limits,
        baseline=baseline,
        give_up_after=given.whole("give_up_after"),
        privacy=_privacy(given),
        is_key_personal=_is_personal(node, key),
    )


def _columns(name: str, given: _Declaration) -> tuple[dict[str, str], dict[str, ColumnRule]]:
    if not isinstance(given.get("columns"), dict):
        raise given.refuse("columns", "must be a mapping", _SEE)
    columns: dict[str, str] = {}
    rules: dict[str, ColumnRule] = {}
    for model, target in given.get("columns").items():
        if isinstance(target, str):
            columns[str(model)] = target
            continue
        one = _Declaration(name, target, f"meta.sync.columns.{model}")
        one.require("column")
        one.allow("column", "owner", "when_null", "when_empty")
        column = columns[str(model)] = str(one.text("column"))
        rule = ColumnRule(
            owner=one.choice("owner", Owner, "ours"),
            when_null=one.choice("when_null", WhenNull, "clear"),
            when_empty=one.choice("when_empty", WhenEmpty, "write"),
        )
        if rule != _PLAIN:
            rules[column] = rule
    return columns, rules


def _limits(given: _Declaration) -> tuple[dict[str, tuple[int, int]], int | None]:
    declared = given.inner("limits")
    if declared is None:
        return {}, None
    declared.allow(*_OPERATIONS, "baseline")
    limits = {}
    for operation in _OPERATIONS:
        limit = declared.inner(operation)
        if limit is None:
            continue
        limit.allow("rows", "percent")
        rows, percent = limit.whole("rows"), limit.whole("percent")
        if rows is None or percent is None or percent > 100:
            raise declared.refuse(operation, "needs rows, and percent of 0 to 100")
        limits[operation] = (rows, percent)
    return limits, declared.whole("baseline")


def _privacy(given: _Declaration) -> PrivacyRule | None:
    declared = given.inner("privacy")
    if declared is None:
        return None
    declared.allow("contact_points", "purpose", "record")
    points = declared.get("contact_points") or {}
    if not isinstance(points, dict) or not set(points.values()) <= {"email", "phone"}:
        raise declared.refuse("contact_points", "must give email or phone by model column")
    purpose = declared.text("purpose")
    if purpose is not None and purpose not in _PURPOSES:
        raise declared.refuse("purpose", f"must be one of {', '.join(_PURPOSES)}")
    return PrivacyRule(
        {str(c): str(v) for c, v in points.items()}, purpose, declared.text("record")
    )


def _is_personal(node: Manifest, column: str) -> bool:
    about = (node.get("columns") or {}).get(column) or {}
    meta = (about.get("config") or {}).get("meta") or about.get("meta") or {}
    return bool(meta.get("pii"))


def _audience_sync(name: str, meta: Manifest) -> SyncSpec:
    """An audience whose members are written row by row: `meta.sync`, with what its `meta` says.

    `sync` gives what a sync's does, less the destination and the privacy rule, which are the
    audience's; the key is the column of its channel if it names no other::

        sync: {entity: lists/L1, columns: {email: email, first_name: first_name}}

    Who is no member any more is removed from the list, unless `on_leave` says otherwise; `nothing`
    it cannot be, since who withdraws has to leave.
    """
    audience = _audience(name, meta)
    given = _Declaration(name, meta["sync"])
    if audience.channel == "postal":
        raise KlantbeeldError(
            f"{name}: an audience for the post goes to a destination of files",
            "Leave meta.sync out, or choose the channel email or phone.",
        )
    for entry in ("destination", "privacy"):
        if given.get(entry) is not None:
            raise given.refuse(entry, "is said by the audience itself", "Leave it out.")
    columns = given.get("columns")
    strangers = sorted(set(columns) - set(audience.columns)) if isinstance(columns, dict) else []
    if strangers:
        raise given.refuse("columns", f"names {', '.join(strangers)}, not among meta.columns")
    shown = {
        column: CONTACT_COLUMNS[column] for column in audience.columns if column in CONTACT_COLUMNS
    }
    spec = _sync(
        name,
        {"schema": "activation", "alias": f"audience_{audience.name}"},
        {
            "key": audience.channel,
            "on_leave": "remove",
            **meta["sync"],
            "destination": audience.destination,
            "privacy": {"contact_points": shown, "purpose": audience.purpose},
        },
    )
    if spec.on_leave == "nothing":
        raise given.refuse(
            "on_leave",
            "is nothing, and who withdraws has to leave",
            "Use remove where the destination has lists, or else clear or delete.",
        )
    named = f"audience_{audience.name}"
    return replace(spec, name=named, is_key_personal=True, is_audience=True)


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
