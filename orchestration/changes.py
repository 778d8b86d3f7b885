"""Whether there is anything to build: what the version was built from, and what is there now.

Belongs here: the fingerprint of a build's inputs. Does not: what to do about a difference.

A build depends on the loaded rows, the business date, the dbt project, the linkage model and code,
and what people decided. Each is summed up in one short text; together they are the fingerprint,
stored in the same transaction that publishes a version. A run whose fingerprint is the published
one has nothing to build. A run killed anywhere leaves a fingerprint that differs, so the next one
builds.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from klantbeeld.clock import Clock
from klantbeeld.control import tables
from klantbeeld.control.store import ControlPlane
from klantbeeld.settings import Settings
from klantbeeld.transform.project import project_digest
from klantbeeld.warehouse import Warehouse

PUBLISHED_KEY = "published_fingerprint"
LINKAGE_MODEL = "linkage_model"
_LOADED_PREFIX = "loaded."
_LOADING_PREFIX = "loading."
_OPEN = "open:"
_FAILED = "failed:"
_REPOSITORY = Path(__file__).resolve().parent.parent

Fingerprint = Mapping[str, str]


@dataclass
class LoadMark:
    """What a load did to the build; None where a failure leaves it open."""

    changed: bool | None = True


@contextmanager
def marking_load(control: ControlPlane, source: str, run_id: str) -> Iterator[LoadMark]:
    """Note in the control plane that a source is being loaded, and afterwards whether it changed.

    The note is written first: a run killed between the load's commit and its report would otherwise
    leave rows in the build that no later run knows to be new. After a failure the note stays, and
    the next load that succeeds counts as a change; meanwhile a source that is down is no reason to
    build the same again every hour.
    """
    note, key = _LOADING_PREFIX + source, _LOADED_PREFIX + source
    before = control.value(note)
    _put(control, note, _OPEN + run_id)
    mark = LoadMark()
    yield mark
    was_killed = before is not None and before.startswith(_OPEN)
    is_settled = mark.changed is not None
    if mark.changed or was_killed or (before is not None and is_settled):
        _put(control, key, run_id)
    _put(control, note, None if is_settled else _FAILED + run_id)


def last_change(control: ControlPlane, source: str) -> str | None:
    """The run in which rows of a source last changed in the build; None before the first."""
    return control.value(_LOADED_PREFIX + source)


def current_fingerprint(settings: Settings, control: ControlPlane) -> dict[str, str]:
    """What a build of this moment depends on."""
    decided = (
        sa.select(sa.func.count(), sa.func.max(tables.steward_decisions.c.decided_at)),
        sa.select(sa.func.count(tables.steward_decisions.c.revoked_at)),
        sa.select(sa.func.count(), sa.func.max(tables.record_aliases.c.given_at)),
        sa.select(sa.func.count(), sa.func.max(tables.consent_events.c.received_at)),
        sa.select(sa.func.count(), sa.func.max(tables.tombstones.c.erased_at)),
    )
    with control.read() as connection:
        loaded = connection.execute(
            sa.select(tables.home.c.key, tables.home.c.value)
            .where(tables.home.c.key.startswith(_LOADED_PREFIX, autoescape=True))
            .order_by(tables.home.c.key)
        ).all()
        decisions = [str(tuple(connection.execute(query).one())) for query in decided]
        model = connection.scalar(
            sa.select(tables.linkage_models.c.model_version).where(
                tables.linkage_models.c.status == "current"
            )
        )
    rules = {
        "identity": settings.identity.model_dump(mode="json"),
        "time_zone": settings.time_zone,
        "default_country": settings.default_country,
    }
    return {
        **{str(key): str(value) for key, value in loaded},
        # The date and not the moment: models speak of days, and an hourly run on a wall clock would
        # otherwise never have nothing to do. The nightly run builds whatever this says.
        "business_date": Clock(settings).business_date().isoformat(),
        "dbt_project": project_digest(),
        LINKAGE_MODEL: str(model),
        "linkage_code": _digest_of(
            _REPOSITORY / "klantbeeld" / "identity", ("*.py", "*.json", "*.txt")
        ),
        "decisions": "; ".join(decisions),
        "settings": hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16],
    }


def differences(published: Fingerprint, now: Fingerprint) -> list[str]:
    """What differs, in words that may be shown."""
    keys = sorted(set(published) | set(now))
    return [key.removeprefix(_LOADED_PREFIX) for key in keys if published.get(key) != now.get(key)]


def needs_build(settings: Settings, control: ControlPlane, warehouse: Warehouse) -> list[str]:
    """Why a build is needed; empty when the current version is what a build would make."""
    version = warehouse.current()
    if version is None:
        return ["nothing is published yet"]
    if not version.path.exists():
        return ["the files of the current version are gone"]
    stored = control.value(PUBLISHED_KEY)
    published = json.loads(stored) if stored else {}
    if published.get("version_id") != version.version_id:
        return ["the current version is not what the last whole run published"]
    return differences(published["fingerprint"], current_fingerprint(settings, control))


def record_published(
    connection: sa.Connection, version_id: str, fingerprint: Fingerprint | None
) -> None:
    """Store what a version was built from, in the transaction that publishes it.

    Without a fingerprint (not every stage was part of the run) the next run builds again.
    """
    connection.execute(tables.home.delete().where(tables.home.c.key == PUBLISHED_KEY))
    if fingerprint is not None:
        value = json.dumps({"version_id": version_id, "fingerprint": dict(fingerprint)})
        connection.execute(tables.home.insert().values(key=PUBLISHED_KEY, value=value))


def _digest_of(folder: Path, patterns: tuple[str, ...]) -> str:
    files = sorted(path for pattern in patterns for path in folder.rglob(pattern))
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _put(control: ControlPlane, key: str, value: str | None) -> None:
    with control.begin() as connection:
        connection.execute(tables.home.delete().where(tables.home.c.key == key))
        if value is not None:
            connection.execute(tables.home.insert().values(key=key, value=value))
