"""Settings: one typed object, from the environment, one TOML file and one file of secrets.

Order, strongest first: arguments, environment variables `KLANTBEELD_*` (nesting by two underscores:
`KLANTBEELD_SOURCES__CRM__BASE_URL`), `<home>/secrets.toml` (0600), `<home>/klantbeeld.toml` (or the
file named by `KLANTBEELD_CONFIG`). A wrong setting is named, with what is expected.
"""

import os
import secrets
import stat
import tomllib
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from klantbeeld.countries import COUNTRY_CODES
from klantbeeld.errors import SettingsError
from klantbeeld.files import private_dir, write_atomic

ENV_PREFIX = "KLANTBEELD_"
CONFIG_NAME = "klantbeeld.toml"
SECRETS_NAME = "secrets.toml"
DEFAULT_HOME = Path(".klantbeeld")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(_Section):
    """What every source has; each source's own settings extend it."""

    enabled: bool = True


class DestinationSettings(_Section):
    """What every destination has; each kind of destination extends it."""

    kind: str
    environment: str | None = None
    enabled: bool = True


class DemoSettings(_Section):
    """The small world of `klantbeeld demo`."""

    persons: int = Field(3_000, ge=50, le=1_000_000)
    seed: int = 42
    dir: Path = Path(".klantbeeld-demo")
    crm_port: int = Field(8642, ge=1024, le=65535)
    newsletter_port: int = Field(8643, ge=1024, le=65535)


class WarehouseSettings(_Section):
    """Limits of the data plane's engine."""

    threads: int = Field(default_factory=lambda: max(1, min(os.cpu_count() or 1, 8)), ge=1)
    memory_limit: str = Field(
        "4GB",
        pattern=r"^\d+(\.\d+)?\s?(MB|GB|TB|MiB|GiB|TiB|%)$",
        description="a size such as 4GB",
    )
    kept_versions: int = Field(1, ge=1, description="older versions kept for roll-back")


class IdentitySettings(_Section):
    """The link stage."""

    join_probability: float = Field(
        0.7, gt=0, lt=1, description="two records of one person by a pair at least this probable"
    )
    kept_values: tuple[str, ...] = Field(
        (), description="digests from identity.suppressed_values that are matched on all the same"
    )
    truth_file: Path | None = None
    review_size: int = Field(
        50, ge=2, description="clusters of more records are held until a person decides"
    )
    review_probability: float = Field(
        0.9, ge=0.5, lt=1, description="up to this a pair alone does not join two groups of records"
    )
    review_pairs: int = Field(1_000, ge=0, description="uncertain pairs kept in the review queue")


class ActivationSettings(_Section):
    """The send stage."""

    batch_size: int = Field(200, ge=1, le=1_000, description="rows in one request")
    guard_rows: int = Field(50, ge=0, description="rows that never hold a sync")
    guard_percent: int = Field(1, ge=0, le=100, description="deletes above this share hold a sync")
    guard_create_percent: int = Field(100, ge=0, le=100, description="the same of creates")
    guard_update_percent: int = Field(100, ge=0, le=100, description="the same of updates")
    guard_emptied_percent: int = Field(
        50, ge=0, le=100, description="a column that loses more of its values holds a sync"
    )
    guard_days: int = Field(7, ge=1, description="days over which operations are added up")
    guard_baseline: int = Field(2_000_000, ge=0, description="rows that a first sync may make")
    approval_hours: int = Field(24, ge=1, description="how long a plan and an approval count")
    give_up_after: int = Field(
        0, ge=0, description="refusals after which an unchanged row is not tried again; 0: never"
    )
    quiet_seconds: float = Field(
        2.0, ge=0, description="how long a request without an answer may still take effect"
    )
    patience_seconds: float = Field(
        300, gt=0, description="how long a run goes on while nothing is accepted"
    )
    outbox_days: int = Field(30, ge=7, description="days that settled operations are kept")
    export_days: int = Field(30, ge=1, description="days after which an export file expires")
    export_shrink_percent: int = Field(
        50, ge=0, le=100, description="an audience that loses more than this at once is held"
    )


