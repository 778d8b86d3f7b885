"""What each system has written down about a person, mistakes included.

Here: who is known in which system, how often, and with which errors: names as people are called or
as they are registered, tussenvoegsels in a field of their own, in the surname or lost, typos, swapped
days and months, default dates, old addresses, junk contact points, missing values, and consents that
contradict each other. One SQL projection per system over random columns drawn by NumPy.
Not here: the persons themselves (`demo.people`), what they buy and read (`demo.history`).

Flow: people, companies -> `draw_records()` -> tables named `<system>.<table>` and the truth.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demo import names
from demo.people import BOTH, NO_SYSTEM, SHOP_ONLY, TILL_ONLY, Bools, Ints, connect, day_number

MICROSECONDS_PER_DAY: Final = 86_400_000_000

TRUTH_SCHEMA: Final = pa.schema(
    [
        ("source", pa.string()),
        ("entity", pa.string()),
        ("natural_key", pa.string()),
        ("person_id", pa.int64()),
    ]
)

# t is uniform within the mistyped share, so one draw gives place, kind and letter.
_MACROS: Final = """
create macro part(t, factor) as (t * factor) - floor(t * factor);
create macro place(s, t) as cast(2 + floor(part(t, 17.31) * (length(s) - 2)) as integer);
create macro mistype(s, t) as case
    when length(s) < 4 then s
    when part(t, 101.7) < 0.25 then left(s, place(s, t) - 1) || substr(s, place(s, t) + 1)
    when part(t, 101.7) < 0.55 then
        left(s, place(s, t) - 1) || substr(s, place(s, t) + 1, 1) || substr(s, place(s, t), 1)
        || substr(s, place(s, t) + 2)
    when part(t, 101.7) < 0.80 then
        left(s, place(s, t) - 1) || chr(cast(97 + floor(part(t, 911.3) * 26) as integer))
        || substr(s, place(s, t) + 1)
    else left(s, place(s, t)) || substr(s, place(s, t))
end;
create macro typo(s, u, rate) as if(u < rate, mistype(s, u / rate), s);
create macro cased(s, u) as if(u < 0.02, upper(s), if(u < 0.045, lower(s), s));
create macro short_infix(s) as replace(replace(replace(s, 'van der', 'v.d.'), 'van den', 'v.d.'), 'van de', 'v.d.');
create macro area_digits(p) as case
    when left(p, 2) = '06' then 2 when list_contains(AREA_CODES, left(p, 4)) then 4 else 3
end;
create macro spaced_phone(p, u) as case
    when p is null then null
    when u < 0.30 then p
    when u < 0.55 then left(p, area_digits(p)) || '-' || substr(p, area_digits(p) + 1)
    when u < 0.75 then '+31' || substr(p, 2)
    when u < 0.85 then '+31 (0)' || substr(p, 2, 1) || ' ' || substr(p, 3)
    when u < 0.93 then '0031' || substr(p, 2)
    else left(p, 2) || ' ' || substr(p, 3, 2) || ' ' || substr(p, 5, 2) || ' ' || substr(p, 7, 2) || ' ' || substr(p, 9)
end;
create macro guid(a, b) as
    printf('%08x', a >> 32) || '-' || printf('%04x', (a >> 16) & 65535) || '-4' || printf('%03x', a & 4095)
    || '-a' || printf('%03x', (b >> 48) & 4095) || '-' || printf('%012x', b & 281474976710655);
""".replace("AREA_CODES", str(sorted({town[1] for town in names.TOWNS if len(town[1]) == 4})))


@dataclass(frozen=True)
class Habits:
    """How a system's clerks and forms write things down: shares of records."""

    call_name: float
    first_missing: float = 0.0
    initial_only: float = 0.0
    infix_apart: bool = False
    infix_lost: float = 0.03
    infix_short: float = 0.03
    birth_missing: float = 0.3
    birth_default: float = 0.008
    email_missing: float = 0.1
    landline_missing: float = 0.3
    mobile_missing: float = 0.25
    address_missing: float = 0.1
    typo: float = 0.03
    keeps_up: float = 0.6
    junk: float = 0.004


