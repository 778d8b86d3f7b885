"""Model versions: files in the home's `models/`, registered in the control plane.

Here: which model is current, writing a candidate, promoting one. Not here: estimating a model
(`fitting`).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import linkage_models
from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import write_atomic
from klantbeeld.identity.model import DEFAULT_VERSION, LinkageModel, default_model, load_model
from klantbeeld.settings import Settings


def current_model(settings: Settings, control: ControlPlane) -> LinkageModel:
    """The model that runs use: the promoted one, or the default that ships."""
    query = sa.select(linkage_models.c.path).where(linkage_models.c.status == "current")
    with control.read() as connection:
        path = connection.scalar(query)
    return default_model() if path is None else load_model(_model_path(settings, path))


def named_model(settings: Settings, control: ControlPlane, model_version: str) -> LinkageModel:
    """A model by its version, whatever its status.

    Raises:
        KlantbeeldError: There is no such model, or its file is not usable.
    """
    if model_version == DEFAULT_VERSION:
        return default_model()
    query = sa.select(linkage_models.c.path).where(linkage_models.c.model_version == model_version)
    with control.read() as connection:
        path = connection.scalar(query)
    if path is None:
        raise KlantbeeldError(
            f"there is no linkage model {model_version}",
            "`klantbeeld identity models` lists those of this home.",
        )
    return load_model(_model_path(settings, path))


def write_candidate(
    settings: Settings, control: ControlPlane, model: LinkageModel, metrics: dict[str, Any]
) -> LinkageModel:
    """Keep a fitted model as a candidate; it gets the next version's name."""
    now = datetime.now(UTC)
    with control.begin() as connection:
        number = connection.scalar(sa.select(sa.func.count()).select_from(linkage_models)) or 0
        version = f"model-{number + 1:04d}"
        named = model.with_version(version)
        # The file first: a row without its file would stop every later run.
        write_atomic(settings.paths.models_dir / f"{version}.json", named.to_json() + "\n")
        connection.execute(
            linkage_models.insert().values(
                model_version=version,
                status="candidate",
                path=f"{version}.json",
                trained_at=now,
                metrics=metrics,
            )
        )
    return named


def promote(settings: Settings, control: ControlPlane, model_version: str) -> None:
    """Make a model the current one; `default-1`, the one that ships, included.

    Raises:
        KlantbeeldError: There is no such model, or its file is not usable.
    """
    query = sa.select(linkage_models.c.path).where(linkage_models.c.model_version == model_version)
    with control.begin() as connection:
        path = connection.scalar(query)
        if path is None and model_version != DEFAULT_VERSION:
            known: list[str] = list(connection.scalars(sa.select(linkage_models.c.model_version)))
            raise KlantbeeldError(
                f"there is no linkage model {model_version}",
                f"Known: {', '.join([DEFAULT_VERSION, *known])}.",
            )
        if path is not None:
            load_model(_model_path(settings, path))
        connection.execute(
            linkage_models.update()
            .where(linkage_models.c.status == "current")
            .values(status="retired")
        )
        connection.execute(
            linkage_models.update()
            .where(linkage_models.c.model_version == model_version)
            .values(status="current", promoted_at=datetime.now(UTC))
        )
        control.audit(connection, "promote_model", model_version)


def _model_path(settings: Settings, path: str) -> Path:
    return settings.paths.models_dir / path