class Paths:
    """Where things are in a home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / CONFIG_NAME
        self.secrets = home / SECRETS_NAME
        self.home_key = home / "home.key"
        self.control_db = home / "control.db"
        self.lock_file = home / "run.lock"
        self.build_dir = home / "build"
        self.build_file = self.build_dir / "warehouse.duckdb"
        self.dlt_dir = self.build_dir / "dlt"
        self.versions_dir = home / "versions"
        self.landing_dir = home / "landing"
        self.exports_dir = home / "exports"
        self.models_dir = home / "models"
        self.reports_dir = home / "reports"
        self.dagster_dir = home / "dagster"
        self.dbt_dir = home / "dbt"
        self.dev_dir = home / "dev"


class Settings(BaseSettings):
    """All settings of one home."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    home: Path = DEFAULT_HOME
    environment: str = Field(
        "development",
        pattern=r"^[a-z][a-z0-9_-]*$",
        description="a name in small letters, such as production",
    )
    time_zone: str = "Europe/Amsterdam"
    default_country: str = "NL"
    as_of_file: Path | None = None
    allow_private_addresses: bool = False
    tls_ca_file: FilePath | None = Field(None, description="PEM file of your own authorities")
    config: Path | None = None
    failpoint: str | None = None
    warehouse_file: Path | None = None
    # They hold secrets as they were written: no log of the settings may show them.
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)
    destinations: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)
    demo: DemoSettings = DemoSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    identity: IdentitySettings = IdentitySettings()
    activation: ActivationSettings = ActivationSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, secrets file, settings file."""
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101 - narrows the type
        given = init_settings.init_kwargs
        home = Path(given.get("home") or os.environ.get(f"{ENV_PREFIX}HOME") or DEFAULT_HOME)
        config = given.get("config") or os.environ.get(f"{ENV_PREFIX}CONFIG")
        config_file = Path(config) if config else home / CONFIG_NAME
        if config and not config_file.exists():
            raise SettingsError(
                f"{ENV_PREFIX}CONFIG: {config_file} does not exist",
                "Name an existing TOML file, or unset it to use the one in the home.",
            )
        secrets_file = home / SECRETS_NAME
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _read_secrets(secrets_file)),
            InitSettingsSource(settings_cls, _read_toml(config_file)),
        )

    @field_validator("time_zone")
    @classmethod
    def _known_time_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("expected a time zone such as Europe/Amsterdam")
        return value

    @field_validator("default_country")
    @classmethod
    def _known_country(cls, value: str) -> str:
        if value not in COUNTRY_CODES:
            raise ValueError("expected a country's ISO code in capitals, such as NL or GB")
        return value

    @cached_property
    def paths(self) -> Paths:
        """Where things are in this home; absolute."""
        return Paths(self.home.absolute())

    def source_enabled(self, name: str) -> bool:
        """Whether a source is configured and not switched off."""
        return _is_enabled("sources", name, self.sources.get(name))

    def destination_enabled(self, name: str) -> bool:
        """Whether a destination is configured and not switched off."""
        return _is_enabled("destinations", name, self.destinations.get(name))

    def source(self, name: str, model: type["SourceT"]) -> "SourceT":
        """The settings of one source, in that source's own type."""
        return _section("sources", name, self.sources.get(name), model)

    def destination(self, name: str, model: type["DestinationT"]) -> "DestinationT":
        """The settings of one destination, in that destination's own type."""
        return _section("destinations", name, self.destinations.get(name), model)

    def home_key(self) -> bytes:
        """The home's secret for keyed hashes: 32 random bytes, made at first use, mode 0600."""
        path = self.paths.home_key
        if not path.exists():
            private_dir(path.parent)
            write_atomic(path, secrets.token_bytes(32))
        _require_private(path)
        key = path.read_bytes()
        if len(key) != 32:
            raise SettingsError(
                f"{path} does not hold 32 bytes", "Restore it from a backup of this home."
            )
        return key


