"""Invented people: who they are, where and with whom they live, and what their habits are.

Here: the canonical persons, drawn in NumPy as indexes into the word lists and put together in
DuckDB SQL, a block of persons at a time, so that memory does not grow with the world. Nothing
loops over persons.
Not here: what a system has written down about a person, mistakes included (`demo.records`), and
what the person does (`demo.history`).

Flow: seed, number of persons -> `blocks()` -> people and companies, one row each.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from demo import names

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: The business date on which the world starts, and the months of history before it.
WORLD_START: Final = dt.date(2026, 3, 1)
HISTORY_DAYS: Final = 546
EPOCH: Final = dt.date(1970, 1, 1)
#: Persons drawn at a time: 50,000 persons with their records and history take about 0.7 GB.
BLOCK: Final = 50_000

SINGLE, COUPLE, FAMILY, PARENT_AND_CHILD, TWINS = range(5)
HOUSEHOLD_SHARES: Final = (0.43, 0.335, 0.12, 0.10, 0.015)
NO_SYSTEM, SHOP_ONLY, TILL_ONLY, BOTH = range(4)
SHOPPER_SHARES: Final = (0.22, 0.26, 0.28, 0.24)


@dataclass(frozen=True)
class Block:
    """A part of the population that no household or company crosses."""

    number: int
    people: pa.Table
    companies: pa.Table


@dataclass(frozen=True)
class Offsets:
    """The last numbers that were given out."""

    person: int = 0
    household: int = 0
    company: int = 0
    #: Keeps e-mail addresses apart that would be the same in two blocks.
    mail_mark: str = ""


def day_number(day: dt.date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that keeps row order and leaves room for the neighbours."""
    con = duckdb.connect(config={"threads": 2})
    con.execute("set TimeZone = 'UTC'")
    return con


@functools.cache
def _pool(name: str) -> pa.Array:
    lists: dict[str, list[str]] = {
        "male": list(names.MALE_NAMES),
        "female": list(names.FEMALE_NAMES),
        "infix": [entry.split("|")[0] for entry in names.SURNAMES],
        "surname": [entry.split("|")[1] for entry in names.SURNAMES],
        "town": [town[0] for town in names.TOWNS],
        "area": [town[1] for town in names.TOWNS],
        "domain": list(names.MAIL_DOMAINS),
    }
    return pa.array(lists[name], pa.string())


def _take(values: list[str] | tuple[str, ...] | pa.Array, index: Ints) -> pa.Array:
    pool = values if isinstance(values, pa.Array) else pa.array(list(values), pa.string())
    return pool.take(pa.array(index))


@functools.cache
def _call_name_pools() -> tuple[pa.Array, pa.Array]:
    """Per gender and formal name four call names (repeated when there are fewer, never null)."""
    pools = []
    for formal_names in (names.MALE_NAMES, names.FEMALE_NAMES):
        flat: list[str] = []
        for formal in formal_names:
            known = names.NICKNAMES.get(formal, (formal,))
            flat.extend(known[i % len(known)] for i in range(4))
        pools.append(pa.array(flat, pa.string()))
    return pools[0], pools[1]


def _age_of_child(
    rng: np.random.Generator,
    parent: Floats,
    years_between: tuple[float, float],
    ages: tuple[float, float],
) -> Floats:
    """Ages evenly between those that both bounds allow: cut off, many would share a birth date."""
    youngest = np.maximum(parent - years_between[1], ages[0])
    oldest = np.minimum(parent - years_between[0], ages[1])
    drawn: Floats = rng.uniform(youngest, np.maximum(youngest, oldest))
    return drawn


def _first_name_index(rng: np.random.Generator, age: Floats, count: int) -> Ints:
    """Names go with a generation: the lists run from old-fashioned to young."""
    centre = 1.0 - age / 90.0
    place = np.clip(centre + rng.normal(0.0, 0.24, age.size), 0.0, 0.999)
    return (place * count).astype(np.int64)


