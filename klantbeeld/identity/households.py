"""Households: which profiles live together. Never a merge: everybody keeps a profile of their own.

Here: where a profile lives, what says that two at one address belong together, and the tables of
households in schema `identity`. Not here: who is one person (`stage`), what a household is called
and where its letters go (publish).

Flow: identity.profile_records, intermediate.int_linkage_records, int_linkage_companies -> homes ->
evidence -> households -> household ids -> identity.household_profiles, household_id_changes,
current_household_ids, household_report.

A profile lives at the newest complete address of its records; the address of the company that a
record is a contact of is an office. One address alone makes no household: it may be a staircase,
a student house, or have had other people before. Two profiles there belong together when they also
share a surname (a maiden name is one too), a telephone number or an e-mail address; at an address
of very many, a care home or a block without apartment numbers, a surname and a contact point. A
household has two profiles or more; who lives alone, or at no known address, is in none.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from klantbeeld.control import ControlPlane
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import preparation
from klantbeeld.identity.clustering import connected_components
from klantbeeld.identity.entities import ADDRESS, DIGEST, give_ids, read_kept, replace_tables
from klantbeeld.identity.id_spaces import HOUSEHOLDS
from klantbeeld.identity.profile_ids import identity_state
from klantbeeld.settings import Settings

Ints = NDArray[np.int64]

# Raised when the way of forming households changes, so that kept results are not taken for today's.
METHOD: Final = 1
# A family with its grandparents, and the family that lived there before, stay below these. Among
# many more, two with one surname need not know each other.
CROWD_PROFILES: Final = 12
CROWD_SURNAMES: Final = 6
# A contact point of more people than a family has is an office's, or made up.
CONTACT_PROFILES: Final = 8


@dataclass(frozen=True)
class HouseholdReport:
    """What forming households did; counts only.

    Attributes:
        status: `formed`, or `unchanged` when the tables of the last time were kept.
        profiles: Profiles with a known home.
        households: Households formed.
        members: Profiles that are in one.
        largest_household: Profiles in the largest.
        crowded_addresses: Addresses at which the address and a surname were not enough.
        created_ids: New household ids.
        retired_ids: Ids that were merged, or of which no member is left.
        moved_members: Profiles known before that changed household.
        seconds: How long it took.
    """

    status: str
    profiles: int
    households: int
    members: int
    largest_household: int
    crowded_addresses: int
    created_ids: int
    retired_ids: int
    moved_members: int
    seconds: float = 0.0


def form_households(
    con: duckdb.DuckDBPyConnection, settings: Settings, control: ControlPlane, run_id: str
) -> HouseholdReport:
    """Form the households of the build, after its profiles have their ids.

    Args:
        con: The open build; tables of schema `identity` are written, nothing else.
        settings: The home's settings.
        control: The control plane; it is only read.
        run_id: The run, for the report.

    Returns:
        What was done.

    Raises:
        KlantbeeldError: The linkage records or their profiles are missing.
    """
    started = time.monotonic()
    digest = _input_digest(con)
    kept = read_kept(con, HOUSEHOLDS, digest, identity_state(control, HOUSEHOLDS))
    if kept is not None:
        return _report_of(kept)
    with preparation.beside(con) as own:
        read_residents(con, own)
        labels = cluster_residents(own)
        together = np.bincount(labels, minlength=len(labels))[labels] > 1 if len(labels) else labels
        profiles = own.execute("select profile_id from residents order by id").to_arrow_table()
        members = profiles.column(0).filter(pa.array(together, pa.bool_()))
        ids, based_on = give_ids(
            own, HOUSEHOLDS, members, labels[together], control, settings.home_key()
        )
        sizes = np.bincount(labels[together]) if len(members) else np.zeros(1, dtype=np.int64)
        report = HouseholdReport(
            status="formed",
            profiles=len(labels),
            households=int(np.count_nonzero(sizes)),
            members=len(members),
            largest_household=int(sizes.max()),
            crowded_addresses=_count(own, "select count(*) from crowded_addresses"),
            created_ids=ids.created + ids.split + ids.revived,
            retired_ids=ids.merged + ids.retired,
            moved_members=ids.moved_records,
            seconds=round(time.monotonic() - started, 2),
        )
        plain = {name: value for name, value in asdict(report).items() if name != "status"}
        replace_tables(
            con,
            own,
            HOUSEHOLDS,
            {"household_profiles": _HOUSEHOLD_PROFILES},
            {"run_id": run_id, **plain},
            digest=digest,
            based_on=based_on,
        )
    return report


def read_residents(con: duckdb.DuckDBPyConnection, own: duckdb.DuckDBPyConnection) -> None:
    """Read who lives where, and what could tell that they live together.

    Makes in `own` the tables `residents` (id, profile_id, address, home_record_id, home_known_at)
    and `signs` (id, kind, value), the latter for addresses of more than one profile.
    """
    con.execute(_PROFILE_ADDRESSES)
    try:
        own.register("given", con.execute(_RESIDENTS).to_arrow_table())
        own.execute("create or replace table residents as from given order by id")
        own.register("given", con.execute(_SIGNS).to_arrow_table())
        own.execute("create or replace table signs as from given")
        own.unregister("given")
    finally:
        con.execute("drop table temp.profile_addresses")


def cluster_residents(own: duckdb.DuckDBPyConnection) -> Ints:
    """Put profiles together that live together.

    Also makes the tables `crowded_addresses` (address) and `evidence` (address, kind, value, id).

    Args:
        own: An engine that holds `residents` and `signs`.

    Returns:
        Per profile, the smallest number of its household; its own where it lives with nobody.
    """
    own.execute(_CROWDED, [CROWD_PROFILES, CROWD_SURNAMES])
    own.execute(_EVIDENCE, [CONTACT_PROFILES])
    edges = own.execute("""
        select min(id) over (partition by address, kind, value) as first, id from evidence
    """).to_arrow_table()
    left, right = (np.asarray(column.to_numpy(), dtype=np.int64) for column in edges.columns)
    return connected_components(_count(own, "select count(*) from residents"), left, right)


def _input_digest(con: duckdb.DuckDBPyConnection) -> str:
    """A digest of all that the outcome depends on but the official ids; in any row order."""
    try:
        found = [
            con.execute(
                f"select {DIGEST} from (select hash({columns})::hugeint as digest from {table})"
            ).fetchone()
            for table, columns in _INPUT.items()
        ]
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise KlantbeeldError(
            f"where profiles live cannot be read: {str(error).splitlines()[0]}",
            "Run the link stage first: klantbeeld run.",
        ) from None
    return ":".join([str(METHOD), *(str(row[0]) for row in found if row)])


def _report_of(row: Mapping[str, Any]) -> HouseholdReport:
    names = set(HouseholdReport.__dataclass_fields__) - {"status", "seconds"}
    return HouseholdReport(status="unchanged", **{name: row[name] for name in names})


def _count(own: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = own.execute(sql).fetchone()
    return int(row[0]) if row else 0


_PLACE: Final = (
    "record_id, country_code, postal_code_std, street_std, house_number_std, "
    "house_number_suffix_std, city_std"
)
_INPUT: Final = {
    "identity.profile_records": "record_id, profile_id",
    "intermediate.int_linkage_records": (
        f"{_PLACE}, last_name_std, maiden_name_std, phone_std, mobile_phone_std, email_std, "
        "company_record_id, updated_at"
    ),
    "intermediate.int_linkage_companies": _PLACE,
}

_PROFILE_ADDRESSES: Final = f"""
    create or replace temp table profile_addresses as
    with records as (
        select record_id, updated_at, company_record_id, {ADDRESS} as address
        from intermediate.int_linkage_records
    ),
    offices as (
        select record_id, {ADDRESS} as address from intermediate.int_linkage_companies
    ),
    homes as (
        select
            profile_records.profile_id, records.address, records.record_id, records.updated_at
        from records
        inner join identity.profile_records on profile_records.record_id = records.record_id
        left join offices on offices.record_id = records.company_record_id
        where records.address is not null and records.address is distinct from offices.address
    ),
    newest as (
        select * from homes
        qualify row_number() over (
            partition by profile_id order by updated_at desc nulls last, record_id
        ) = 1
    )
    select
        row_number() over (order by profile_id) - 1 as id,
        profile_id,
        address,
        record_id as home_record_id,
        updated_at as home_known_at,
        count(*) over (partition by address) as residents
    from newest
