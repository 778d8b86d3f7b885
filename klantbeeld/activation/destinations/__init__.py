"""Where things are sent: one small interface for each of two kinds, and one file per destination.

A **record destination** takes rows one by one and answers for each (`RecordDestination`): it can
say what it holds (`describe`, `read`), encode a row in its own terms, write a batch, and tell
whether what was read back is what was sent. A **file destination** takes a whole audience as a
file (`FileDestination`). What is sent, when, and what is remembered of it is none of their
business.

Adding one: a file here with a settings class and a class with the methods below, and a line in
`RECORDS` or `FILES`; or, from a package of its own, an entry point of the group
`klantbeeld.destinations`. The destination's `kind` in the settings picks it.

    [destinations.crm] kind = "dataverse" -> dataverse.Dataverse
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import DestinationSettings, Settings

if TYPE_CHECKING:
    from klantbeeld.activation.destinations.stores import Store
    from klantbeeld.activation.ledger import Operation, Outcome
    from klantbeeld.activation.specs import AudienceSpec, SyncSpec
    from klantbeeld.http import Traffic

RECORDS = {
    "dataverse": "klantbeeld.activation.destinations.dataverse:Dataverse",
    "hubspot": "klantbeeld.activation.destinations.hubspot:HubSpot",
    "klaviyo": "klantbeeld.activation.destinations.klaviyo:Klaviyo",
    "postgres": "klantbeeld.activation.destinations.postgres:Postgres",
    "rest": "klantbeeld.activation.destinations.rest:Rest",
    "webhook": "klantbeeld.activation.destinations.webhook:Webhook",
}
FILES = {
    "files": "klantbeeld.activation.destinations.files:Files",
    "hashed_audience": "klantbeeld.activation.destinations.hashed_audience:HashedAudience",
}

# The group in which other packages name their kinds: `<kind> = "package.module:Class"`.
ENTRY_POINTS = "klantbeeld.destinations"

# SQL types of a model's columns, for saying what fits where.
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
NUMBERS = (*INTEGERS, "HUGEINT", "DECIMAL", "DOUBLE", "FLOAT")

# The outcome of an update whose row the destination does not have.
MISSING = "missing"
# The outcome of an operation with `must_be_new` whose row the destination has already.
EXISTS = "exists"


class RowRefused(KlantbeeldError):
    """A row cannot be put in the destination's terms; the message holds no value of it."""


class RecordDestination(Protocol):
    """A system that takes rows and answers for each.

    Attributes:
        settings_type: What its section in the settings must be.
        traffic: What was sent so far, for reports.
        largest_batch: Rows that `write` takes at once, at most.
        is_readable: Whether `read` can tell what is there; if not, it finds nothing.
        is_idempotent: Whether an operation that is sent twice takes effect once.
        wants_whole_rows: Whether an update needs all columns, and not those alone that changed.
    """

    settings_type: type[DestinationSettings]
    traffic: Traffic
    largest_batch: int
    is_readable: bool
    is_idempotent: bool
    wants_whole_rows: bool

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

        A create writes the row whether it is there or not; an update only if it is there
        (`MISSING` if not). Operations that the answer proves nothing about are left out.

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


@runtime_checkable
class InspectableDestination(Protocol):
    """A record destination whose rows can be listed, and compared value by value.

    What a sync needs that has columns which others may write too, and what `reconcile` needs.
    """

    def read_all(self, columns: Iterable[str]) -> Iterator[dict[str, dict[str, Any]]]:
        """Every row, in pages by key, with values in the form that `read` gives."""
        ...

    def comparable(self, values: Mapping[str, Any]) -> dict[str, str | None]:
        """Values as texts by the mapping's destination column, for comparing.

        Args:
            values: The body that `encode` made, or a row that `read` found. What was written and
                is still there gives the same text, however the destination spells or rounds it;
                nothing and empty are None where the destination does not tell them apart. Of a
                key alone it is the form in which keys are the same.
        """
        ...