SourceT = TypeVar("SourceT", bound=SourceSettings)
DestinationT = TypeVar("DestinationT", bound=DestinationSettings)
SectionT = TypeVar("SectionT", bound=BaseModel)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Args:
        **overrides: Values that win over every other place, such as `home=...`.

    Raises:
        SettingsError: A setting is unknown or wrong; all of them are named.
    """
    _require_known_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error, Settings)) from None
    except ValueError as error:  # pydantic-settings: JSON expected in an environment variable
        raise SettingsError(str(error)) from None


def _require_known_variables() -> None:
    # pydantic-settings names what is unknown within a section, and ignores an unknown section.
    known = {
        f"{ENV_PREFIX}{name.upper()}": is_section
        for name, field in Settings.model_fields.items()
        for is_section in [_is_section(field.annotation)]
    }
    unknown = [
        name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper().partition("__")[0] not in known
    ]
    if unknown:
        names = (f"{name}__…" if is_section else name for name, is_section in known.items())
        raise SettingsError(
            "\n".join(f"{name} is not a known setting" for name in sorted(unknown)),
            f"Correct or unset it; known are {', '.join(names)}.",
        )


def _is_section(annotation: Any) -> bool:
    return get_origin(annotation) is dict or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    )


class _Switch(BaseModel):
    enabled: bool = True


def _is_enabled(kind: str, name: str, values: dict[str, Any] | None) -> bool:
    # From the environment the value is text, and the text "false" would count as true.
    return values is not None and _section(kind, name, values, _Switch).enabled


def _section(
    kind: str, name: str, values: dict[str, Any] | None, model: type[SectionT]
) -> SectionT:
    if values is None:
        raise SettingsError(
            f"{kind}.{name} is not set",
            f"Add a section [{kind}.{name}] to {CONFIG_NAME}; "
            f"expected: {', '.join(model.model_fields)}.",
        )
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, model, f"{kind}.{name}.")) from None


def _explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = _place(model, problem["loc"])
        name = prefix + ".".join(place.path)
        variable = ENV_PREFIX + name.replace(".", "__").upper()
        file = SECRETS_NAME if SecretStr in _members(place.annotation) else CONFIG_NAME
        lines.append(f"{name}: {_wrong(problem, place)} ({variable}, or `{name}` in {file})")
    return "\n".join(lines)


class _Place(NamedTuple):
    """Where in the settings something is wrong.

    Attributes:
        path: What a person writes to get there.
        annotation: The type that is expected there; None where it is not known.
        expected: The same in words, if the model has them.
    """

    path: list[str]
    annotation: Any
    expected: str | None


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> _Place:
    """Find a place in a model: of a union, the location also has the tag of one of its members."""
    path: list[str] = []
    here: Any = model
    expected = None
    for part in location:
        members = _members(here)
        if len(members) > 1:
            here = next((member for member in members if _has_tag(member, part)), None)
            continue
        path.append(str(part))
        here, expected = _inside(members[0], part) if members else (None, None)
    return _Place(path, here, expected)


def _members(annotation: Any) -> list[Any]:
    """What a value of an annotation may be, but nothing at all."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for choice in get_args(annotation) for member in _members(choice)]
    return [] if annotation in (None, NoneType) else [annotation]


def _has_tag(member: Any, tag: int | str) -> bool:
    return getattr(member, "__name__", None) == tag or tag in _tags(member)


def _tags(member: Any) -> tuple[Any, ...]:
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return ()
    return tuple(
        value
        for field in member.model_fields.values()
        if get_origin(field.annotation) is Literal and field.is_required()
        for value in get_args(field.annotation)
    )


def _inside(annotation: Any, part: int | str) -> tuple[Any, str | None]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in (name, field.alias):
                return field.annotation, field.description
        return None, None
    inner = get_args(annotation)
    if get_origin(annotation) is dict:
        return inner[1], None
    return (inner[0], None) if get_origin(annotation) in (list, tuple) else (None, None)


def _wrong(problem: Any, place: _Place) -> str:
    """What is wrong, in words that need no knowledge of pydantic."""
    match problem["type"]:
        case "extra_forbidden":
            return "is not a known setting"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch" if place.expected:
            return f"expected {place.expected}"
        case "union_tag_not_found" | "union_tag_invalid":
            tags = [str(tag) for member in _members(place.annotation) for tag in _tags(member)]
            discriminator = problem["ctx"]["discriminator"].strip("'")
            return f"expected {discriminator} to be one of {', '.join(tags)}"
    return str(problem["msg"]).removeprefix("Value error, ")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_secrets(path: Path) -> dict[str, Any]:
    try:
        if path.exists():
            _require_private(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return _read_toml(path)


def _unreadable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{path} cannot be read: {error.strerror}",
        "The home and the files in it must be readable for you.",
    )


def _require_private(path: Path) -> None:
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{path} can be read by others", f"Run: chmod 600 {path}")
