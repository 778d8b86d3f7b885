"""Model versions: folders in the home's `models/`, registered in the control plane.

Here: which version is current, writing a candidate, freezing values, promoting, removing what
nothing refers to any more. Not here: estimating a model (`fitting`), counting values (`frozen`).

A version is parameters and the values frozen with them, in one folder. The default's parameters
ship with the product and hold no personal values, so a home freezes its own beside them with its
first linkage: `default-1.1`. The dot counts how often values were frozen for the same parameters.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import linkage_models
from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import write_atomic
from klantbeeld.identity.frozen import PARAMETERS, Frozen, fingerprint, read_frozen, write_frozen
from klantbeeld.identity.model import (
    DEFAULT_VERSION,
    LinkageModel,
    default_digest,
    default_model,
    load_model,
)
from klantbeeld.identity.promotion import count_changes, write_changes
from klantbeeld.settings import Settings

# Of the versions that ran once; after a bad promotion somebody goes back one, not more.
KEPT_RETIRED: Final = 3
REMOVED: Final = "removed"


@dataclass(frozen=True)
class ModelVersion:
    """Parameters, and where the values frozen with them are.

    Attributes:
        model: The parameters; its `version` is the name of the whole.
        folder: None as long as nothing is frozen.
    """

    model: LinkageModel
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The version's name."""
        return self.model.version

    @property
    def fingerprint(self) -> str:
        """A digest of everything that the version holds."""
        return "" if self.folder is None else fingerprint(self.folder)

    def frozen(self) -> Frozen | None:
        """The frozen values; None if there are none yet."""
        return None if self.folder is None else read_frozen(self.folder)


@dataclass(frozen=True)
class ListedVersion:
    """A version as it is registered, for a person.

    Attributes:
        model_version: Its name.
        status: `candidate`, `current`, `retired`, or `removed` once its files are gone.
        trained_at: When it was made.
        promoted_at: When runs began to use it; None for a candidate.
        metrics: Counts and shares.
    """

    model_version: str
    status: str
    trained_at: datetime
    promoted_at: datetime | None
    metrics: Mapping[str, Any]


def current_version(settings: Settings, control: ControlPlane) -> ModelVersion:
    """The version that runs use: the promoted one, or the default that ships.

    The default's parameters are the product's: after an upgrade that brings others, the values that
    were frozen with the former ones are not used any more.
    """
    query = sa.select(linkage_models.c.model_version, linkage_models.c.path).where(
        linkage_models.c.status == "current"
    )
    with control.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return ModelVersion(default_model())
    name, path = str(row[0]), str(row[1])
    folder = settings.paths.models_dir / path
    # Read as JSON: parameters of other comparisons cannot be read as a model.
    was_shipped = family(name) == DEFAULT_VERSION
    if was_shipped and _adapted_from(folder / PARAMETERS) != default_digest():
        return ModelVersion(default_model())
    return ModelVersion(load_model(folder / PARAMETERS), folder)


def named_version(settings: Settings, control: ControlPlane, name: str) -> ModelVersion:
    """A version by its name, whatever its status.

    Raises:
        KlantbeeldError: There is no such version, or its files are not usable.
    """
    if name == DEFAULT_VERSION:
        return ModelVersion(default_model())
    query = sa.select(linkage_models.c.path, linkage_models.c.status).where(
        linkage_models.c.model_version == name
    )
    with control.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise KlantbeeldError(
            f"there is no linkage model {name}",
            "`klantbeeld identity models` lists those of this home.",
        )
    if row.status == REMOVED:
        raise _removed(name)
    folder = settings.paths.models_dir / row.path
    return ModelVersion(load_model(folder / PARAMETERS), folder)


def list_versions(control: ControlPlane) -> list[ListedVersion]:
    """The versions of the home, in the order in which they were made."""
    columns = linkage_models.c
    query = sa.select(
        columns.model_version,
        columns.status,
        columns.trained_at,
        columns.promoted_at,
        columns.metrics,
    ).order_by(columns.trained_at, columns.model_version)
    with control.read() as connection:
        return [ListedVersion(**row) for row in connection.execute(query).mappings()]


def family(name: str) -> str:
    """The name of a version's parameters, whatever values are frozen with them."""
    return name.split(".", 1)[0]


def unfitted(version: ModelVersion) -> ModelVersion:
    """The version before it was fitted to records: the default, if it came from there."""
    return ModelVersion(default_model()) if family(version.name) == DEFAULT_VERSION else version


def write_candidate(
    settings: Settings,
    control: ControlPlane,
    model: LinkageModel,
    frozen: Frozen,
    metrics: dict[str, Any],
    changes: pa.Table,
) -> ModelVersion:
    """Keep a fitted model and the values of its records as a candidate, under the next name.

    Args:
        settings: The home's settings.
        control: The control plane.
        model: The parameters.
        frozen: The values.
        metrics: Counts and shares, for a person.
        changes: What promoting it would change.
    """
    with control.begin() as connection:
        names = _names(connection)
        number = 1 + len({family(name) for name in names if name.startswith("model-")})
        return _write(
            settings,
            connection,
            model,
            frozen,
            f"model-{number:04d}",
            status="candidate",
            metrics=metrics,
            changes=changes,
        )