CRM_HABITS: Final = Habits(
    call_name=0.5, first_missing=0.08, initial_only=0.08, infix_apart=True, birth_missing=0.45
)
SHOP_HABITS: Final = Habits(
    call_name=0.8, birth_missing=0.75, email_missing=0.0, landline_missing=0.85, keeps_up=0.75
)
TILL_HABITS: Final = Habits(
    call_name=0.6,
    first_missing=0.35,
    infix_apart=True,
    birth_missing=0.35,
    birth_default=0.02,
    email_missing=0.45,
    landline_missing=0.5,
    mobile_missing=0.4,
    typo=0.045,
    keeps_up=0.4,
)
NEWSLETTER_HABITS: Final = Habits(
    call_name=0.92, first_missing=0.12, email_missing=0.0, infix_lost=0.06, typo=0.02
)

_DRAWS: Final = (
    "first last_typo first_typo style infix case_first case_last birth swap birth_typo email "
    "email_typo email_junk email_case which_mail landline mobile phone_style mobile_style phone_junk "
    "mobile_typo address street_typo postcode_style keeps name_keeps double number_typo "
    "refresh"
).split()


@dataclass
class Counters:
    """The last number each system gave out; carried from block to block and from day to day."""

    values: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, count: int) -> int:
        """Reserve `count` numbers; gives the last number used before them."""
        last = self.values.get(name, 0)
        self.values[name] = last + count
        return last


def draws(rng: np.random.Generator, count: int, columns: list[str]) -> dict[str, pa.Array]:
    """Uniform random columns, named for what they decide."""
    return {f"u_{name}": pa.array(rng.random(count)) for name in columns}


def observer() -> duckdb.DuckDBPyConnection:
    """A connection that knows how people make mistakes."""
    con = connect()
    con.execute(_MACROS)
    return con


