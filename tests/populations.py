"""Invented people with known truth, standardised as `intermediate.int_linkage_records` has them.

A seeded, vectorised generator for linkage tests and measurements: households that share surname,
address, landline and sometimes e-mail, twins, father and son of one name, moves, second surnames,
nicknames, initials, typos, swapped dates, default dates and junk contact points, over four systems
with about 2.2 records a person.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Strings = NDArray[np.object_]

_STARTS = [
    "al",
    "an",
    "ar",
    "ba",
    "be",
    "bo",
    "bra",
    "ca",
    "co",
    "da",
    "de",
    "di",
    "do",
    "e",
    "fa",
    "fe",
    "flo",
    "ga",
    "ge",
    "gra",
    "ha",
    "he",
    "hi",
    "ho",
    "i",
    "ja",
    "je",
    "jo",
    "ka",
    "ke",
    "ko",
    "la",
    "le",
    "li",
    "lo",
    "ma",
    "me",
    "mi",
    "mo",
    "na",
    "ne",
    "no",
    "o",
    "pa",
    "pe",
    "pi",
    "po",
    "ra",
    "re",
    "ri",
    "ro",
    "sa",
    "se",
    "si",
    "so",
    "ta",
    "te",
    "ti",
    "to",
    "u",
    "va",
    "ve",
    "vi",
    "wa",
    "we",
    "wi",
    "wo",
    "ya",
    "zo",
]
_MIDDLES = [
    "r",
    "l",
    "n",
    "m",
    "s",
    "t",
    "d",
    "k",
    "v",
    "b",
    "g",
    "f",
    "z",
    "st",
    "rt",
    "nd",
    "ld",
    "nk",
    "rs",
    "lm",
    "tt",
    "ss",
    "nn",
]
_NAME_ENDS = [
    "a",
    "o",
    "e",
    "ie",
    "us",
    "ik",
    "en",
    "an",
    "in",
    "is",
    "ert",
    "olf",
    "ine",
    "ette",
    "ina",
    "elle",
    "ar",
    "or",
]
_SURNAME_ENDS = [
    "man",
    "sen",
    "stra",
    "ker",
    "mans",
    "ink",
    "sma",
    "ga",
    "huis",
    "veld",
    "berg",
    "dijk",
    "meer",
    "kamp",
    "boer",
    "smit",
    "link",
    "vaart",
]
_NICKNAMES = {
    "johannes": ("jan", "hans", "johan", "joop"),
    "cornelis": ("kees", "cor"),
    "willem": ("wim", "pim"),
    "hendrik": ("henk", "rik"),
    "petrus": ("piet", "peter"),
    "jacobus": ("jaap", "koos"),
    "antonius": ("ton", "toon"),
    "theodorus": ("theo",),
    "robert": ("rob", "bob"),
    "maria": ("mieke", "ria"),
    "elisabeth": ("els", "lies"),
    "johanna": ("hanna", "joke"),
    "margaretha": ("greet",),
    "catharina": ("toos", "trijntje"),
    "wilhelmina": ("willy", "mina"),
    "geertruida": ("truus", "trudy"),
}
_SOURCES = ("crm", "shop", "pos", "newsletter")


@dataclass(frozen=True)
class Noise:
    """How badly the systems know people; shares of 1."""

    scale: float = 1.0
    no_birth_date: float = 0.66
    no_phone: float = 0.45
    no_email: float = 0.21
    no_address: float = 0.12
    moved: float = 0.15
    second_surname: float = 0.10
    typo: float = 0.04
    initials_only: float = 0.12
    no_first_name: float = 0.02
    nickname: float = 0.10
    swapped_date: float = 0.02
    default_date: float = 0.004
    junk_contact: float = 0.004
    family_email: float = 0.15
    family_mobile: float = 0.15
    twins: float = 0.015
    same_name_son: float = 0.01


def _words(rng: np.random.Generator, count: int, ends: list[str]) -> Strings:
    starts = np.asarray(_STARTS, dtype=object)
    middles = np.asarray(_MIDDLES, dtype=object)
    words = (
        rng.choice(starts, count * 3)
        + rng.choice(middles, count * 3)
        + rng.choice(np.asarray(["", "", "e", "a", "i"], dtype=object), count * 3)
        + rng.choice(np.asarray(ends, dtype=object), count * 3)
    )
    return np.asarray(list(dict.fromkeys(words))[:count], dtype=object)


def _zipf(rng: np.random.Generator, values: Strings, size: int, exponent: float) -> Strings:
    weights = 1.0 / np.arange(1, len(values) + 1) ** exponent
    return rng.choice(values, size, p=weights / weights.sum())


def _typo(rng: np.random.Generator, values: Strings, share: float) -> Strings:
    result = values.copy()
    hit = np.flatnonzero(rng.random(len(values)) < share)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for index in hit:
        text = result[index]
        if not text or len(text) < 3:
            continue
        at = int(rng.integers(1, len(text)))
        kind = rng.integers(4)
        if kind == 0:
            result[index] = text[:at] + text[at + 1 :]
        elif kind == 1:
            result[index] = text[:at] + letters[rng.integers(26)] + text[at:]
        elif kind == 2:
            result[index] = text[:at] + letters[rng.integers(26)] + text[at + 1 :]
        else:
            result[index] = text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
    return result


def _maybe(rng: np.random.Generator, values: Strings, missing: float) -> Strings:
    result = values.copy()
    result[rng.random(len(values)) < missing] = None
    return result


def population(persons: int, seed: int, noise: Noise | None = None) -> tuple[pa.Table, pa.Table]:
    """Make people and what four systems hold about them.

    Args:
        persons: How many people.
        seed: The same seed gives the same people.
        noise: Rates of error; default as measured on a Dutch retailer's kind of data.

    Returns:
        The linkage records, and the truth (record_id, person_id).
    """
    noise = noise or Noise()
    rng = np.random.default_rng(seed)
    bad = noise.scale
    given = np.concatenate(
        [np.asarray(list(_NICKNAMES), dtype=object), _words(rng, 900, _NAME_ENDS)]
    )
    surnames = _words(rng, max(2_000, persons // 12), _SURNAME_ENDS)
    streets = _words(rng, 3_000, ["straat", "weg", "laan", "plein", "hof"])
    towns = _words(rng, 300, ["dam", "veen", "drecht", "hoven", "wijk"])

    # People in households.
    size = rng.choice([1, 2, 3, 4, 5], persons, p=[0.36, 0.33, 0.12, 0.14, 0.05])
    household = np.repeat(np.arange(persons), size)[:persons]
    position = np.arange(persons) - np.searchsorted(household, household)
    homes = household.max() + 1
    first = _zipf(rng, given, persons, 0.75)
    gender = np.where(rng.random(persons) < 0.5, "male", "female").astype(object)
    surname = _zipf(rng, surnames, homes, 0.6)[household]
    own = (position == 1) & (rng.random(persons) < 0.45)
    other_surname = _zipf(rng, surnames, persons, 0.6)
    surname = np.where(own, other_surname, surname)
    adult = position < 2
    age_days = np.where(adult, rng.integers(22 * 365, 85 * 365, persons), 0)
    parent_age = age_days[np.searchsorted(household, household)]
    child = np.maximum(parent_age - rng.integers(22 * 365, 38 * 365, persons), 300)
    age_days = np.where(adult, age_days, child)
    mate = position == 1
    age_days = np.where(
        mate,
        np.clip(parent_age + rng.integers(-2000, 2000, persons), 20 * 365, None),
        age_days,
    )
    twin = (position >= 3) & (
        rng.random(persons) < noise.twins * persons / max((position >= 3).sum(), 1)
    )
    age_days = np.where(twin, np.roll(age_days, 1), age_days)
    son = (position == 2) & (rng.random(persons) < noise.same_name_son * 8)
    first = np.where(son, np.roll(first, 2), first)
    surname = np.where(son, np.roll(surname, 2), surname)
    birth = np.datetime64("2026-03-01") - age_days.astype("timedelta64[D]")

    def address(count: int) -> tuple[Strings, Strings, Strings, Strings]:
        street_at = rng.integers(len(streets), size=count)
        postal = 1000 + (street_at * 7919 + 13) % 8999
        letters = np.asarray([a + b for a in "ABCDEGHJ" for b in "KLMNPRST"], dtype=object)
        number = rng.integers(1, 180, count)
        code = postal.astype(str).astype(object) + letters[(street_at + number // 20) % 64]
        return streets[street_at], number.astype(str).astype(object), code, towns[street_at % 300]

    home = tuple(part[household] for part in address(homes))
    moved_to = address(persons)
    landline = (
        "+3110" + rng.integers(2_000_000, 9_999_999, homes).astype(str).astype(object)[household]
    )
    mobile = "+316" + rng.integers(10_000_000, 99_999_999, persons).astype(str).astype(object)
    domains = np.asarray(
        ["mail.example", "post.example", "thuis.example", "web.example"], dtype=object
    )
    tail = rng.integers(1, 999, persons).astype(str).astype(object)
    email = first + "." + surname + tail + "@" + rng.choice(domains, persons)
    family = "fam." + surname + household.astype(str).astype(object) + "@" + domains[household % 4]
    uses_family = rng.random(homes)[household] < noise.family_email
    email = np.where(uses_family, family, email)
    # Children are known by a parent's number and address.
    first_of_home = np.searchsorted(household, household)
    shares = (rng.random(persons) < noise.family_mobile) | (rng.random(persons) < 0.5) & ~adult
    mobile = np.where(shares, mobile[first_of_home], mobile)
    email = np.where((rng.random(persons) < 0.5) & ~adult, email[first_of_home], email)
    second = rng.choice(np.asarray(list("abcdefhjklmnprstw"), dtype=object), persons)
    second = np.where(rng.random(persons) < 0.6, second, "")
    has_moved = rng.random(persons) < noise.moved * bad
    renamed = rng.random(persons) < noise.second_surname * bad
    new_surname = np.where(
        rng.random(persons) < 0.5, surname + other_surname, _zipf(rng, surnames, persons, 0.6)
    )

    # Records: each person in one to six, spread over the systems.
    copies = rng.choice([1, 2, 3, 4, 5, 6], persons, p=[0.36, 0.31, 0.17, 0.10, 0.04, 0.02])
    who = np.repeat(np.arange(persons), copies)
    count = len(who)
    source = rng.choice(np.asarray(_SOURCES, dtype=object), count, p=[0.35, 0.3, 0.25, 0.1])
    key = rng.permutation(count).astype(str).astype(object)
    record_id = source + ":person:" + key

    first_name = first[who]
    nick = (rng.random(count) < noise.nickname * bad) & np.isin(first_name, list(_NICKNAMES))
    first_name[nick] = [
        _NICKNAMES[name][int(rng.integers(len(_NICKNAMES[name])))] for name in first_name[nick]
    ]
    first_name = _typo(rng, first_name, noise.typo * bad)
    initials = np.asarray([name[0] for name in first_name], dtype=object)
    official = np.asarray([name[0] for name in first[who]], dtype=object) + second[who]
    initials = np.where(rng.random(count) < 0.5, official, initials)
    only_initials = rng.random(count) < noise.initials_only * bad
    first_name[only_initials] = None
    neither = rng.random(count) < noise.no_first_name * bad
    first_name[neither] = None
    initials[neither] = None
    last_name = surname[who]
    late = renamed[who] & (rng.random(count) < 0.5)
    last_name = np.where(late, new_surname[who], last_name)
    maiden = np.where(late & (rng.random(count) < 0.3), surname[who], None)
    last_name = _typo(rng, last_name, noise.typo * bad)
    birth_date = birth[who].astype(object)
    swapped = np.flatnonzero(rng.random(count) < noise.swapped_date * bad)
    for index in swapped:
        date = birth_date[index]
        if date.day <= 12:
            birth_date[index] = date.replace(month=date.day, day=date.month)
    wrong = np.flatnonzero(rng.random(count) < noise.swapped_date * bad)
    for index in wrong:
        date = birth_date[index]
        birth_date[index] = date.replace(day=min(28, max(1, date.day + int(rng.integers(-9, 9)))))
    raw = birth_date.copy()
    raw[rng.random(count) < noise.no_birth_date] = None
    default = rng.random(count) < noise.default_date * bad
    raw[default] = np.datetime64("1970-01-01").astype(object)
    birth_date = raw.copy()

    at_new = has_moved[who] & (rng.random(count) < 0.5)
    street, number, code, town = (
        np.where(at_new, new[who], old[who]) for new, old in zip(moved_to, home, strict=True)
    )
    no_address = rng.random(count) < np.where(source == "newsletter", 1.0, noise.no_address)
    for part in (street, number, code, town):
        part[no_address] = None
    street = _typo(rng, street, noise.typo * bad)
    mail = _maybe(rng, email[who], noise.no_email)
    mail = np.where((source == "newsletter") & (mail == None), email[who], mail)  # noqa: E711
    work = first[who] + surname[who] + "@werk.example"
    mail = np.where((rng.random(count) < 0.12 * bad) & (mail != None), work, mail)  # noqa: E711
    mail = _typo(rng, mail, noise.typo * bad / 2)
    junk = rng.random(count) < noise.junk_contact * bad
    mail = np.where(junk, rng.choice(["info@winkel.example", "geen@mail.example"], count), mail)
    cell = _maybe(rng, mobile[who], noise.no_phone + 0.1)
    phone = _maybe(rng, landline[who], noise.no_phone + 0.25)
    cell = np.where(rng.random(count) < noise.junk_contact * bad, "+31612345678", cell)
    sex = _maybe(rng, gender[who], 0.3)
    loyal = (source == "pos") & (rng.random(count) < 0.6)
    deterministic = np.where(loyal, "loyalty:" + who.astype(str).astype(object), None)

    text = pa.string()
    nothing = pa.nulls(count, text)

    def column(values: Strings) -> pa.Array:
        return pa.array(values.tolist(), text)

    records = pa.table(
        {
            "record_id": column(record_id),
            "source": column(source),
            "entity": pa.array(["person"] * count, text),
            "first_name_std": column(first_name),
            "initials_std": column(initials),
            "infix_std": nothing,
            "last_name_std": column(last_name),
            "maiden_name_std": column(maiden),
            "full_name_std": nothing,
            "gender": column(sex),
            "birth_date": pa.array(birth_date.tolist(), pa.date32()),
            "birth_date_raw": pa.array(raw.tolist(), pa.date32()),
            "email_std": column(mail),
            "phone_std": column(phone),
            "mobile_phone_std": column(cell),
            "street_std": column(street),
            "house_number_std": column(number),
            "house_number_suffix_std": nothing,
            "postal_code_std": column(code),
            "city_std": column(town),
            "country_code": pa.array(["NL"] * count, text),
            "loyalty_number_std": nothing,
            "deterministic_key": column(deterministic),
            "linked_record_id": nothing,
            "company_record_id": nothing,
            "is_minor": pa.array((age_days[who] < 16 * 365).tolist(), pa.bool_()),
            "updated_at": pa.array([None] * count, pa.timestamp("us", tz="UTC")),
        }
    )
    truth = pa.table(
        {"record_id": column(record_id), "person_id": column(who.astype(str).astype(object))}
    )
    return records, truth