@runtime_checkable
class LinkedDestination(Protocol):
    """A record destination whose keys may be rows of another entity of it: the CRM's contacts."""

    def targets(self) -> Iterator[dict[str, str | None]] | None:
        """Every row that a key can name, in pages; None if the keys of this sync name none.

        By its id: the id of the row that it was merged into, or None if it was not merged.
        """
        ...


def refuses_existing(destination: RecordDestination) -> bool:
    """Whether it answers `EXISTS` to an operation with `must_be_new`, and writes nothing then.

    Of a destination that cannot, the engine reads first which rows are there.
    """
    return bool(getattr(destination, "refuses_existing", False))


def require_fit(spec: SyncSpec, problems: Iterable[str], theirs: str) -> None:
    """Refuse a sync that does not fit what the system has, with all that does not.

    Args:
        spec: The sync.
        problems: What does not fit.
        theirs: What could be corrected in the system, such as `the CRM's columns`.

    Raises:
        KlantbeeldError: There are problems.
    """
    if told := "; ".join(problems):
        raise KlantbeeldError(
            f"{spec.name} does not fit {spec.entity}: {told}",
            f"Correct meta.sync of the model, or {theirs}; nothing was sent.",
        )


class FileDestination(Protocol):
    """A place where a whole audience is left as a file.

    Attributes:
        settings_type: What its section in the settings must be.
        store: The place.
        suffix: What the file's name ends in.
    """

    settings_type: type[DestinationSettings]
    store: Store
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
    make = _load(settings, spec.destination, RECORDS, "encode")
    return cast(RecordDestination, make(settings, spec))


def open_files(settings: Settings, spec: AudienceSpec) -> FileDestination:
    """The file destination of an audience.

    Raises:
        KlantbeeldError: It is not set, of another kind, or bound to another environment.
    """
    make = _load(settings, spec.destination, FILES, "select")
    return cast(FileDestination, make(settings, spec))


def check_settings(settings: Settings, name: str) -> None:
    """Check the section of a destination, whatever its kind, without opening it.

    Raises:
        KlantbeeldError: Its kind is not known, or a setting is missing or wrong.
    """
    values = settings.destinations[name]
    known = _known()
    kind = str(values.get("kind"))
    if kind not in known:
        raise KlantbeeldError(
            f"destinations.{name}.kind is {kind!r}", f"Known: {', '.join(sorted(known))}."
        )
    settings_type = getattr(_import(kind, known[kind]), "settings_type", None)
    if settings_type is not None:
        settings.destination(name, settings_type)


def _known() -> dict[str, str]:
    """`module:Class` by kind: other packages' entry points, and ours before them."""
    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return found | RECORDS | FILES


def _load(
    settings: Settings, name: str, built_in: Mapping[str, str], method: str
) -> Callable[..., Any]:
    """The class of a destination: one of ours, or else an entry point's.

    Args:
        settings: The home's settings.
        name: The destination's name in them.
        built_in: `module:Class` by kind.
        method: What tells a destination of this use from one of the other.
    """
    values = settings.destinations.get(name)
    if values is None:
        raise KlantbeeldError(
            f"destinations.{name} is not set",
            f"Add a section [destinations.{name}] with kind, environment and the rest.",
        )
    kind = str(values.get("kind"))
    known = _known()
    made = _import(kind, known[kind]) if kind in known else None
    if made is None or not hasattr(made, method):
        fit = sorted(set(built_in) | (set(known) - set(RECORDS) - set(FILES)))
        raise KlantbeeldError(
            f"destinations.{name}.kind is {kind!r}", f"Expected for this use: {', '.join(fit)}."
        )
    check_environment(settings, name, values.get("environment"))
    return made


def _import(kind: str, path: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    try:
        return cast(Callable[..., Any], getattr(import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise KlantbeeldError(
            f"the kind {kind!r} of destination cannot be loaded from {path}: {error}",
            "Install what it needs, or correct the package that brings it.",
        ) from None


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