def _draw_surnames(rng: np.random.Generator, count: int) -> tuple[pa.Array, pa.Array]:
    """Infix and surname: two thirds common ones by rank, the rest composed."""
    weights = 1.0 / (np.arange(len(names.SURNAMES)) + 6.0)
    common = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(count))
    common = np.minimum(common, len(names.SURNAMES) - 1)
    composed = rng.random(count) < 0.34
    start = rng.integers(0, len(names.SURNAME_STARTS), count)
    end = rng.integers(0, len(names.SURNAME_ENDS), count)
    con = connect()
    drawn = pa.table(  # noqa: F841 - read by DuckDB
        {
            "composed": composed,
            "infix": _take(_pool("infix"), common),
            "surname": _take(_pool("surname"), common),
            "new_infix": _take(
                names.SURNAME_INFIXES, rng.integers(0, len(names.SURNAME_INFIXES), count)
            ),
            "start": _take(names.SURNAME_STARTS, start),
            "ending": _take(names.SURNAME_ENDS, end),
        }
    )
    result = con.execute(
        """
        select
            nullif(if(composed, new_infix, infix), '') as infix,
            if(composed, start || ending, surname) as surname,
        from drawn
        """
    ).to_arrow_table()
    return result["infix"].combine_chunks(), result["surname"].combine_chunks()


