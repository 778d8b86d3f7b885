"""Invented people with a known truth, for measuring and testing linkage: `retail` and `registry`.

Here: two populations, each drawn from a seed in NumPy and Arrow without a loop over records, and
either in the shape of `intermediate.int_linkage_records` (`linkage_records`, `population`).

* `retail`: what four systems of a Dutch retailer hold. 2.2 records a person; households that share
  surname, address, landline and sometimes e-mail; 1.5 % twins, fathers and sons of one name; 15 %
  moved; 10 % with a second surname; 0.4 % junk e-mail addresses and numbers; birth date missing in
  66 %, phone in 45 %, e-mail in 21 %; nicknames, initials, typos, swapped and default dates.
* `registry`: originals and their distorted duplicates in an English-speaking register, in the
  manner of the Febrl data sets: many typos, no e-mail, no phone, no households.

Not here: the demo's world (`demo.people`), whose systems have clerks, orders and a calendar.
"""

import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.countries import NETHERLANDS, Country
from demo import names
from klantbeeld.identity.preparation import COLUMNS

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.str_]

TODAY: Final = np.datetime64("2026-03-01")
DEFAULT_DATES: Final = np.array(["1970-01-01", "1900-01-01"], dtype="datetime64[D]")
JUNK_EMAILS: Final = ("info@winkel.example", "geen@mail.example", "onbekend@onbekend.example")
JUNK_PHONES: Final = ("+31612345678", "+31600000000", "+31201234567")
SOURCES: Final = ("crm", "shop", "pos", "newsletter")
LOYALTY: Final = 0.6
SYLLABLES: Final = (
    *("a", "an", "ar", "be", "bo", "bra", "da", "de", "di", "do", "el", "fe", "flo", "ga", "ge"),
    *("ha", "he", "hi", "jo", "ka", "ke", "la", "le", "li", "lo", "ma", "me", "mi", "mo", "na"),
    *("no", "o", "pa", "ra", "re", "ri", "ro", "sa", "se", "si", "ta", "te", "ti", "to", "va"),
    *("vi", "wi", "ya", "yo", "zo"),
)
LINKS: Final = (
    *("b", "d", "f", "k", "l", "ll", "m", "n", "nd", "nn", "r", "rs", "rt", "s", "ss", "st"),
    *("t", "v", "z"),
)
NAME_ENDS: Final = (
    *("a", "an", "e", "el", "en", "ert", "i", "ia", "ie", "ina", "is", "o", "on", "us"),
)
ENGLISH_STREETS: Final = ("street", "road", "place", "crescent", "close", "avenue", "court", "way")
ENGLISH_ENDS: Final = ("son", "ton", "ley", "well", "field", "wood", "by", "ford", "man", "er")

