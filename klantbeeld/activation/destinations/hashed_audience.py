"""A hashed audience for an advertising platform: SHA-256 of e-mail and telephone, and nothing else.

activation.audience_* -> normalised, hashed, in order of the hash ->
<audience>_<date>_<digest>.csv

Platforms match hashes of values that both sides normalise alike:

=========  ==================================================  =============================
platform   e-mail                                              telephone
=========  ==================================================  =============================
generic    no white space, lower case                          E.164 with its plus sign
google     the same; in gmail.com and googlemail.com also no   E.164 with its plus sign
           dots before the @
meta       no white space, lower case                          E.164 digits without the plus
=========  ==================================================  =============================

The hash is not keyed, since the platform must be able to make the same one: it is a pseudonym and
no anonymisation, which is why such an audience needs consent like any other. No other column goes
along: a name or a profile id would tie the hashes to a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from klantbeeld.activation.destinations.csv_drop import write_csv
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import DestinationSettings, Settings

Platform = Literal["generic", "google", "meta"]

_PHONES = ("mobile_phone", "phone")
_HASHABLE = ("email", *_PHONES)


class HashedAudienceSettings(DestinationSettings):
    """A `[destinations.<name>]` section of this kind."""

    kind: Literal["hashed_audience"]
    folder: Path
    platform: Platform = "generic"


class HashedAudience:
    """One platform's folder, as the destination of audiences."""

    suffix = ".csv"

    def __init__(self, settings: Settings, spec: AudienceSpec) -> None:
        own = settings.destination(spec.destination, HashedAudienceSettings)
        self.folder = own.folder
        self._platform: Platform = own.platform

    def select(self, spec: AudienceSpec, types: Mapping[str, str]) -> tuple[list[str], str]:
        """Hashes of the approved columns; see `FileDestination.select`."""
        refused = [column for column in spec.columns if column not in _HASHABLE]
        if refused:
            raise KlantbeeldError(
                f"{spec.name}: {', '.join(refused)} may not go to an advertising platform",
                f"Only {', '.join(_HASHABLE)} can be hashed; correct meta.columns.",
            )
        missing = [column for column in spec.columns if column not in types]
        if missing:
            raise KlantbeeldError(f"{spec.relation} has no column {', '.join(missing)}")
        cells = {}
        if "email" in spec.columns:
            cells["email_sha256"] = f"sha256({email_sql('email', self._platform)})"
        phones = [column for column in _PHONES if column in spec.columns]
        if phones:
            phone = f"coalesce({', '.join(phones)})"
            cells["phone_sha256"] = f"sha256({phone_sql(phone, self._platform)})"
        selected = ", ".join(f"{sql} as {name}" for name, sql in cells.items())
        some = " or ".join(f"{name} is not null" for name in cells)
        return list(cells), (
            f"select * from (select distinct {selected} from audience) where {some} order by all"
        )

    def write(self, reader: Any, path: Path) -> int:
        """Write a CSV file; see `FileDestination.write`."""
        return write_csv(reader, path, ",")


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