def observe(
    con: duckdb.DuckDBPyConnection,
    rng: np.random.Generator,
    people: pa.Table,
    created: Ints,
    as_of: int,
    habits: Habits,
) -> pa.Table:
    """Write down every row of `people` once, as a system with these habits would.

    Args:
        con: From `observer()`.
        rng: The random stream.
        people: One row per record to write, in record order (a person may appear twice).
        created: When each record was made, in microseconds since 1970 (UTC).
        as_of: The latest moment that exists, likewise.
        habits: The system's shares of errors and omissions.

    Returns:
        One row per record, in the same order.
    """
    count = people.num_rows
    extra = draws(rng, count, list(_DRAWS)) | {
        "row_number": pa.array(np.arange(count)),
        "created": pa.array(created),
    }
    table = people
    for name, column in extra.items():
        table = table.append_column(name, column)
    con.register("people_rows", table)
    h = habits
    result = con.execute(
        f"""
        with timed as (
            select
                *,
                make_timestamp(created) as created_ts,
                -- An address or name changed after the record was made is known only if told.
                moved_on is null
                    or moved_on <= cast(make_timestamp(created) as date)
                    or u_keeps < {h.keeps_up} as knows_address,
                name_changed_on is null
                    or name_changed_on <= cast(make_timestamp(created) as date)
                    or u_name_keeps < {h.keeps_up} as knows_name,
            from people_rows
        ),

        named as (
            select
                *,
                case
                    when u_first < {h.first_missing} then null
                    when u_first < {h.first_missing + h.initial_only} then left(initials, 2)
                    when u_style < {h.call_name} then call_name
                    else formal_name
                end as first_written,
                if(knows_name, infix, own_infix) as infix_known,
                case
                    when not knows_name then own_surname
                    -- A double name loses its second half on some forms.
                    when has_changed_name and u_double < 0.2 then regexp_extract(surname, '^[^-]+')
                    else surname
                end as surname_known,
            from timed
        )

        select
            row_number,
            person_id,
            household_id,
            is_child,
            company_id,
            guardian_id,
            store,
            typo(cased(first_written, u_case_first), u_first_typo, {h.typo}) as first_name,
            initials,
            case
                when u_infix < {h.infix_lost} then null
                when u_infix < {h.infix_lost + h.infix_short} then short_infix(infix_known)
                else infix_known
            end as infix,
            typo(cased(surname_known, u_case_last), u_last_typo, {h.typo}) as surname,
            if(has_changed_name and knows_name, concat_ws(' ', own_infix, own_surname), null)
                as maiden_name,
            if(is_male, 'M', 'V') as gender,
            case
                when u_birth < {h.birth_missing} then null
                when u_birth > 1 - {h.birth_default} then date '1970-01-01'
                when u_swap < 0.012 and day(birth_date) <= 12
                    then make_date(year(birth_date), day(birth_date), month(birth_date))
                when u_birth_typo < 0.006 then cast(birth_date + interval 10 year as date)
                when u_birth_typo < 0.012 then birth_date + 1
                else birth_date
            end as birth_date,
            case
                when u_email_junk < {h.junk}
                    then ['info@voorbeeld.example', 'geen@geen.example', 'onbekend@voorbeeld.example',
                          'info@post.example'][1 + cast(floor(part(u_email, 31.7) * 4) as integer)]
                when u_email < {h.email_missing} then null
                when u_email_case < 0.02 then upper(if(u_which_mail < 0.3, coalesce(second_email, email), email))
                else typo(
                    if(u_which_mail < 0.3, coalesce(second_email, email), email), u_email_typo, 0.008
                )
            end as email,
            if(u_landline < {h.landline_missing}, null, spaced_phone(landline, u_phone_style)) as landline,
            case
                when u_phone_junk < {h.junk} then ['0612345678', '06-12345678', '0600000000'][1 + cast(floor(part(u_mobile, 31.7) * 3) as integer)]
                when u_mobile < {h.mobile_missing} then null
                when u_mobile_typo < 0.006 then spaced_phone(left(mobile, 8) || right('0' || ((cast(right(mobile, 2) as integer) + 7) % 100), 2), u_mobile_style)
                else spaced_phone(mobile, u_mobile_style)
            end as mobile,
            if(u_address < {h.address_missing}, null, typo(if(knows_address, street, former_street), u_street_typo, 0.02)) as street,
            if(u_address < {h.address_missing}, null, if(knows_address, house_number, former_house_number) + if(u_number_typo < 0.006, 2, 0)) as house_number,
            if(u_address < {h.address_missing}, null, if(knows_address, house_number_suffix, former_house_number_suffix)) as house_number_suffix,
            if(u_address < {h.address_missing}, null, case
                when u_postcode_style < 0.7 then if(knows_address, postal_code, former_postal_code)
                when u_postcode_style < 0.95 then replace(if(knows_address, postal_code, former_postal_code), ' ', '')
                else lower(replace(if(knows_address, postal_code, former_postal_code), ' ', ''))
            end) as postal_code,
            if(u_address < {h.address_missing}, null, if(knows_address, city, former_city)) as city,
            created_ts as created_at,
            least(make_timestamp({as_of}), greatest(
                created_ts,
                case when moved_on > cast(created_ts as date) and knows_address
                    then moved_on + interval (cast(u_refresh * 20000 as bigint)) minute end,
                case when name_changed_on > cast(created_ts as date) and knows_name
                    then name_changed_on + interval (cast(u_refresh * 30000 as bigint)) minute end,
                case when u_refresh < 0.25 then created_ts + interval (cast(u_refresh * 400000 as bigint)) minute end
            )) as updated_at,
        from named
        order by row_number
        """
    ).to_arrow_table()
    con.unregister("people_rows")
    return result


def moments(rng: np.random.Generator, first: int, last: int, count: int) -> Ints:
    """Moments in daytime between two day numbers (inclusive), in microseconds since 1970."""
    day = rng.integers(first, last + 1, count)
    second = (rng.triangular(6.0, 13.0, 21.0, count) * 3600).astype(np.int64)
    return (day * 86_400 + second) * 1_000_000


def _first_place(index: Ints, people: int) -> Ints:
    """Per row of the block the place of its first record, -1 for none."""
    place = np.full(people, -1, dtype=np.int64)
    place[index[::-1]] = np.arange(index.size)[::-1]
    return place


def rows_of(people: pa.Table, person: Ints) -> Ints:
    """The rows of those persons in a table in order of person_id; -1 for who is not in it."""
    known: Ints = people["person_id"].to_numpy()
    at = np.minimum(np.searchsorted(known, person), max(known.size - 1, 0))
    return np.where(known[at] == person, at, -1) if known.size else np.full(person.size, -1)


