"""A hashed audience for an advertising platform: SHA-256 of what people can be recognised by.

    activation.audience_* -> normalised as the platform does, hashed, in order of the hash -> CSV

Platforms match hashes of values that both sides normalise alike, under headers of their own:

==========  ===================================  =====================  ===========================
platform    e-mail                               telephone              names and places
==========  ===================================  =====================  ===========================
generic     no white space, lower case           E.164                  none
google      the same; in gmail.com and           E.164                  lower case; all of first
            googlemail.com no dots before the @                         and last name, country and
                                                                        postal code, the last two
                                                                        not hashed
meta        as generic                           E.164 without the +    lower case, no punctuation
tiktok      as generic                           E.164                  none
==========  ===================================  =====================  ===========================

The hash is not keyed, since the platform must be able to make the same one: it is a pseudonym and
no anonymisation, which is why such an audience needs consent like any other. Nothing else goes
along, a profile id least of all: it would tie the hashes to a person for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from klantbeeld.activation.destinations.files import write_csv
from klantbeeld.activation.destinations.stores import PlaceSettings, open_store
from klantbeeld.activation.planning import quoted
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings

Platform = Literal["generic", "google", "meta", "tiktok"]

_PHONES = ("mobile_phone", "phone")
_ADDRESS = ("first_name", "last_name", "country_code", "postal_code")
# The header that a platform has for each of our columns.
_HEADERS: Mapping[Platform, Mapping[str, str]] = {
    "generic": {"email": "email_sha256", "phone": "phone_sha256"},
    "google": {
        "email": "Email",
        "phone": "Phone",
        "first_name": "First Name",
        "last_name": "Last Name",
        "country_code": "Country",
        "postal_code": "Zip",
    },
    "meta": {
        "email": "email",
        "phone": "phone",
        "first_name": "fn",
        "last_name": "ln",
        "postal_code": "zip",
        "city": "ct",
        "country_code": "country",
    },
    "tiktok": {"email": "Email_SHA256", "phone": "Phone_SHA256"},
}


class HashedAudienceSettings(PlaceSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["hashed_audience"]
    platform: Platform = "generic"


class HashedAudience:
    """One platform's place, as the destination of audiences."""

    settings_type = HashedAudienceSettings
    suffix = ".csv"

    def __init__(self, settings: Settings, spec: AudienceSpec) -> None:
        own = settings.destination(spec.destination, self.settings_type)
        self.store = open_store(settings, own)
        self._platform: Platform = own.platform

    def select(self, spec: AudienceSpec, types: Mapping[str, str]) -> tuple[list[str], str]:
        """Hashes of the approved columns; see `FileDestination.select`."""
        self._check(spec, types)
        headers = _HEADERS[self._platform]
        cells = {
            headers[column]: cell_sql(column, value, self._platform)
            for column, value in _values(spec.columns).items()
        }
        selected = ", ".join(f"{sql} as {quoted(name)}" for name, sql in cells.items())
        # A country and a postal code alone are nobody's.
        somebody = [
            quoted(name)
            for column, name in headers.items()
            if name in cells and column not in ("country_code", "postal_code", "city")
        ]
        return list(cells), (
            f"select * from (select distinct {selected} from audience)"
            f" where coalesce({', '.join(somebody)}) is not null order by all"
        )

    def _check(self, spec: AudienceSpec, types: Mapping[str, str]) -> None:
        hashable = {*_HEADERS[self._platform], *_PHONES}
        if "last_name" in hashable:
            hashable.add("infix")
        refused = [column for column in spec.columns if column not in hashable]
        if refused:
            raise KlantbeeldError(
                f"{spec.name}: {', '.join(refused)} may not go to an advertising platform",
                f"Only {', '.join(sorted(hashable))} can; correct meta.columns.",
            )
        missing = [column for column in spec.columns if column not in types]
        if missing:
            raise KlantbeeldError(f"{spec.relation} has no column {', '.join(missing)}")
        values = _values(spec.columns)
        if not {"email", "phone", "first_name", "last_name"} & set(values):
            raise KlantbeeldError(
                f"{spec.name}: nobody can be recognised by {', '.join(spec.columns)}",
                "Add email or phone to meta.columns.",
            )
        address = [column for column in _ADDRESS if column in values]
        if self._platform == "google" and 0 < len(address) < len(_ADDRESS):
            raise KlantbeeldError(
                f"{spec.name}: Google matches an address by {', '.join(_ADDRESS)} together",
                f"Of these there are only {', '.join(address)}; correct meta.columns.",
            )

    def write(self, reader: Any, path: Path) -> int:
        """Write a CSV file; see `FileDestination.write`."""
        return write_csv(reader, path, ",")


def _values(columns: tuple[str, ...]) -> dict[str, str]:
    """SQL of what is hashed, by column: telephones are one, a surname has its infix in front."""
    values = {}
    for column in columns:
        if column in _PHONES:
            chosen = [quoted(phone) for phone in _PHONES if phone in columns]
            values["phone"] = f"coalesce({', '.join(chosen)})"
        elif column == "last_name" and "infix" in columns:
            values[column] = (
                "case when last_name is not null then concat_ws(' ', infix, last_name) end"
            )
        elif column != "infix":
            values[column] = quoted(column)
    return values


def cell_sql(column: str, value: str, platform: Platform) -> str:
    """SQL for a column's cells: normalised as the platform does, and hashed where it wants that."""
    match column:
        case "email":
            plain = email_sql(value, platform)
        case "phone":
            plain = phone_sql(value, platform)
        case "first_name" | "last_name":
            plain = name_sql(value, platform)
        case _:
            plain = place_sql(column, value, platform)
    is_open = platform == "google" and column in ("country_code", "postal_code")
    return plain if is_open else f"sha256({plain})"


def email_sql(value: str, platform: Platform) -> str:
    """SQL for an e-mail address as the platform normalises it; null if it is none."""
    plain = rf"lower(regexp_replace({value}, '\s', '', 'g'))"
    if platform == "google":
        plain = (
            rf"case when regexp_matches({plain}, '@(gmail|googlemail)\.com$')"
            f" then replace(split_part({plain}, '@', 1), '.', '') || '@'"
            f" || split_part({plain}, '@', 2) else {plain} end"
        )
    return rf"case when regexp_full_match({plain}, '[^@]+@[^@]+\.[^@]+') then {plain} end"


def phone_sql(value: str, platform: Platform) -> str:
    """SQL for an E.164 number as the platform normalises it; null if it is none."""
    digits = f"regexp_replace({value}, '[^0-9]', '', 'g')"
    plain = digits if platform == "meta" else f"'+' || {digits}"
    return rf"case when regexp_full_match({value}, '\+[0-9 ]{{6,20}}') then {plain} end"


def name_sql(value: str, platform: Platform) -> str:
    """SQL for a name as the platform normalises it; null if nothing is left."""
    plain = f"lower({value})"
    if platform == "meta":
        plain = rf"regexp_replace({plain}, '[\p{{P}}\p{{S}}]', '', 'g')"
    return rf"nullif(trim(regexp_replace({plain}, '\s+', ' ', 'g')), '')"


def place_sql(column: str, value: str, platform: Platform) -> str:
    """SQL for a city, postal code or country as the platform normalises it."""
    if platform == "google":
        return f"nullif(upper(trim({value})), '')"
    kept = r"[^\p{L}]" if column == "city" else r"[^\p{L}\p{N}]"
    return f"nullif(regexp_replace(lower({value}), '{kept}', '', 'g'), '')"