def write_frozen_version(
    settings: Settings,
    control: ControlPlane,
    version: ModelVersion,
    frozen: Frozen,
    metrics: dict[str, Any],
    changes: pa.Table | None = None,
) -> ModelVersion:
    """Keep values frozen anew for the parameters of a version.

    Args:
        settings: The home's settings.
        control: The control plane.
        version: The version whose parameters they go with.
        frozen: The values.
        metrics: Counts and shares, for a person.
        changes: What promoting it would change, if it waits to be promoted; otherwise runs use it
            from now on.
    """
    with control.begin() as connection:
        stem = f"{family(version.name)}."
        number = 1 + sum(name.startswith(stem) for name in _names(connection))
        if changes is None:
            _retire(connection)
        return _write(
            settings,
            connection,
            version.model,
            frozen,
            f"{stem}{number}",
            status="current" if changes is None else "candidate",
            metrics=metrics,
            changes=changes,
        )


def promote(settings: Settings, control: ControlPlane, model_version: str) -> None:
    """Make a version the current one; `default-1`, the one that ships, included.

    Raises:
        KlantbeeldError: There is no such version, or its files are not usable.
    """
    query = sa.select(linkage_models.c.path, linkage_models.c.status).where(
        linkage_models.c.model_version == model_version
    )
    with control.begin() as connection:
        row = connection.execute(query).one_or_none()
        path = None if row is None else row.path
        if row is not None and row.status == REMOVED:
            raise _removed(model_version)
        if path is None and model_version != DEFAULT_VERSION:
            raise KlantbeeldError(
                f"there is no linkage model {model_version}",
                f"Known: {', '.join([DEFAULT_VERSION, *_names(connection)])}.",
            )
        if path is not None:
            folder = settings.paths.models_dir / path
            load_model(folder / PARAMETERS)
            read_frozen(folder)
        _retire(connection)
        connection.execute(
            linkage_models.update()
            .where(linkage_models.c.model_version == model_version)
            .values(status="current", promoted_at=datetime.now(UTC))
        )
        control.audit(connection, "promote_model", model_version)


def list_old(control: ControlPlane) -> list[str]:
    """Versions that ran once, but for the newest ones, to which somebody may want to go back."""
    query = (
        sa.select(linkage_models.c.model_version)
        .where(linkage_models.c.status == "retired")
        .order_by(linkage_models.c.promoted_at.desc(), linkage_models.c.trained_at.desc())
        .offset(KEPT_RETIRED)
    )
    with control.read() as connection:
        return list(connection.scalars(query))


def remove_values(settings: Settings, control: ControlPlane, names: Iterable[str]) -> None:
    """Remove the files of versions; that they were there stays on record.

    Args:
        settings: The home's settings.
        control: The control plane.
        names: Versions that nothing refers to any more.
    """
    named = list(names)
    columns = linkage_models.c
    with control.begin() as connection:
        connection.execute(
            linkage_models.update()
            .where(columns.model_version.in_(named), columns.status == "retired")
            .values(status=REMOVED)
        )
        gone = sa.select(columns.path).where(columns.status == REMOVED)
        paths: list[str] = list(connection.scalars(gone))
    # The rows first: a folder that is left over by a kill goes the next time.
    for path in paths:
        shutil.rmtree(settings.paths.models_dir / path, ignore_errors=True)


def _removed(name: str) -> KlantbeeldError:
    return KlantbeeldError(
        f"the values of linkage model {name} are not kept any more",
        "`klantbeeld identity models` lists those that are; training makes another.",
    )


def _names(connection: sa.Connection) -> list[str]:
    query = sa.select(linkage_models.c.model_version).order_by(linkage_models.c.trained_at)
    return list(connection.scalars(query))


def _retire(connection: sa.Connection) -> None:
    connection.execute(
        linkage_models.update().where(linkage_models.c.status == "current").values(status="retired")
    )


def _write(
    settings: Settings,
    connection: sa.Connection,
    model: LinkageModel,
    frozen: Frozen,
    name: str,
    *,
    status: str,
    metrics: dict[str, Any],
    changes: pa.Table | None,
) -> ModelVersion:
    """The files first: a row without its files would stop every later run.

    Of candidates of one kind only the newest waits: each week would add one that nobody looks at.
    """
    folder = settings.paths.models_dir / name
    named = model.with_version(name)
    write_atomic(folder / PARAMETERS, named.to_json() + "\n")
    write_frozen(folder, frozen)
    if changes is not None:
        write_changes(folder, changes)
        metrics = {**metrics, **count_changes(changes)}
    if status == "candidate":
        kind = name.rpartition(".")[0]
        waiting = sa.select(linkage_models.c.model_version).where(
            linkage_models.c.status == "candidate"
        )
        names: list[str] = list(connection.scalars(waiting))
        superseded = [other for other in names if other.rpartition(".")[0] == kind]
        connection.execute(
            linkage_models.update()
            .where(linkage_models.c.model_version.in_(superseded))
            .values(status="retired")
        )
    connection.execute(
        linkage_models.insert().values(
            model_version=name,
            status=status,
            path=name,
            trained_at=datetime.now(UTC),
            metrics=metrics,
            promoted_at=datetime.now(UTC) if status == "current" else None,
        )
    )
    return ModelVersion(named, folder)


def _adapted_from(path: Path) -> str:
    """The digest of the shipped model that a version was made from; empty if it cannot be read."""
    try:
        return str(json.loads(path.read_text())["adapted_from"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