def _lookup(place: Ints, keys: pa.Array, person: Ints, known: Bools) -> pa.Array:
    """Keys of those persons' first records; null when there is none or it is not known."""
    at = np.where(known, place[np.where(known, person, 0)], -1)
    return keys.take(pa.array(np.where(at >= 0, at, 0), mask=at < 0))


def truth_rows(
    source: str, entity: str, keys: pa.ChunkedArray, person: pa.ChunkedArray
) -> pa.Table:
    """Rows of the truth: which person a record is about."""
    count = len(keys)
    return pa.table(
        {
            "source": pa.repeat(source, count),
            "entity": pa.repeat(entity, count),
            "natural_key": keys.cast(pa.string()),
            "person_id": person,
        },
        schema=TRUTH_SCHEMA,
    )


def _unsigned_pairs(rng: np.random.Generator, count: int) -> dict[str, pa.Array]:
    high = rng.integers(0, 2**62, count)
    low = rng.integers(0, 2**62, count)
    return {"guid_a": pa.array(high), "guid_b": pa.array(low)}


def _with(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


@dataclass(frozen=True)
class Membership:
    """Which persons (places in the block) are written down in which system."""

    contacts: Ints
    business_contacts: Ints
    leads: Ints
    customers: Ints
    members: Ints
    subscribers: Ints


def draw_membership(rng: np.random.Generator, people: pa.Table) -> Membership:
    """Decide who is known where; every person is known somewhere, some twice in one system."""
    count = people.num_rows
    shopper = people["shopper"].to_numpy()
    child = people["is_child"].to_numpy(zero_copy_only=False)
    works = np.asarray(pc.is_valid(people["company_id"]))
    has_mail = np.asarray(pc.is_valid(people["email"]))
    u = rng.random((6, count))
    share = {
        NO_SYSTEM: (0.90, 0.0, 0.0, 0.40),
        SHOP_ONLY: (0.48, 1.0, 0.08, 0.68),
        TILL_ONLY: (0.46, 0.0, 1.0, 0.45),
        BOTH: (0.66, 1.0, 0.94, 0.72),
    }
    by_kind = np.array([share[kind] for kind in range(4)])[shopper]
    in_crm = (u[0] < by_kind[:, 0]) | child
    guardians = rows_of(people, people["guardian_id"].drop_null().to_numpy())
    in_crm[guardians[guardians >= 0]] = True
    in_shop = (u[1] < by_kind[:, 1]) & has_mail & ~child
    in_store = (u[2] < by_kind[:, 2]) & ~child
    in_letter = (u[3] < by_kind[:, 3]) & has_mail & ~child
    is_lead = (u[4] < np.where(works, 0.35, 0.07)) & ~child
    business = works & (u[5] < 0.8)
    in_crm |= ~(in_shop | in_store | in_letter | is_lead | business)

    def twice(known: Bools, again: float) -> Ints:
        first = np.flatnonzero(known)
        second = first[rng.random(first.size) < again]
        return np.concatenate([first, second])

    return Membership(
        contacts=twice(in_crm, 0.06),
        business_contacts=np.flatnonzero(business),
        leads=twice(is_lead, 0.1),
        customers=twice(in_shop, 0.05),
        members=twice(in_store, 0.06),
        subscribers=np.flatnonzero(in_letter),
    )


def draw_records(
    rng: np.random.Generator,
    people: pa.Table,
    companies: pa.Table,
    membership: Membership,
    counters: Counters,
    as_of: int,
    today: dt.date,
    fresh: bool = False,
) -> dict[str, pa.Table]:
    """Write the members of a block down in every system.

    Args:
        rng: The random stream.
        people: The block's people.
        companies: The block's companies; all of them become CRM accounts.
        membership: Who is known where.
        counters: Numbers given out so far; moved on.
        as_of: The latest moment that exists, in microseconds since 1970.
        today: The business date.
        fresh: Whether everything was written down today (the world lives on) or over the years.

    Returns:
        Tables by `<system>.<table>`, and `truth`.
    """
    con = observer()
    day = day_number(today)
    count = people.num_rows

    def since(years: float, size: int) -> Ints:
        start = day if fresh else day - int(years * 365)
        return np.minimum(moments(rng, start, day, size), as_of)

    def rows(index: Ints) -> pa.Table:
        return people.take(pa.array(index))

    tables: dict[str, pa.Table] = {}
    # Accounts.
    created = since(6, companies.num_rows)
    accounts_base = _with(
        companies,
        created=pa.array(created),
        u_mail=pa.array(rng.random(companies.num_rows)),
        u_kvk=pa.array(rng.random(companies.num_rows)),
        **_unsigned_pairs(rng, companies.num_rows),
    )
    con.register("accounts_base", accounts_base)
    accounts = con.execute(
        """
        select
            guid(guid_a, guid_b) as accountid,
            name,
            if(u_kvk < 0.2, null, kvk_number) as cdp_kvknumber,
            if(u_kvk > 0.6, vat_number, null) as cdp_vatnumber,
            phone as telephone1,
            'info@' || slug || '.example' as emailaddress1,
            concat_ws(' ', street, house_number, house_number_suffix) as address1_line1,
            postal_code as address1_postalcode,
            city as address1_city,
            'Nederland' as address1_country,
            if(u_mail < 0.6, 'https://www.' || slug || '.example', null) as websiteurl,
            cast(0 as integer) as statecode,
            make_timestamp(created) as createdon,
            make_timestamp(created) as modifiedon,
            company_id,
            slug,
        from accounts_base
        """
    ).to_arrow_table()
    first_company = int(companies["company_id"][0].as_py()) if companies.num_rows else 1

    # Till members come first: the other systems sometimes know the card.
    member_index = membership.members
    members_seen = observe(
        con, rng, rows(member_index), since(5, member_index.size), as_of, TILL_HABITS
    )
    last = counters.take("members", member_index.size)
    con.register(
        "seen",
        _with(
            members_seen,
            number=pa.array(last + 1 + np.arange(member_index.size)),
            **draws(rng, member_index.size, ["gender", "mailing", "post", "letters"]),
        ),
    )
    members = con.execute(
        """
        select
            printf('29%09d', (number * 104729) % 1000000000) as kaartnummer,
            if(u_letters < 0.08, null, initials) as voorletters,
            first_name as voornaam,
            infix as tussenvoegsel,
            surname as achternaam,
            if(u_gender < 0.1, null, gender) as geslacht,
            birth_date as geboortedatum,
            street as straat,
            house_number as huisnummer,
            house_number_suffix as toevoeging,
            postal_code as postcode,
            city as plaats,
            coalesce(mobile, landline) as telefoon,
            email,
            cast(created_at as date) as aanmelddatum,
            if(u_mailing < 0.55, 'J', 'N') as mailing,
            if(u_post < 0.65, 'J', 'N') as post,
            date_trunc('minute', (updated_at at time zone 'UTC') at time zone 'Europe/Amsterdam') as gewijzigd,
            cast(store as integer) as store,
            person_id,
        from seen
        order by row_number
        """
    ).to_arrow_table()
    card_place, cards = _first_place(member_index, count), members["kaartnummer"].combine_chunks()

    # Contacts: private ones, and those of people who are known through their work.
    private, business = membership.contacts, membership.business_contacts
    contact_index = np.concatenate([private, business])
    is_business = np.arange(contact_index.size) >= private.size
    contacts_seen = observe(
        con, rng, rows(contact_index), since(6, contact_index.size), as_of, CRM_HABITS
    )
    company = contacts_seen["company_id"].combine_chunks()
    company_place = pa.array(
        np.where(is_business, company.fill_null(first_company).to_numpy() - first_company, 0),
        mask=~is_business,
    )
    guardian = rows_of(
        people, contacts_seen["guardian_id"].combine_chunks().fill_null(0).to_numpy()
    )
    has_guardian = guardian >= 0
    contact_base = _with(
        contacts_seen,
        is_business=pa.array(is_business),
        card=_lookup(card_place, cards, contact_index, rng.random(contact_index.size) < 0.35),
        **{
            f"company_{name}": accounts[name].combine_chunks().take(company_place)
            for name in (
                "accountid",
                "slug",
                "telephone1",
                "address1_line1",
                "address1_postalcode",
                "address1_city",
            )
        },
        **_unsigned_pairs(rng, contact_index.size),
        **draws(
            rng,
            contact_index.size,
            [
                "gender",
                "preferred",
                "favourite",
                "no_mail",
                "no_phone",
                "no_post",
                "consent",
                "state",
                "office_mail",
                "maiden",
                "parent_mail",
                "initials",
            ],
        ),
    )
    con.register("contact_base", contact_base)
    con.execute(
        "create or replace temp table contact_keys as select row_number, guid(guid_a, guid_b) as contactid, person_id from contact_base"
    )
    keyed = con.execute(
        "select contactid, person_id from contact_keys order by row_number"
    ).to_arrow_table()
    contact_place = _first_place(contact_index, count)
    contact_ids = keyed["contactid"].combine_chunks()
    guardian_ids = _lookup(contact_place, contact_ids, guardian, has_guardian)
    # A child is reached through its guardian.
    guardian_row = people.take(pa.array(np.where(has_guardian, guardian, 0)))
    con.register(
        "contact_base",
        _with(
            contact_base,
            contactid=keyed["contactid"].combine_chunks(),
            guardian_contactid=guardian_ids,
            guardian_email=guardian_row["email"].combine_chunks(),
            guardian_mobile=guardian_row["mobile"].combine_chunks(),
        ),
    )
    contacts = con.execute(
        """
        select
            contactid,
            first_name as firstname,
            infix as middlename,
            surname as lastname,
            if(u_initials < 0.25, null, initials) as cdp_initials,
            if(u_maiden < 0.5, maiden_name, null) as cdp_maidenname,
            cast(case when u_gender < 0.12 then 3 when gender = 'M' then 1 else 2 end as integer) as gendercode,
            birth_date as birthdate,
            case
                when is_business and u_office_mail < 0.55 then 'info@' || company_slug || '.example'
                when is_business then left(lower(strip_accents(initials)), 1) || '.'
                    || regexp_replace(lower(strip_accents(surname)), '[^a-z]', '', 'g') || '@' || company_slug || '.example'
                when is_child and u_parent_mail < 0.6 then guardian_email
                else email
            end as emailaddress1,
            if(is_business, company_telephone1, landline) as telephone1,
            if(is_child and u_parent_mail < 0.5, guardian_mobile, mobile) as mobilephone,
            if(is_business, company_address1_line1, concat_ws(' ', street, house_number, house_number_suffix)) as line1,
            if(is_business, company_address1_postalcode, postal_code) as address1_postalcode,
            if(is_business, company_address1_city, city) as address1_city,
            company_accountid as parentcustomerid,
            guardian_contactid as cdp_guardianid,
            cast(case when u_preferred < 0.6 then 1 when u_preferred < 0.8 then 2 when u_preferred < 0.9 then 3 else 4 end as integer) as preferredcontactmethodcode,
            card as cdp_loyaltynumber,
            if(u_favourite < 0.3, ['Ontbijt', 'Koffie en thee', 'Wijn', 'Keuken', 'Tuin en balkon', 'Textiel'][1 + cast(floor(u_favourite / 0.3 * 6) as integer)], null) as cdp_favouritecategory,
            u_no_mail < 0.22 as donotemail,
            u_no_phone < 0.35 as donotphone,
            u_no_post < 0.12 as donotpostalmail,
            if(u_consent < 0.55, cast(created_at as date), null) as cdp_consentdate,
            cast(if(u_state < 0.04, 1, 0) as integer) as statecode,
            created_at as createdon,
            updated_at as modifiedon,
            person_id,
        from contact_base
        order by row_number
        """
    ).to_arrow_table()
    con.register("contacts", contacts)
    contacts = con.execute(
        """
        select * exclude (line1, person_id, parentcustomerid, cdp_guardianid, address1_postalcode, address1_city)
            replace (createdon at time zone 'UTC' as createdon, modifiedon at time zone 'UTC' as modifiedon),
            nullif(line1, '') as address1_line1,
            address1_postalcode,
            address1_city,
            if(address1_city is null, null, 'Nederland') as address1_country,
            parentcustomerid,
            cdp_guardianid,
            person_id,
        from contacts
        """
    ).to_arrow_table()

    # Leads; the better ones have become a contact.
    lead_index = membership.leads
    leads_seen = observe(
        con, rng, rows(lead_index), since(1.5, lead_index.size), as_of, NEWSLETTER_HABITS
    )
    lead_company = leads_seen["company_id"].combine_chunks()
    con.register(
        "seen",
        _with(
            leads_seen,
            parent=_lookup(
                contact_place, contact_ids, lead_index, rng.random(lead_index.size) < 0.4
            ),
            companyname=companies["name"]
            .combine_chunks()
            .take(pc.subtract(lead_company, first_company)),
            **_unsigned_pairs(rng, lead_index.size),
            **draws(rng, lead_index.size, ["subject", "source", "status", "infix_apart"]),
        ),
    )
    leads = con.execute(
        f"""
        select
            guid(guid_a, guid_b) as leadid,
            first_name as firstname,
            if(u_infix_apart < 0.4, infix, null) as middlename,
            if(u_infix_apart < 0.4, surname, concat_ws(' ', infix, surname)) as lastname,
            email as emailaddress1,
            mobile as mobilephone,
            companyname,
            {list(names.LEAD_SUBJECTS)}[1 + cast(floor(u_subject * {len(names.LEAD_SUBJECTS)}) as integer)] as subject,
            cast(1 + floor(u_source * 4) as integer) as leadsourcecode,
            cast(case when parent is not null then 3 when u_status < 0.5 then 1 when u_status < 0.85 then 2 else 4 end as integer) as statuscode,
            parent as parentcontactid,
            postal_code as address1_postalcode,
            created_at at time zone 'UTC' as createdon,
            updated_at at time zone 'UTC' as modifiedon,
            person_id,
        from seen
        order by row_number
        """
    ).to_arrow_table()

    # Shop customers with their addresses.
    customer_index = membership.customers
    customers_seen = observe(
        con, rng, rows(customer_index), since(3, customer_index.size), as_of, SHOP_HABITS
    )
    last = counters.take("customers", customer_index.size)
    address_last = counters.take("addresses", customer_index.size * 2)
    known_card = rng.random(customer_index.size) < 0.32
    customer_base = _with(
        customers_seen,
        customer_id=pa.array(last + 1 + np.arange(customer_index.size)),
        address_id=pa.array(address_last + 1 + 2 * np.arange(customer_index.size)),
        loyalty_number=_lookup(card_place, cards, customer_index, known_card),
        **draws(rng, customer_index.size, ["gender", "opt_in", "opt_when", "second_address"]),
    )
    con.register("seen", customer_base)
    customers = con.execute(
        """
        select
            customer_id,
            coalesce(email, 'klant' || customer_id || '@post.example') as email,
            first_name,
            concat_ws(' ', infix, surname) as last_name,
            coalesce(mobile, landline) as phone,
            birth_date,
            if(u_gender < 0.25, null, gender) as gender,
            u_opt_in < 0.52 as newsletter_opt_in,
            if(u_opt_in < 0.52, if(u_opt_when < 0.8, created_at, updated_at), null) at time zone 'UTC' as opt_in_at,
            loyalty_number,
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
            person_id,
        from seen
        order by row_number
        """
    ).to_arrow_table()
    addresses = con.execute(
        """
        select
            address_id, customer_id, 'billing' as kind, street, house_number, house_number_suffix,
            postal_code, city, 'NL' as country_code, true as is_default,
            updated_at at time zone 'UTC' as updated_at,
        from seen where street is not null
        union all
        select
            address_id + 1, customer_id, 'shipping', street, house_number, house_number_suffix,
            postal_code, city, 'NL', false, updated_at at time zone 'UTC',
        from seen where street is not null and u_second_address < 0.35
        order by address_id
        """
    ).to_arrow_table()

    # Newsletter subscribers, one per address.
    index = membership.subscribers
    second = index[np.asarray(pc.is_valid(people["second_email"]))[index]]
    second = second[rng.random(second.size) < 0.35]
    subscriber_people = rows(index)
    again = rows(second)
    again = again.set_column(again.column_names.index("email"), "email", again["second_email"])
    subscriber_people = pa.concat_tables([subscriber_people, again])
    subscriber_people = subscriber_people.set_column(
        subscriber_people.column_names.index("second_email"),
        "second_email",
        pa.nulls(subscriber_people.num_rows, pa.string()),
    )
    size = subscriber_people.num_rows
    subscribers_seen = observe(
        con,
        rng,
        subscriber_people,
        since(2.5, size),
        as_of,
        replace(NEWSLETTER_HABITS, junk=0.0),
    )
    con.register(
        "seen",
        _with(
            subscribers_seen,
            **draws(rng, size, ["status", "status_at", "offers", "offers_out", "method"]),
        ),
    )
    subscribers = con.execute(
        f"""
        with keyed as (
            select *, row_number() over (partition by lower(email) order by row_number) as place,
            from seen
        ),

        judged as (
            select
                *,
                case
                    when u_status < 0.09 then 'unsubscribed'
                    when u_status < 0.12 then 'bounced'
                    else 'active'
                end as status,
            from keyed
            where place = 1
        )

        select
            email,
            first_name,
            concat_ws(' ', infix, surname) as last_name,
            {"'active'" if fresh else "status"} as status,
            created_at at time zone 'UTC' as created_at,
            least(
                make_timestamp({as_of}),
                if(status = 'active', updated_at,
                   created_at + to_microseconds(cast(u_status_at * (epoch_us(make_timestamp({as_of})) - epoch_us(created_at)) as bigint)))
            ) at time zone 'UTC' as updated_at,
            u_offers < 0.6 as wants_offers,
            u_offers_out < 0.12 as regrets_offers,
            u_method,
            person_id,
            row_number,
        from judged
        order by row_number
        """
    ).to_arrow_table()
    opt_in_last = counters.take("opt_ins", subscribers.num_rows * 6)
    con.register("subscribers", subscribers)
    opt_ins = con.execute(
        f"""
        with events as (
            select row_number, 1 as list_id, 'opted_in' as status, created_at as occurred_at, email, u_method, from subscribers
            union all
            select row_number, 1, 'opted_out', updated_at, email, u_method, from subscribers where status = 'unsubscribed'
            union all
            select row_number, 2, 'opted_in', created_at, email, u_method, from subscribers where wants_offers
            union all
            select row_number, 2, 'opted_out',
                least(timezone('UTC', make_timestamp({as_of})), created_at + interval 40 day), email, u_method,
            from subscribers where wants_offers and (regrets_offers or status = 'unsubscribed')
            union all
            select row_number, 3, 'opted_in', created_at, email, u_method, from subscribers where u_method < 0.5
        )

        select
            cast({opt_in_last} + row_number() over (order by row_number, list_id, occurred_at, status) as bigint) as opt_in_id,
            email,
            list_id,
            status,
            case when status = 'opted_out' then 'unsubscribe_link' when u_method < 0.6 then 'web_form'
                 when u_method < 0.85 then 'checkout' else 'paper_form' end as method,
            occurred_at,
            occurred_at as updated_at,
        from events
        order by opt_in_id
        """
    ).to_arrow_table()

    con.register("accounts", accounts)
    accounts_out = con.execute(
        """
        select * exclude (company_id, slug)
            replace (createdon at time zone 'UTC' as createdon, modifiedon at time zone 'UTC' as modifiedon)
        from accounts
        """
    ).to_arrow_table()
    tables["crm.accounts"] = accounts_out
    tables["crm.contacts"] = contacts
    tables["crm.leads"] = leads
    tables["shop.customers"] = customers
    tables["shop.addresses"] = addresses
    tables["pos.members"] = members
    tables["newsletter.subscribers"] = subscribers
    tables["newsletter.opt_ins"] = opt_ins
    tables["truth"] = pa.concat_tables(
        [
            truth_rows("crm", "contact", contacts["contactid"], contacts["person_id"]),
            truth_rows("crm", "lead", leads["leadid"], leads["person_id"]),
            truth_rows("shop", "customer", customers["customer_id"], customers["person_id"]),
            truth_rows("pos", "member", members["kaartnummer"], members["person_id"]),
            truth_rows("newsletter", "subscriber", subscribers["email"], subscribers["person_id"]),
        ]
    )
    con.close()
    return tables