_STANDARDISED: Final = {
    "first_name": "first_name_std",
    "initials": "initials_std",
    "surname": "last_name_std",
    "maiden_name": "maiden_name_std",
    "full_name": "full_name_std",
    "email": "email_std",
    "phone": "phone_std",
    "mobile": "mobile_phone_std",
    "street": "street_std",
    "house_number": "house_number_std",
    "postal_code": "postal_code_std",
    "city": "city_std",
}
_LINKAGE_COLUMNS: Final = {
    **dict.fromkeys(COLUMNS, pa.string()),
    "birth_date": pa.date32(),
    "entity": pa.string(),
    "country_code": pa.string(),
    "company_record_id": pa.string(),
    "updated_at": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class Noise:
    """How badly the systems know people; shares of 1, errors multiplied by `scale`."""

    scale: float = 1.0
    no_birth_date: float = 0.66
    no_phone: float = 0.45
    no_email: float = 0.21
    no_address: float = 0.12
    moved: float = 0.15
    second_surname: float = 0.10
    typo: float = 0.04
    initials_only: float = 0.10
    no_first_name: float = 0.02
    nickname: float = 0.15
    wrong_date: float = 0.02
    default_date: float = 0.004
    junk_contact: float = 0.004
    other_email: float = 0.10
    family_email: float = 0.12
    shared_mobile: float = 0.08
    twins: float = 0.015
    namesakes: float = 0.003
    # Of the records of the point of sale, those with the number of a loyalty card.
    loyalty: float = 0.0


def retail(
    persons: int, seed: int, noise: Noise | None = None, country: Country = NETHERLANDS
) -> pa.Table:
    """Draw what four systems know of `persons` people; one row per record, in random order.

    Args:
        persons: How many people.
        seed: The same seed gives the same records.
        noise: Rates of error.
        country: What they are called, and how their addresses are written.

    Returns:
        record_id, person_id, source, first_name, initials, surname (without its infix),
        maiden_name, gender, birth_date, email, phone, mobile, street, house_number, postal_code,
        city; deterministic_key where `noise` has loyalty cards.
    """
    noise = noise or Noise()
    rng = np.random.default_rng(seed)
    people = _people(rng, persons, noise, country)
    copies = rng.choice([1, 2, 3, 4, 5, 6], persons, p=[0.36, 0.31, 0.17, 0.10, 0.04, 0.02])
    who = rng.permutation(np.repeat(np.arange(persons), copies))
    return _retail_records(rng, people, who, noise, country)


def population(persons: int, seed: int, noise: Noise | None = None) -> tuple[pa.Table, pa.Table]:
    """Draw a retailer's records, with loyalty cards, as the link stage reads them.

    Args:
        persons: How many people.
        seed: The same seed gives the same records.
        noise: Rates of error.

    Returns:
        The linkage records, and the truth (record_id, person_id).
    """
    drawn = retail(persons, seed, replace(noise or Noise(), loyalty=LOYALTY))
    return linkage_records(drawn), drawn.select(["record_id", "person_id"])


def linkage_records(drawn: pa.Table) -> pa.Table:
    """As `intermediate.int_linkage_records` has them; what a population lacks is null."""
    count = drawn.num_rows
    have = {_STANDARDISED.get(name, name): drawn[name] for name in drawn.column_names}
    have["entity"] = pa.array(["person"] * count, pa.string())
    have["country_code"] = pa.array(["NL"] * count, pa.string())
    return pa.table(
        {
            name: have[name].cast(kind) if name in have else pa.nulls(count, kind)
            for name, kind in _LINKAGE_COLUMNS.items()
        }
    )


def registry(originals: int, seed: int) -> pa.Table:
    """Draw `originals` people and as many distorted duplicates; at most five of one person.

    Returns:
        record_id, person_id, first_name, surname, birth_date, street, house_number, postal_code,
        city, state.
    """
    rng = np.random.default_rng(seed)
    first_pool = _words(rng, 700, NAME_ENDS)
    surname_pool = _words(rng, 2_500, ENGLISH_ENDS)
    street_pool = _words(rng, 1_500, ENGLISH_ENDS)
    city_pool = _words(rng, 600, ENGLISH_ENDS)
    first = _frequent(rng, first_pool, originals, 0.7)
    surname = _frequent(rng, surname_pool, originals, 0.5)
    birth = np.datetime64("1900-01-01") + rng.integers(0, 36_500, originals)
    street = _joined(
        _frequent(rng, street_pool, originals, 0.3),
        " ",
        rng.choice(np.array(ENGLISH_STREETS), originals),
    )
    number = rng.integers(1, 250, originals).astype(np.str_)
    city = _frequent(rng, city_pool, originals, 0.4)
    postal = rng.integers(2_000, 8_000, originals).astype(np.str_)
    state = rng.choice(
        np.array(["nsw", "vic", "qld", "wa", "sa", "tas", "act", "nt"]),
        originals,
        p=[0.35, 0.26, 0.17, 0.09, 0.08, 0.03, 0.01, 0.01],
    )
    # A few people have most of the duplicates, as in the registers that were copied from.
    owners = rng.permutation(originals)[: int(originals * 0.4)]
    duplicate_of = np.repeat(owners, 5)[rng.permutation(len(owners) * 5)[:originals]]
    who = np.concatenate([np.arange(originals), duplicate_of])
    distorted = np.arange(len(who)) >= originals
    count = len(who)

    def chosen(share: float) -> Bools:
        return distorted & (rng.random(count) < share)

    def distort(values: Texts, typos: float, missing: float, other: Texts | None = None) -> Any:
        result = _typos(rng, values, chosen(typos))
        result = _typos(rng, result, chosen(typos / 4))
        if other is not None:
            result = np.where(chosen(0.03), rng.choice(other, count), result)
        return _column(result, chosen(missing) | (rng.random(count) < missing / 3))

    swapped = chosen(0.02)
    given = np.where(swapped, surname[who], first[who])
    family = np.where(swapped, first[who], surname[who])
    date = birth[who]
    date = np.where(chosen(0.08), date + rng.integers(-9, 10, count), date)
    date = np.where(chosen(0.03), date + 365 * rng.integers(-10, 11, count), date)
    date = np.where(chosen(0.03), _swapped_dates(date), date)
    return pa.table(
        {
            "record_id": _column(_joined("r", np.arange(count).astype(np.str_))),
            "person_id": _column(who.astype(np.str_)),
            "first_name": distort(given, 0.25, 0.06, first_pool),
            "surname": distort(family, 0.25, 0.03, surname_pool),
            "birth_date": pa.array(date, mask=chosen(0.06) | (rng.random(count) < 0.02)),
            "street": distort(street[who], 0.3, 0.06),
            "house_number": distort(number[who], 0.1, 0.06),
            "postal_code": distort(postal[who], 0.12, 0.01),
            "city": distort(city[who], 0.25, 0.03, city_pool),
            "state": distort(state[who], 0.05, 0.05),
        }
    )


def _people(
    rng: np.random.Generator, persons: int, noise: Noise, country: Country
) -> dict[str, Any]:
    """Draw the people themselves, in households; arrays of one value per person."""
    size = rng.choice([1, 2, 3, 4, 5], persons, p=[0.36, 0.33, 0.12, 0.14, 0.05])
    home = np.repeat(np.arange(persons), size)[:persons]
    homes = int(home[-1]) + 1
    head = np.searchsorted(home, home)
    place = np.arange(persons) - head
    adult = place < 2

    age = np.where(adult, rng.integers(22 * 365, 88 * 365, persons), 0)
    age = np.where(
        place == 1, np.clip(age[head] + rng.integers(-2_000, 2_000, persons), 7_300, None), age
    )
    child_age = np.maximum(age[head] - rng.integers(22 * 365, 38 * 365, persons), 300)
    age = np.where(adult, age, child_age)
    male = rng.random(persons) < 0.5
    male = np.where((place == 1) & (rng.random(persons) < 0.94), ~male[head], male)

    boys = np.concatenate([_plain(country.male), _words(rng, 500, NAME_ENDS)])
    girls = np.concatenate([_plain(country.female), _words(rng, 500, NAME_ENDS)])
    first = np.where(male, _frequent(rng, boys, persons, 0.8), _frequent(rng, girls, persons, 0.8))
    composed = [start + end for start in names.SURNAME_STARTS for end in names.SURNAME_ENDS]
    rare = rng.permutation(_plain(composed))[: max(500, persons // 10)]
    pool = np.concatenate(
        [_plain(country.surnames), rare, _words(rng, persons // 10 + 500, ENGLISH_ENDS)]
    )
    own = _frequent(rng, pool, persons, country.concentration)
    family = own[head]
    keeps_own = (place == 1) & (rng.random(persons) < 0.5)
    surname = np.where(keeps_own, own, family)

    # Twins are brothers and sisters of one age; a son or daughter may bear a parent's name.
    younger = np.maximum(np.arange(persons) - 1, 0)
    can = (place >= 3) | ((place == 1) & (rng.random(persons) < 0.2))
    twin = can & (rng.random(persons) < noise.twins * persons / 2 / max(int(can.sum()), 1))
    age = np.where(twin, age[younger], age)
    surname = np.where(twin, surname[younger], surname)
    heir = (place == 2) & (rng.random(persons) < noise.namesakes * persons / (place == 2).sum())
    first = np.where(heir, first[head], first)
    male = np.where(heir, male[head], male)
    surname = np.where(heir, family, surname)

    slug = first.astype("<U20")
    tail = rng.integers(1, 999, persons).astype(np.str_)
    domains = np.array(names.MAIL_DOMAINS)
    style = rng.integers(0, 4, persons)
    initial = first.astype("<U1")
    local = np.select(
        [style == 0, style == 1, style == 2],
        [
            _joined(slug, ".", surname, tail),
            _joined(initial, ".", surname, tail),
            _joined(slug, tail, "_", (age // 365).astype(np.str_)),
        ],
        _joined(surname, ".", slug, tail),
    )
    email = _joined(local, "@", rng.choice(domains, persons))
    shared = _joined("fam.", family, home.astype(np.str_), "@", domains[home % len(domains)])
    of_family = (rng.random(homes) < noise.family_email)[home] & (np.bincount(home)[home] > 1)
    email = np.where(of_family, shared, email)
    by_parent = ~adult & (rng.random(persons) < 0.5)
    email = np.where(by_parent, email[head], email)
    firms = 200 + persons // 20
    companies = _joined("bedrijf", np.arange(firms).astype(np.str_), ".example")
    mobile = _joined(country.mobile, rng.integers(10_000_000, 99_999_999, persons).astype(np.str_))
    borrowed = (place == 1) & (rng.random(persons) < noise.shared_mobile) | by_parent
    mobile = np.where(borrowed, mobile[head], mobile)
    landline = _joined(country.landline, rng.integers(2_000_000, 9_999_999, homes).astype(np.str_))[
        home
    ]

    grown = (place >= 2) & (age > 20 * 365) & (rng.random(persons) < 0.7)
    apart = _addresses(rng, persons, country)
    together = [part[home] for part in _addresses(rng, homes, country)]
    address = [np.where(grown, a, t) for a, t in zip(apart, together, strict=True)]
    moved = (rng.random(homes) < noise.moved * noise.scale)[home]
    former = [part[home] for part in _addresses(rng, homes, country)]
    second = np.where(
        rng.random(persons) < 0.6, rng.choice(np.array(list("abcdefhjlmprstw")), persons), ""
    )
    renamed = rng.random(persons) < noise.second_surname * noise.scale
    other = np.where(rng.random(persons) < 0.5, own, np.roll(own, 1))
    double = _joined(surname, other)
    return {
        "first": first,
        "surname": surname,
        "second": second,
        "male": male,
        "birth": TODAY - age.astype("timedelta64[D]"),
        "email": email,
        "work": _joined(initial, ".", surname, "@", companies[rng.integers(0, firms, persons)]),
        "mobile": mobile,
        "landline": landline,
        "address": address,
        "former": former,
        "moved": moved,
        "renamed": renamed,
        "new_surname": np.where(rng.random(persons) < 0.5, double, np.roll(own, 1)),
    }


def _retail_records(
    rng: np.random.Generator, people: dict[str, Any], who: Ints, noise: Noise, country: Country
) -> pa.Table:
    """Write the people down, with the mistakes of four systems."""
    count, bad = len(who), noise.scale

    def chosen(share: float) -> Bools:
        return rng.random(count) < share

    source = rng.choice(np.array(SOURCES), count, p=[0.35, 0.3, 0.25, 0.1])
    letter = source == "newsletter"
    official = people["first"][who]
    called = np.where(chosen(noise.nickname * bad), _nicknames(rng, official, country), official)
    first = _typos(rng, called, chosen(noise.typo * bad))
    first_missing = chosen(noise.initials_only * bad)
    nothing = chosen(noise.no_first_name * bad)
    initials = np.where(
        chosen(0.5), _joined(official.astype("<U1"), people["second"][who]), first.astype("<U1")
    )
    late = people["renamed"][who] & chosen(0.5)
    surname = np.where(late, people["new_surname"][who], people["surname"][who])
    surname = _typos(rng, surname, chosen(noise.typo * bad))

    birth = people["birth"][who]
    birth = np.where(chosen(noise.wrong_date * bad), _swapped_dates(birth), birth)
    birth = np.where(
        chosen(noise.wrong_date * bad), birth + rng.integers(-9, 10, count).astype("m8[D]"), birth
    )
    default = chosen(noise.default_date * bad)
    birth = np.where(default, rng.choice(DEFAULT_DATES, count), birth)
    no_birth = chosen(noise.no_birth_date) & ~default

    at_former = people["moved"][who] & chosen(0.5)
    street, number, postal, city = (
        np.where(at_former, old[who], new[who])
        for old, new in zip(people["former"], people["address"], strict=True)
    )
    no_address = letter | chosen(noise.no_address)
    street = _typos(rng, street, chosen(noise.typo * bad))
    number = np.where(chosen(0.01 * bad), rng.integers(1, 200, count).astype(np.str_), number)

    email = np.where(chosen(noise.other_email * bad), people["work"][who], people["email"][who])
    email = _typos(rng, email, chosen(noise.typo * bad / 2))
    email = np.where(
        chosen(noise.junk_contact * bad), rng.choice(np.array(JUNK_EMAILS), count), email
    )
    no_email = ~letter & chosen(noise.no_email / 0.9)
    mobile = np.where(
        chosen(noise.junk_contact * bad),
        rng.choice(np.array(JUNK_PHONES), count),
        people["mobile"][who],
    )
    no_phone = letter | chosen(noise.no_phone)
    which = rng.random(count)
    keys = _joined(source, ":person:", rng.permutation(count).astype(np.str_))
    records = pa.table(
        {
            "record_id": _column(keys),
            "person_id": _column(who.astype(np.str_)),
            "source": _column(source),
            "first_name": _column(first, first_missing | nothing),
            "initials": _column(initials, nothing),
            "surname": _column(surname),
            "maiden_name": _column(people["surname"][who], ~(late & chosen(0.3))),
            "gender": _column(np.where(people["male"][who], "male", "female"), chosen(0.3)),
            "birth_date": pa.array(birth.astype("datetime64[D]"), mask=no_birth),
            "email": _column(email, no_email),
            "phone": _column(people["landline"][who], no_phone | (which < 0.6)),
            "mobile": _column(mobile, no_phone | (which > 0.75)),
            "street": _column(street, no_address),
            "house_number": _column(number, no_address),
            "postal_code": _column(postal, no_address),
            "city": _column(city, no_address),
        }
    )
    if not noise.loyalty:
        return records
    cards = _joined("loyalty:", who.astype(np.str_))
    shown = (source == "pos") & chosen(noise.loyalty)
    return records.append_column("deterministic_key", _column(cards, ~shown))


def _words(rng: np.random.Generator, count: int, ends: tuple[str, ...]) -> Texts:
    """Different invented names, in random order."""
    drawn = [
        rng.choice(np.array(part), count * 3)
        for part in (SYLLABLES, LINKS, (*SYLLABLES, "", ""), LINKS, ends)
    ]
    short = rng.random(count * 3) < 0.5
    words = _joined(drawn[0], drawn[1], np.where(short, "", drawn[2]), drawn[3], drawn[4])
    _, at = np.unique(words, return_index=True)
    return words[np.sort(at)][:count]


def _frequent(rng: np.random.Generator, pool: Texts, size: int, exponent: float) -> Texts:
    """Draw names of which the first are the most frequent."""
    weights = 1.0 / np.arange(4, len(pool) + 4) ** exponent
    return pool[np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(size) * (1 - 1e-12))]


def _plain(words: Any) -> Texts:
    return np.array(
        [
            "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if "a" <= c <= "z")
            for word in words
        ]
    )


def _joined(*parts: Any) -> Texts:
    result = np.asarray(parts[0])
    for part in parts[1:]:
        result = np.char.add(result, part)
    return result


def _nicknames(rng: np.random.Generator, official: Texts, country: Country) -> Texts:
    """Another form of a name where there is one."""
    formal = _plain(country.nicknames)
    order = np.argsort(formal)
    forms = [_plain(list(country.nicknames.values())[n]) for n in order]
    widest = max(len(form) for form in forms)
    table = np.array([[form[n % len(form)] for n in range(widest)] for form in forms])
    at = np.minimum(np.searchsorted(formal[order], official), len(formal) - 1)
    known = formal[order][at] == official
    return np.where(known, table[at, rng.integers(0, widest, len(official))], official)


def _typos(rng: np.random.Generator, texts: Texts, chosen: Bools) -> Texts:
    """Leave out, double, replace or swap one letter of the chosen texts; never the first."""
    width = int(texts.dtype.itemsize / 4) + 1
    hit = np.flatnonzero(chosen & (np.char.str_len(texts) >= 3))
    if len(hit) == 0:
        return texts
    letters = texts[hit].astype(f"<U{width}").view(np.uint32).reshape(len(hit), width)
    length = np.char.str_len(texts[hit])
    at = (1 + rng.random(len(hit)) * (length - 1)).astype(np.int64)[:, None]
    kind = rng.integers(0, 4, len(hit))[:, None]
    place = np.broadcast_to(np.arange(width), letters.shape)
    source = np.select(
        [
            kind == 0,
            kind == 1,
            (kind == 2) & (place == at) & (at > 1),
            (kind == 2) & (place == at - 1) & (at > 1),
        ],
        [place + (place >= at), place - (place > at), place - 1, place + 1],
        place,
    )
    padded = np.pad(letters, ((0, 0), (0, 1)))
    result = np.take_along_axis(padded, source, axis=1)
    digit = (letters[np.arange(len(hit)), at[:, 0]] < 58)[:, None]
    other = np.where(
        digit, rng.integers(48, 58, (len(hit), 1)), rng.integers(97, 123, (len(hit), 1))
    )
    result = np.where((kind == 3) & (place == at), other, result).astype(np.uint32)
    changed = texts.astype(f"<U{width}")
    changed[hit] = np.ascontiguousarray(result).view(f"<U{width}")[:, 0]
    return changed


def _swapped_dates(dates: Any) -> Any:
    """Day and month swapped where that is a date."""
    days = dates.astype("datetime64[D]")
    month = days.astype("datetime64[M]")
    year = days.astype("datetime64[Y]")
    day_of_month = (days - month).astype(np.int64)
    month_of_year = (month - year).astype(np.int64)
    other = (year.astype("datetime64[M]") + np.minimum(day_of_month, 11)).astype("datetime64[D]")
    return np.where(day_of_month < 12, other + month_of_year, days)


def _addresses(
    rng: np.random.Generator, count: int, country: Country
) -> tuple[Texts, Texts, Texts, Texts]:
    """Street, number, postal code and town.

    A postal code always means one street, or a district of fifty where codes are coarse.
    """
    towns = _plain([town[0] for town in names.TOWNS])
    weights = 1.0 / (np.arange(len(towns)) + 4.0)
    town = rng.choice(len(towns), count, p=weights / weights.sum())
    code = rng.integers(0, 40_000, count)
    streets = np.array([s.lower() + e for s in names.STREET_STARTS for e in names.STREET_ENDS])
    pairs = np.array([a + b for a in names.POSTCODE_LETTERS for b in names.POSTCODE_LETTERS])
    digits = (1000 + town * 200 + code // 400).astype(np.str_)
    if country.is_coarse:
        postal = (10_000 + town * 200 + code % 40).astype(np.str_)
        code = rng.integers(0, 50, count)
    else:
        postal = _joined(digits, pairs[code % 400])
    return (
        streets[(code * 7919 + town) % len(streets)],
        (1 + np.minimum(rng.exponential(40.0, count), 400)).astype(np.int64).astype(np.str_),
        postal,
        towns[town],
    )


def _column(values: Any, missing: Any = None) -> pa.Array:
    """An Arrow column; empty texts are missing too."""
    empty = np.char.str_len(values) == 0
    return pa.array(values, pa.string(), mask=empty if missing is None else empty | missing)
