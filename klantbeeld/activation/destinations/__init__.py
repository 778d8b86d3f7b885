"""Where things are sent: one small interface for each of two kinds, and one file per destination.

A **record destination** takes rows one by one and answers for each (`RecordDestination`): it can
say what it holds (`describe`, `read`), encode a row in its own terms, write a batch, and tell
whether what was read back is what was sent. A **file destination** takes a whole audience as a
file (`FileDestination`). What is sent, when, and what is remembered of it is none of their
business.

Adding one: a file here with a settings class and a class with the methods below, and a line in
`RECORDS` or `FILES`. The destination's `kind` in the settings picks it.

    [destinations.crm] kind = "dataverse" -> dataverse.Dataverse
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings

if TYPE_CHECKING:
    from klantbeeld.activation.ledger import Operation, Outcome
    from klantbeeld.activation.specs import AudienceSpec, SyncSpec
    from klantbeeld.http import Traffic

RECORDS = {"dataverse": "klantbeeld.activation.destinations.dataverse:Dataverse"}
FILES = {
    "csv_drop": "klantbeeld.activation.destinations.csv_drop:CsvDrop",
    "hashed_audience": "klantbeeld.activation.destinations.hashed_audience:HashedAudience",
}

# The outcome of an update whose row the destination does not have.
MISSING = "missing"


class RowRefused(KlantbeeldError):
    """A row cannot be put in the destination's terms; the message holds no value of it."""


class RecordDestination(Protocol):
    """A system that takes rows and answers for each."""

    traffic: Traffic

    def check(self, types: Mapping[str, str]) -> None:
        """Compare the sync with what the system has, before anything is written.

        Args:
            types: SQL type by model column.

        Raises:
            KlantbeeldError: Entity, column, type or key do not fit.
        """
        ...

    def encode(self, key: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a create or update.

        Raises:
            RowRefused: A value cannot be encoded, such as a label that is no option.
        """
        ...

    def write(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Send operations and say what became of each, by operation id.

        Operations that the answer proves nothing about are left out. `MISSING` is the outcome of an
        update whose row is not there.

        Raises:
            HttpError: No usable answer came for the request as a whole.
        """
        ...

    def read(self, keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the system holds now, by key; keys that it does not hold are left out."""
        ...

    def holds(self, operation: Operation, found: Mapping[str, Any] | None) -> bool:
        """Whether what was read back proves that an operation took effect."""
        ...


class FileDestination(Protocol):
    """A place where a whole audience is left as a file."""

    folder: Any
    suffix: str

    def select(self, spec: AudienceSpec, types: Mapping[str, str]) -> tuple[list[str], str]:
        """The columns of the file, and the SQL that makes them from the relation `audience`.

        Raises:
            KlantbeeldError: A column may not go there or does not fit.
        """
        ...

    def write(self, reader: Any, path: Any) -> int:
        """Write record batches of texts to a file; returns the number of rows."""
        ...


def is_switched_off(settings: Settings, name: str) -> bool:
    """Whether a destination is set, and set to be left alone."""
    return name in settings.destinations and not settings.destination_enabled(name)


def open_records(settings: Settings, spec: SyncSpec) -> RecordDestination:
    """The record destination of a sync.

    Raises:
        KlantbeeldError: It is not set, of another kind, or bound to another environment.
    """
    make = _load(settings, spec.destination, RECORDS)
    return cast(RecordDestination, make(settings, spec))


def open_files(settings: Settings, spec: AudienceSpec) -> FileDestination:
    """The file destination of an audience.

    Raises:
        KlantbeeldError: It is not set, of another kind, or bound to another environment.
    """
    make = _load(settings, spec.destination, FILES)
    return cast(FileDestination, make(settings, spec))


def _load(settings: Settings, name: str, known: Mapping[str, str]) -> Callable[..., Any]:
    values = settings.destinations.get(name)
    if values is None:
        raise KlantbeeldError(
            f"destinations.{name} is not set",
            f"Add a section [destinations.{name}] with kind, environment and the rest.",
        )
    kind = str(values.get("kind"))
    if kind not in known:
        raise KlantbeeldError(
            f"destinations.{name}.kind is {kind!r}",
            f"Expected for this use: {', '.join(sorted(known))}.",
        )
    check_environment(settings, name, values.get("environment"))
    module, _, attribute = known[kind].partition(":")
    return cast(Callable[..., Any], getattr(import_module(module), attribute))


def check_environment(settings: Settings, name: str, environment: object) -> None:
    """Refuse a destination of another environment: a copied home must not write to production.

    Raises:
        KlantbeeldError: The destination is not bound to this home's environment.
    """
    if environment == settings.environment:
        return
    bound = f"belongs to environment {environment!r}" if environment else "names no environment"
    raise KlantbeeldError(
        f"destinations.{name} {bound}, this home is {settings.environment!r}: nothing was sent",
        f'Set destinations.{name}.environment = "{settings.environment}" if it may be written.',
    )