"""

_RESIDENTS: Final = """
    select id, profile_id, address, home_record_id, home_known_at
    from profile_addresses order by id
"""

# Only for those who have somebody beside them: four in ten.
_SIGNS: Final = """
    with records as (
        select profile_addresses.id, linkage.*
        from profile_addresses
        inner join identity.profile_records
            on profile_records.profile_id = profile_addresses.profile_id
        inner join intermediate.int_linkage_records as linkage
            on linkage.record_id = profile_records.record_id
        where profile_addresses.residents > 1
    ),
    signs as (
        select id, 'surname' as kind, last_name_std as value from records
        union
        select id, 'surname', maiden_name_std from records
        union
        select id, 'phone', phone_std from records
        union
        select id, 'phone', mobile_phone_std from records
        union
        select id, 'email', email_std from records
    )
    select id, kind, value from signs where value is not null and value <> ''
"""

_CROWDED: Final = """
    create or replace table crowded_addresses as
    select residents.address
    from residents
    left join signs on signs.id = residents.id and signs.kind = 'surname'
    group by residents.address
    having count(distinct residents.id) > ? or count(distinct signs.value) > ?
"""

_EVIDENCE: Final = """
    create or replace table evidence as
    with shared_contacts as (
        select kind, value from signs
        where kind <> 'surname'
        group by kind, value
        having count(*) >= ?
    ),
    usable as (
        select residents.address, signs.*
        from signs
        inner join residents on residents.id = signs.id
        anti join shared_contacts
            on shared_contacts.kind = signs.kind and shared_contacts.value = signs.value
    ),
    weighed as (
        select address, kind, value, id from usable
        where address not in (select address from crowded_addresses)
        union all
        select
            usable.address, contacts.kind || ' and surname',
            contacts.value || '|' || usable.value, usable.id
        from usable
        inner join usable as contacts on contacts.id = usable.id and contacts.kind <> 'surname'
        where usable.kind = 'surname'
            and usable.address in (select address from crowded_addresses)
    )
    select * from weighed
    qualify count(*) over (partition by address, kind, value) > 1
"""

_HOUSEHOLD_PROFILES: Final = """
    with reasons as (
        select id, string_agg(distinct kind, ', ' order by kind) as shared from evidence group by id
    )
    select
        residents.profile_id,
        assigned_records.profile_id as household_id,
        count(*) over (partition by assigned_records.profile_id) as household_size,
        reasons.shared,
        residents.home_record_id,
        residents.home_known_at
    from assigned_records
    inner join residents on residents.profile_id = assigned_records.record_id
    inner join reasons on reasons.id = residents.id
    order by residents.profile_id
"""