def draw_addresses(rng: np.random.Generator, count: int) -> dict[str, pa.Array]:
    """Addresses in which a postcode always means the same street and town."""
    weights = 1.0 / (np.arange(len(names.TOWNS)) + 4.0)
    town = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(count))
    town = np.minimum(town, len(names.TOWNS) - 1)
    low = np.array([entry[2] for entry in names.TOWNS])[town]
    high = np.array([entry[3] for entry in names.TOWNS])[town]
    digits = (low + rng.random(count) * (high - low + 1)).astype(np.int64)
    letters = rng.integers(0, len(names.POSTCODE_LETTERS) ** 2, count)
    code = digits * 400 + letters
    first = np.array(list(names.POSTCODE_LETTERS))
    letter_pairs = [a + b for a in first for b in first]
    street = (code * 7919) % (len(names.STREET_STARTS) * len(names.STREET_ENDS))
    number = 1 + np.minimum(rng.exponential(38.0, count), 480).astype(np.int64)
    suffix = rng.random(count)
    suffix_pool = ["", "A", "B", "C", "D", "bis", "1", "2", "3", "hs", "II"]
    suffix_index = np.where(suffix < 0.84, 0, 1 + ((suffix - 0.84) / 0.16 * 10)).astype(np.int64)
    con = connect()
    drawn = pa.table(  # noqa: F841 - read by DuckDB
        {
            "start": _take(names.STREET_STARTS, street // len(names.STREET_ENDS)),
            "ending": _take(names.STREET_ENDS, street % len(names.STREET_ENDS)),
            "number": number,
            "suffix": _take(suffix_pool, suffix_index),
            "digits": digits,
            "letters": _take(letter_pairs, letters),
            "town": _take(_pool("town"), town),
            "area": _take(_pool("area"), town),
        }
    )
    result = con.execute(
        """
        select
            start || ending as street,
            cast(number as integer) as house_number,
            nullif(suffix, '') as house_number_suffix,
            digits || ' ' || letters as postal_code,
            town as city,
            area,
        from drawn
        """
    ).to_arrow_table()
    return {name: result[name].combine_chunks() for name in result.column_names}


def draw_companies(rng: np.random.Generator, count: int, offsets: Offsets) -> pa.Table:
    """Companies that some contacts belong to; one row per company."""
    number = offsets.company + 1 + np.arange(count)
    address = draw_addresses(rng, count)
    con = connect()
    drawn = pa.table(  # noqa: F841 - read by DuckDB
        {
            "company_id": number,
            "start": _take(names.COMPANY_STARTS, rng.integers(0, len(names.COMPANY_STARTS), count)),
            "trade": _take(names.COMPANY_TRADES, rng.integers(0, len(names.COMPANY_TRADES), count)),
            "form": _take(names.COMPANY_FORMS, rng.integers(0, len(names.COMPANY_FORMS), count)),
            **address,
        }
    )
    return con.execute(
        """
        select
            company_id,
            trim(start || ' ' || trade || ' ' || form) as name,
            printf('9%07d', (company_id * 736877) % 10000000) as kvk_number,
            printf('NL9%08dB01', (company_id * 73687721) % 100000000) as vat_number,
            regexp_replace(lower(start || trade), '[^a-z]', '', 'g') || company_id as slug,
            area || '0'
                || right(printf('%06d', (company_id * 7331) % 1000000), 9 - length(area)) as phone,
            street, house_number, house_number_suffix, postal_code, city,
        from drawn
        """
    ).to_arrow_table()


def draw_people(
    rng: np.random.Generator, count: int, offsets: Offsets, companies: pa.Table, today: dt.date
) -> pa.Table:
    """Draw `count` persons in households; one row per person, in order of person_id."""
    kind = rng.choice(5, size=count, p=HOUSEHOLD_SHARES)
    size = np.where(kind == SINGLE, 1, 2)
    family = kind == FAMILY
    size[family] = 3 + (rng.random(count)[family] < 0.4)
    households = int(np.searchsorted(np.cumsum(size), count)) + 1
    kind, size = kind[:households], size[:households]
    start = np.cumsum(size) - size
    household = np.repeat(np.arange(households), size)[:count]
    place = np.arange(count) - start[household]
    person_kind = kind[household]
    head = start[household]

    is_child = (person_kind == FAMILY) & (place >= 2)
    is_partner = np.isin(person_kind, (COUPLE, FAMILY)) & (place == 1)
    is_grown_child = (person_kind == PARENT_AND_CHILD) & (place == 1)
    is_twin = (person_kind == TWINS) & (place == 1)
    # Some brothers and sisters in a family are twins too.
    is_young_twin = is_child & (place == 3) & (rng.random(count) < 0.10)

    # Ages, then birth dates; a relative's age hangs on the head's.
    age = rng.triangular(19.0, 41.0, 91.0, count)
    age[person_kind == FAMILY] = rng.uniform(31.0, 52.0, count)[person_kind == FAMILY]
    age[person_kind == PARENT_AND_CHILD] = rng.uniform(46.0, 84.0, count)[
        person_kind == PARENT_AND_CHILD
    ]
    head_age = age[head]
    age = np.where(is_partner, np.clip(head_age + rng.normal(0, 3.5, count), 18.5, 95), age)
    age = np.where(is_child, _age_of_child(rng, head_age, (24, 36), (3.0, 17.4)), age)
    age = np.where(is_grown_child, _age_of_child(rng, head_age, (22, 37), (18.2, 62.0)), age)
    age = np.where(is_twin, head_age, age)
    birth = day_number(today) - (age * 365.2425).astype(np.int64)
    birth = np.where(is_twin, birth[head], birth)
    previous = np.maximum(np.arange(count) - 1, 0)
    birth = np.where(is_young_twin, birth[previous], birth)

    male = rng.random(count) < 0.49
    male = np.where(is_partner, male[head] ^ (rng.random(count) < 0.92), male)
    male = np.where(is_grown_child & (rng.random(count) < 0.3), male[head], male)

    formal = np.where(
        male,
        _first_name_index(rng, age, len(names.MALE_NAMES)),
        _first_name_index(rng, age, len(names.FEMALE_NAMES)),
    )
    namesake = is_grown_child & (male == male[head]) & (rng.random(count) < 0.45)
    formal = np.where(namesake, formal[head], formal)
    twin_of = np.where(is_young_twin, previous, head)
    clash = (is_twin | is_young_twin) & (formal == formal[twin_of]) & (male == male[twin_of])
    formal = np.where(clash, (formal + 3) % len(names.MALE_NAMES), formal)
    formal = np.minimum(formal, np.where(male, len(names.MALE_NAMES), len(names.FEMALE_NAMES)) - 1)

    calls = _call_name_pools()
    call_index = formal * 4 + rng.integers(0, 4, count)
    own_infix, own_surname = _draw_surnames(rng, count)
    blood = pa.array(np.where(is_child | is_grown_child | is_twin, head, np.arange(count)))
    own_infix, own_surname = own_infix.take(blood), own_surname.take(blood)
    # Whose name a married person goes by: own, the partner's, or both with a hyphen.
    spouse = np.where(is_partner, head, np.minimum(np.arange(count) + 1, count - 1))
    is_head_of_pair = np.isin(person_kind, (COUPLE, FAMILY)) & (place == 0)
    is_head_of_pair &= household[spouse] == household
    married = (is_partner | is_head_of_pair) & (rng.random(count) < 0.62)
    style_draw = rng.random(count)
    style = np.where(
        married & ~male, np.where(style_draw < 0.38, 1, np.where(style_draw < 0.62, 2, 0)), 0
    )
    style = np.where(married & male & (style_draw < 0.03), 2, style)
    style = np.where(male[spouse] == male, 0, style)
    name_changed = day_number(today) - rng.exponential(2200, count)
    name_changed = np.minimum(np.maximum(name_changed, birth + 19 * 365), day_number(today) - 20)

    # Where they live, and where they lived before.
    now = draw_addresses(rng, households)
    apart_home = draw_addresses(rng, count)
    former = draw_addresses(rng, households)
    lives_apart = (is_grown_child & (rng.random(count) < 0.5)) | (
        is_twin & (rng.random(count) < 0.65)
    )
    household_moved = rng.random(households) < 0.15
    moved = household_moved[household] & ~lives_apart
    moved_on = day_number(today) - 15 - (rng.random(households) * 700).astype(np.int64)
    landline_owner = rng.random(households) < 0.46
    has_landline = landline_owner[household] & ~lives_apart
    family_mail = (rng.random(households) < 0.13)[household] & (size[household] > 1) & ~lives_apart
    uses_family_mail = family_mail & ~is_child & (rng.random(count) < 0.65)
    has_mail = (rng.random(count) < np.where(age > 74, 0.58, 0.9)) & ~is_child
    has_second_mail = has_mail & (rng.random(count) < 0.12)
    has_mobile = (rng.random(count) < 0.92) & (age > 12)
    guardian = np.where(is_child, head + (rng.random(count) < 0.5), -1)

    company_rows = companies.num_rows
    works = ~is_child & (age < 68) & (rng.random(count) < 0.06) & (company_rows > 0)
    company = np.where(works, rng.integers(0, max(company_rows, 1), count), 0)

    # Habits.
    shopper = rng.choice(4, size=count, p=SHOPPER_SHARES)
    shopper = np.where(is_child, NO_SYSTEM, shopper)
    in_shop, in_store = np.isin(shopper, (SHOP_ONLY, BOTH)), np.isin(shopper, (TILL_ONLY, BOTH))
    breakfast = in_store & (rng.random(count) < 0.13)
    shop_rate = np.where(in_shop, rng.gamma(1.3, 2.4, count), 0.0)
    till_rate = np.where(in_store, rng.gamma(1.2, 5.0, count), 0.0)
    till_rate = np.where(breakfast, rng.uniform(18, 70, count), till_rate)
    lapsed = rng.random(count) < 0.17
    lapsed_on = day_number(today) - 150 - (rng.random(count) * 330).astype(np.int64)
    usual_hour = np.where(breakfast, rng.integers(7, 10, count), rng.integers(10, 20, count))
    store = rng.integers(0, len(names.STORES), count)
    mail_interest = rng.beta(1.3, 2.6, count)

    def of_household(values: pa.Array) -> pa.Array:
        return values.take(pa.array(household))

    columns: dict[str, pa.Array | Ints | Bools | Floats] = {
        "person_id": offsets.person + 1 + np.arange(count),
        "household_id": offsets.household + 1 + household,
        "is_child": is_child,
        "is_male": male,
        "formal_m": _take(_pool("male"), np.where(male, formal, 0)),
        "formal_f": _take(_pool("female"), np.where(male, 0, formal)),
        "call_m": _take(calls[0], np.where(male, call_index, 0)),
        "call_f": _take(calls[1], np.where(male, 0, call_index)),
        "second_letter": rng.integers(0, 26, count),
        "has_second_letter": rng.random(count) < 0.6,
        "own_infix": own_infix,
        "own_surname": own_surname,
        "spouse_infix": own_infix.take(pa.array(spouse)),
        "spouse_surname": own_surname.take(pa.array(spouse)),
        "style": style,
        "name_changed": name_changed.astype(np.int64),
        "birth": birth,
        "moved": moved,
        "moved_on": moved_on[household],
        "has_landline": has_landline,
        "has_mobile": has_mobile,
        "has_mail": has_mail,
        "has_second_mail": has_second_mail,
        "uses_family_mail": uses_family_mail,
        "mail_style": rng.integers(0, 6, count),
        "domain": _take(_pool("domain"), rng.integers(0, len(names.MAIL_DOMAINS), count)),
        "second_domain": _take(_pool("domain"), rng.integers(0, len(names.MAIL_DOMAINS), count)),
        "guardian": guardian,
        "works": works,
        "company": company,
        "shopper": shopper.astype(np.int8),
        "breakfast": breakfast,
        "shop_rate": shop_rate,
        "till_rate": till_rate,
        "lapsed": lapsed,
        "lapsed_on": lapsed_on,
        "usual_hour": usual_hour.astype(np.int8),
        "store": store.astype(np.int8),
        "mail_interest": mail_interest,
        "lives_apart": lives_apart,
    }
    for name, values in now.items():
        columns[f"now_{name}"] = of_household(values)
        columns[f"apart_{name}"] = apart_home[name]
        columns[f"former_{name}"] = of_household(former[name])
    con = connect()
    con.register("drawn", pa.table(columns))
    con.register("companies", companies)
    today_sql = today.isoformat()
    return con.execute(
        f"""
        with named as (
            select
                *,
                if(is_male, formal_m, formal_f) as formal_name,
                if(is_male, call_m, call_f) as call_name,
                if(style = 0, own_infix, spouse_infix) as infix,
                case style
                    when 0 then own_surname
                    when 1 then spouse_surname
                    else spouse_surname || '-' || concat_ws(' ', own_infix, own_surname)
                end as surname,
            from drawn
        ),

        slugged as (
            select
                *,
                regexp_replace(lower(strip_accents(call_name)), '[^a-z]', '', 'g') as call_slug,
                regexp_replace(
                    lower(strip_accents(concat_ws('', infix, surname))), '[^a-z]', '', 'g'
                ) as surname_slug,
            from named
        ),

        addressed as (
            select
                *,
                case mail_style
                    when 0 then call_slug || '.' || surname_slug
                    when 1 then left(call_slug, 1) || '.' || surname_slug
                    when 2 then call_slug || surname_slug
                    when 3 then call_slug || '_'
                        || strftime(date '1970-01-01' + cast(birth as integer), '%y')
                    when 4 then surname_slug || '.' || call_slug
                    else left(call_slug, 1) || surname_slug
                end as local_part,
            from slugged
        ),

        numbered as (
            select
                *,
                row_number() over (partition by local_part, domain order by person_id)
                    as same_mail,
            from addressed
        )

        select
            person_id,
            household_id,
            is_child,
            is_male,
            formal_name,
            call_name,
            left(strip_accents(formal_name), 1) || '.'
                || if(has_second_letter, chr(cast(65 + second_letter as integer)) || '.', '')
                as initials,
            infix,
            surname,
            own_infix,
            own_surname,
            style <> 0 as has_changed_name,
            if(style <> 0, date '1970-01-01' + cast(name_changed as integer), null)
                as name_changed_on,
            date '1970-01-01' + cast(birth as integer) as birth_date,
            case
                when not has_mail then null
                when uses_family_mail
                    then 'fam.' || regexp_replace(
                        lower(strip_accents(first_value(own_surname) over (
                            partition by household_id order by person_id))), '[^a-z]', '', 'g')
                        || household_id || '@'
                        || first_value(domain) over (partition by household_id order by person_id)
                when same_mail > 1 then local_part || '.' || person_id || '@' || domain
                else local_part || '{offsets.mail_mark}' || '@' || domain
            end as email,
            if(has_second_mail, surname_slug || '.' || person_id || '@' || second_domain, null)
                as second_email,
            if(has_mobile, printf('069%07d', (person_id * 7368787 + 1234567) % 10000000), null)
                as mobile,
            if(
                has_landline,
                now_area || '0' || right(
                    printf('%06d', (household_id * 73331) % 1000000), 9 - length(now_area)
                ),
                null
            ) as landline,
            if(lives_apart, apart_street, now_street) as street,
            if(lives_apart, apart_house_number, now_house_number) as house_number,
            if(lives_apart, apart_house_number_suffix, now_house_number_suffix)
                as house_number_suffix,
            if(lives_apart, apart_postal_code, now_postal_code) as postal_code,
            if(lives_apart, apart_city, now_city) as city,
            if(moved, former_street, null) as former_street,
            if(moved, former_house_number, null) as former_house_number,
            if(moved, former_house_number_suffix, null) as former_house_number_suffix,
            if(moved, former_postal_code, null) as former_postal_code,
            if(moved, former_city, null) as former_city,
            if(moved, date '1970-01-01' + cast(moved_on as integer), null) as moved_on,
            if(guardian >= 0, guardian + {offsets.person} + 1, null) as guardian_id,
            if(works, cast(company as bigint) + {offsets.company} + 1, null) as company_id,
            shopper,
            breakfast,
            shop_rate,
            till_rate,
            if(lapsed, date '1970-01-01' + cast(lapsed_on as integer), null) as lapsed_on,
            usual_hour,
            store,
            mail_interest,
            date '{today_sql}' as drawn_on,
        from numbered
        order by person_id
        """
    ).to_arrow_table()


def blocks(persons: int, seed: int, today: dt.date = WORLD_START) -> Iterator[Block]:
    """Draw the whole population, a block at a time; every block has a random stream of its own."""
    offsets = Offsets()
    streams = np.random.SeedSequence(seed).spawn(-(-persons // BLOCK))
    for number, stream in enumerate(streams):
        rng = np.random.default_rng(stream)
        count = min(BLOCK, persons - number * BLOCK)
        companies = draw_companies(rng, max(2, count // 90), offsets)
        people = draw_people(rng, count, offsets, companies, today)
        offsets = Offsets(
            person=offsets.person + count,
            household=int(people["household_id"][-1].as_py()),
            company=offsets.company + companies.num_rows,
            mail_mark=f"{number + 1:02d}",
        )
        yield Block(number, people, companies)
