"""What an id that a person types stands for, by what was last published.

Here: from a profile id, of today or of long ago, or a record id to records and profiles; a few at a
time. Not here: membership in bulk (`profile_ids`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import former_profile_records, profile_ids, profile_records
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import typed_record_id

_CHUNK: Final = 500


@dataclass(frozen=True)
class Profile:
    """A profile as it was last published.

    Attributes:
        profile_id: Its id.
        number: The smaller, the older.
        records: Its record ids, sorted.
    """

    profile_id: str
    number: int
    records: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Attributes:
        name: As it was typed; an e-mail address as its keyed hash.
        profile: The profile it names or, for a record, the one that it is in; none for a record
            that was never published.
        is_profile: Whether a profile was named, and so all of its records.
    """

    name: str
    profile: Profile | None
    is_profile: bool

    @property
    def records(self) -> tuple[str, ...]:
        """The records that are meant."""
        return self.profile.records if self.is_profile and self.profile else (self.name,)


def find(control: ControlPlane, typed: str, home_key: bytes) -> Named:
    """Look a profile id or a record id up.

    Args:
        control: The control plane; it is only read.
        typed: The id; an e-mail address in it stands for its keyed hash.
        home_key: The home's secret.

    Raises:
        KlantbeeldError: It is neither, or the profile has no records left.
    """
    name = typed_record_id(typed, home_key)
    with control.read() as connection:
        row = _id_row(connection, name.upper())
        if row is None:
            return Named(name, _profile_of_record(connection, name), is_profile=False)
        seen = {name.upper()}
        while row is not None and row.status != "active" and row.resolves_to not in {None, *seen}:
            seen.add(row.resolves_to)
            row = _id_row(connection, row.resolves_to)
        if row is None or row.status != "active":
            raise KlantbeeldError(f"profile {name} has no records any more")
        return Named(name, _profile(connection, row), is_profile=True)


def unpublished(control: ControlPlane, records: Iterable[str]) -> list[str]:
    """Those of some records that the last published version did not hold, sorted."""
    wanted = sorted(set(records))
    found: set[str] = set()
    with control.read() as connection:
        for start in range(0, len(wanted), _CHUNK):
            some = wanted[start : start + _CHUNK]
            query = sa.select(profile_records.c.record_id)
            found |= set(connection.scalars(query.where(profile_records.c.record_id.in_(some))))
    return [record for record in wanted if record not in found]


def profiles_of(control: ControlPlane, records: Iterable[str]) -> list[Profile]:
    """The profiles that hold these records, oldest first."""
    wanted = sorted(set(records))
    found: set[str] = set()
    with control.read() as connection:
        for start in range(0, len(wanted), _CHUNK):
            found |= set(
                connection.scalars(
                    sa.select(profile_records.c.profile_id).where(
                        profile_records.c.record_id.in_(wanted[start : start + _CHUNK])
                    )
                )
            )
        rows = [_id_row(connection, profile_id) for profile_id in sorted(found)]
        profiles = [_profile(connection, row) for row in rows if row is not None]
    return sorted(profiles, key=lambda profile: profile.number)


def former_ids(control: ControlPlane, profile_id: str) -> list[str]:
    """Ids that were merged into a profile and may come back for the records they had."""
    had = sa.select(former_profile_records.c.profile_id)
    query = (
        sa.select(profile_ids.c.profile_id)
        .where(
            profile_ids.c.resolves_to == profile_id,
            profile_ids.c.status == "merged",
            profile_ids.c.profile_id.in_(had),
        )
        .order_by(profile_ids.c.number)
    )
    with control.read() as connection:
        return list(connection.scalars(query))


def _id_row(connection: sa.Connection, profile_id: str | None) -> sa.Row[Any] | None:
    query = sa.select(profile_ids).where(profile_ids.c.profile_id == profile_id)
    return connection.execute(query).one_or_none()


def _profile_of_record(connection: sa.Connection, record_id: str) -> Profile | None:
    if record_id.count(":") < 2:
        raise KlantbeeldError(
            f"{record_id} is neither a profile id of this home nor a record id",
            "A record id is source:entity:key, such as crm:contact:… ; "
            "`klantbeeld identity queue` shows both.",
        )
    query = sa.select(profile_records.c.profile_id).where(profile_records.c.record_id == record_id)
    row = _id_row(connection, connection.scalar(query))
    return None if row is None else _profile(connection, row)


def _profile(connection: sa.Connection, row: sa.Row[Any]) -> Profile:
    query = (
        sa.select(profile_records.c.record_id)
        .where(profile_records.c.profile_id == row.profile_id)
        .order_by(profile_records.c.record_id)
    )
    return Profile(row.profile_id, row.number, tuple(connection.scalars(query)))
