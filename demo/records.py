"""How a system writes a person down, mistakes included.

Here: names as people are called or as they are registered, tussenvoegsels in a field of their
own, in the surname or lost, typos, swapped days and months, default dates, old addresses, junk
contact points and missing values: one SQL projection over random columns drawn by NumPy.
Not here: the persons themselves (`demo.people`), who is known where and what a system's tables look
like (`demo.systems`).

Flow: people, one row per record to write -> `observe()` -> the records, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from demo import names
from demo.people import Ints, connect

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
create macro typo(s, t) as if(t < 1, mistype(s, t), s);
create macro cased(s, u) as if(u < 0.02, upper(s), if(u < 0.045, lower(s), s));
create macro short_infix(s) as regexp_replace(s, '^van de[rn]?$', 'v.d.');
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
    else concat_ws(
        ' ', left(p, 2), substr(p, 3, 2), substr(p, 5, 2), substr(p, 7, 2), substr(p, 9)
    )
end;
create macro guid(a, b) as concat_ws(
    '-',
    printf('%08x', a >> 32),
    printf('%04x', (a >> 16) & 65535),
    '4' || printf('%03x', a & 4095),
    'a' || printf('%03x', (b >> 48) & 4095),
    printf('%012x', b & 281474976710655)
);
create macro one_of(choices, u) as choices[1 + cast(floor(u * length(choices)) as integer)];
""".replace("AREA_CODES", str(sorted({town[1] for town in names.TOWNS if len(town[1]) == 4})))


@dataclass(frozen=True)
class Habits:
    """How a system's clerks and forms write things down: shares of records."""

    call_name: float
    first_missing: float = 0.0
    initial_only: float = 0.0
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


# What a record's random columns decide.
_DRAWS: Final = [
    "first",
    "first_typo",
    "last_typo",
    "style",
    "double",
    "infix",
    "case_first",
    "case_last",
    "birth",
    "swap",
    "birth_typo",
    "email",
    "email_typo",
    "email_junk",
    "email_case",
    "which_mail",
    "landline",
    "phone_style",
    "mobile",
    "mobile_style",
    "mobile_typo",
    "phone_junk",
    "address",
    "street_typo",
    "number_typo",
    "postcode_style",
    "keeps",
    "name_keeps",
    "refresh",
]


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
                u_address >= {h.address_missing} as has_address,
                if(knows_address, postal_code, former_postal_code) as postal_code_known,
                if(u_which_mail < 0.3, coalesce(second_email, email), email) as email_used,
                case
                    when not knows_name then own_surname
                    -- A double name loses its second half on some forms.
                    when has_changed_name and u_double < 0.2 then regexp_extract(surname, '^[^-]+')
                    else surname
                end as surname_known,
            from timed
        ),

        -- A macro repeats its arguments: columns are repeated for free, expressions are not.
        written as (
            select
                *,
                cased(first_written, u_case_first) as first_cased,
                cased(surname_known, u_case_last) as surname_cased,
                if(knows_address, street, former_street) as street_known,
                u_first_typo / {h.typo} as first_t,
                u_last_typo / {h.typo} as last_t,
                u_email_typo / 0.008 as email_t,
                u_street_typo / 0.02 as street_t,
                left(mobile, 8) || printf('%02d', (cast(right(mobile, 2) as integer) + 7) % 100)
                    as mobile_mistyped,
            from named
        ),

        chosen as (
            select * replace (
                if(u_mobile_typo < 0.006, mobile_mistyped, mobile) as mobile
            ),
            from written
        )

        select
            row_number,
            person_id,
            household_id,
            is_child,
            company_id,
            guardian_id,
            store,
            typo(first_cased, first_t) as first_name,
            initials,
            case
                when u_infix < {h.infix_lost} then null
                when u_infix < {h.infix_lost + h.infix_short} then short_infix(infix_known)
                else infix_known
            end as infix,
            typo(surname_cased, last_t) as surname,
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
                when u_email_junk < {h.junk} then one_of(
                    [
                        'info@voorbeeld.example', 'geen@geen.example',
                        'onbekend@voorbeeld.example', 'info@post.example'
                    ],
                    part(u_email, 31.7)
                )
                when u_email < {h.email_missing} then null
                when u_email_case < 0.02 then upper(email_used)
                else typo(email_used, email_t)
            end as email,
            if(u_landline < {h.landline_missing}, null, spaced_phone(landline, u_phone_style))
                as landline,
            case
                when u_phone_junk < {h.junk} then one_of(
                    ['0612345678', '06-12345678', '0600000000'], part(u_mobile, 31.7)
                )
                when u_mobile < {h.mobile_missing} then null
                else spaced_phone(mobile, u_mobile_style)
            end as mobile,
            if(has_address, typo(street_known, street_t), null) as street,
            if(
                has_address,
                if(knows_address, house_number, former_house_number)
                    + if(u_number_typo < 0.006, 2, 0),
                null
            ) as house_number,
            if(
                has_address,
                if(knows_address, house_number_suffix, former_house_number_suffix),
                null
            ) as house_number_suffix,
            case
                when not has_address then null
                when u_postcode_style < 0.7 then postal_code_known
                when u_postcode_style < 0.95 then replace(postal_code_known, ' ', '')
                else lower(replace(postal_code_known, ' ', ''))
            end as postal_code,
            if(has_address, if(knows_address, city, former_city), null) as city,
            created_ts as created_at,
            least(
                make_timestamp({as_of}),
                greatest(
                    created_ts,
                    if(
                        moved_on > cast(created_ts as date) and knows_address,
                        moved_on + to_minutes(cast(u_refresh * 20000 as bigint)),
                        null
                    ),
                    if(
                        name_changed_on > cast(created_ts as date) and knows_name,
                        name_changed_on + to_minutes(cast(u_refresh * 30000 as bigint)),
                        null
                    ),
                    if(
                        u_refresh < 0.25,
                        created_ts + to_minutes(cast(u_refresh * 400000 as bigint)),
                        null
                    )
                )
            ) as updated_at,
        from chosen
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


def rows_of(people: pa.Table, person: Ints) -> Ints:
    """The rows of those persons in a table in order of person_id; -1 for who is not in it."""
    known: Ints = people["person_id"].to_numpy()
    at = np.minimum(np.searchsorted(known, person), max(known.size - 1, 0))
    return np.where(known[at] == person, at, -1) if known.size else np.full(person.size, -1)
