"""The linkage model: what is compared, what each level is worth, and who meets whom.

Here: the comparisons and the named blocking rules (structure, in code) and `LinkageModel`
(parameters, a versioned JSON file without personal values). Not here: estimating parameters
(`training`), using them (`linking`).

A pair is weighed against two alternatives. Splink weighs "the same person" against "two strangers"
(`m` against `u`). Households break its assumption that the columns err independently: people at one
address share surname, landline and sometimes e-mail. So every level has a third probability, `h`:
how often two different people who share a household or a contact point show that level. Splink's
weight and the weight against housemates are then combined, and a contradiction in first name or
birth date counts as much as the data say it should, never as an absolute bar.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from klantbeeld.errors import KlantbeeldError

FORMAT: Final = 1
DEFAULT_VERSION: Final = "default-1"


@dataclass(frozen=True)
class Level:
    """One level of a comparison; the first whose condition holds applies.

    Attributes:
        name: The level's name, unique in its comparison.
        condition: SQL over `<column>_l` and `<column>_r`, or `ELSE`.
        label: For people.
        term_frequency: The column whose frequent values count for less at this level.
    """

    name: str
    condition: str
    label: str
    term_frequency: str | None = None


@dataclass(frozen=True)
class Comparison:
    """One thing that two records are compared on.

    Attributes:
        name: The comparison's name.
        missing: SQL that holds if there is nothing to compare.
        levels: Strongest agreement first; the last is `ELSE`.
        is_contact: Whether housemates share it: it says where someone can be reached, not who
            someone is.
    """

    name: str
    missing: str
    levels: tuple[Level, ...]
    is_contact: bool = False


@dataclass(frozen=True)
class BlockingRule:
    """Two records are compared if they agree on all of a rule's keys.

    Attributes:
        name: The rule's name, as shown in reports and in `match_key`.
        keys: SQL expressions over the columns of one record.
        pairs_per_record: The rule's budget. Its largest blocks, which say least, are left out
            first.
        is_extra: Whether it is only used while the total budget lasts.
    """

    name: str
    keys: tuple[str, ...]
    pairs_per_record: float
    is_extra: bool = False


SAME: Final = "same"
ELSE: Final = "else"


def _similar(column: str, threshold: float) -> str:
    return f"jaro_winkler_similarity({column}_l, {column}_r) >= {threshold}"


def _one_edit(column: str, least_similar: float = 0.7) -> str:
    """SQL for "one letter left out, added, replaced, or two swapped".

    The distance of two texts costs ten times what else they are compared by, so it is asked only
    where similarity leaves it possible: one edit of a text of four letters leaves .74 of it and
    more, of three letters .55.
    """
    left, right = f"{column}_l", f"{column}_r"
    return (
        f"abs(length({left}) - length({right})) <= 1 "
        f"and jaro_similarity({left}, {right}) >= {least_similar} "
        f"and damerau_levenshtein({left}, {right}) <= 1"
    )


# With a slip in either name; letters are compared only where one name can begin with the other's.
REVERSED: Final = (
    "(left(first_name_l, 1) = left(surname_r, 1) or left(surname_l, 1) = left(first_name_r, 1)) "
    "and jaro_winkler_similarity(first_name_l, surname_r) >= 0.88 "
    "and jaro_winkler_similarity(surname_l, first_name_r) >= 0.88"
)


FIRST_NAME = Comparison(
    "first_name",
    "initial_l is null or initial_r is null",
    (
        Level(SAME, "first_name_l = first_name_r", "same first name", "first_name"),
        Level("variant", "name_root_l = name_root_r", "variants of one name"),
        Level(
            "close",
            "length(first_name_l) >= 3 and length(first_name_r) >= 3 and "
            f"({_similar('first_name', 0.88)} "
            f"or ({_one_edit('first_name', 0.55)}) "
            "or starts_with(first_name_l, first_name_r) "
            "or starts_with(first_name_r, first_name_l))",
            "close first names",
        ),
        Level("reversed", REVERSED, "first name and surname swapped"),
        # A surname alone is often written where a first name belongs.
        Level(
            "surname",
            "(surname_l is null and first_name_l in (surname_r, maiden_name_r)) "
            "or (surname_r is null and first_name_r in (surname_l, maiden_name_l))",
            "the surname of the other, without a first name",
        ),
        # Who is called Hans signs as J. (Johannes): the initial of either name will do.
        Level(
            "initial",
            "(first_name_l is null or first_name_r is null) and ("
            "initial_l in (initial_r, formal_initial_r, root_initial_r) "
            "or initial_r in (formal_initial_l, root_initial_l))",
            "same initial, one without a first name",
        ),
        Level("other_same_initial", "initial_l = initial_r", "other first name, same initial"),
        Level(
            "other_initial",
            "first_name_l is null or first_name_r is null",
            "other initial, one without a first name",
        ),
        Level(ELSE, "ELSE", "other first name"),
    ),
)

MIDDLE_INITIALS = Comparison(
    "middle_initials",
    "middle_initials_l is null or middle_initials_r is null",
    (
        Level(SAME, "middle_initials_l = middle_initials_r", "same further initials"),
        Level(
            "part",
            "starts_with(middle_initials_l, middle_initials_r) "
            "or starts_with(middle_initials_r, middle_initials_l)",
            "further initials of one begin those of the other",
        ),
        Level(ELSE, "ELSE", "other further initials"),
    ),
)

SURNAME = Comparison(
    "surname",
    "surname_l is null or surname_r is null",
    (
        Level(SAME, "surname_l = surname_r", "same surname", "surname"),
        Level(
            "maiden",
            "surname_l = maiden_name_r or maiden_name_l = surname_r "
            "or maiden_name_l = maiden_name_r",
            "the maiden name of the other",
        ),
        Level(
            "close",
            f"{_similar('surname', 0.92)} or (length(surname_l) >= 4 and length(surname_r) >= 4 "
            f"and {_one_edit('surname')})",
            "close surnames",
        ),
        Level(
            "part",
            "least(length(surname_l), length(surname_r)) >= 4 and "
            "(contains(surname_l, surname_r) or contains(surname_r, surname_l))",
            "one is part of the other (double name)",
        ),
        Level("reversed", REVERSED, "swapped names"),
        Level("alike", _similar("surname", 0.8), "surnames alike"),
        Level(ELSE, "ELSE", "other surname"),
    ),
)

BIRTH_DATE = Comparison(
    "birth_date",
    "birth_text_l is null or birth_text_r is null",
    (
        Level(SAME, "birth_text_l = birth_text_r", "same birth date", "birth_text"),
        Level(
            "swapped",
            "birth_swapped_l = birth_text_r",
            "day and month swapped",
        ),
        Level(
            "one_digit",
            _one_edit("birth_text"),
            "one digit differs",
        ),
        Level(
            "two_parts",
            "left(birth_text_l, 7) = left(birth_text_r, 7) "
            "or right(birth_text_l, 5) = right(birth_text_r, 5) "
            "or (left(birth_text_l, 4) = left(birth_text_r, 4) "
            "and right(birth_text_l, 2) = right(birth_text_r, 2))",
            "two of day, month and year agree",
        ),
        Level("same_year", "left(birth_text_l, 4) = left(birth_text_r, 4)", "only the year agrees"),
        Level(ELSE, "ELSE", "other birth date"),
    ),
)

EMAIL = Comparison(
    "email",
    "email_l is null or email_r is null",
    (
        Level(SAME, "email_l = email_r", "same e-mail address"),
        # Two people called Jan de Vries both have jan.devries@: made of the name alone it says what
        # the name says.
        Level(
            "same_name",
            "length(email_name_l) >= 5 and email_name_l = email_name_r "
            "and (regexp_matches(email_name_l, '[0-9]') "
            "or not coalesce(contains(email_name_l, surname_l), false))",
            "same name at another mail domain",
        ),
        Level(
            "one_character",
            _one_edit("email"),
            "one character differs",
        ),
        Level("close", _similar("email", 0.92), "close e-mail addresses"),
        Level(ELSE, "ELSE", "other e-mail address"),
    ),
    is_contact=True,
)

PHONE = Comparison(
    "phone",
    "coalesce(mobile_l, landline_l) is null or coalesce(mobile_r, landline_r) is null",
    (
        Level("same_mobile", "mobile_l = mobile_r", "same mobile number"),
        Level(
            SAME,
            "landline_l = landline_r or mobile_l = landline_r or landline_l = mobile_r",
            "same landline number",
        ),
        Level(
            "not_comparable",
            "(mobile_l is null or mobile_r is null) and (landline_l is null or landline_r is null)",
            "a mobile number and a landline number",
        ),
        Level("other_landline", "mobile_l is null or mobile_r is null", "other landline number"),
        Level(ELSE, "ELSE", "other mobile number"),
    ),
    is_contact=True,
)

ADDRESS = Comparison(
    "address",
    "coalesce(address_key_l, postal_code_l, street_l, city_l) is null "
    "or coalesce(address_key_r, postal_code_r, street_r, city_r) is null",
    (
        Level(SAME, "address_key_l = address_key_r", "same address"),
        Level(
            "close",
            "house_number_l = house_number_r and ("
            f"length(postal_code_l) >= 4 and {_one_edit('postal_code')} "
            f"or length(street_l) >= 5 and {_similar('street', 0.92)})",
            "same house number, street or postal code close",
        ),
        Level(
            "same_postal_code", "postal_code_l = postal_code_r", "same postal code", "postal_code"
        ),
        Level("same_street", "length(street_l) >= 5 and street_l = street_r", "same street"),
        Level(
            "close_postal_code",
            f"length(postal_code_l) >= 5 and {_one_edit('postal_code')}",
            "one character of the postal code differs",
        ),
        Level("same_city", "city_l = city_r", "same city", "city"),
        Level(ELSE, "ELSE", "another place"),
    ),
    is_contact=True,
)

GENDER = Comparison(
    "gender",
    "gender_l is null or gender_r is null",
    (Level(SAME, "gender_l = gender_r", "same gender"), Level(ELSE, "ELSE", "other gender")),
)

COMPARISONS: Final = (
    FIRST_NAME,
    MIDDLE_INITIALS,
    SURNAME,
    BIRTH_DATE,
    EMAIL,
    PHONE,
    ADDRESS,
    GENDER,
)

# A surname alone is often written where a first name belongs.
_NAME: Final = "coalesce(surname, first_name)"

SAME_EMAIL = BlockingRule("SAME_EMAIL", ("email",), 1.0)
SAME_MOBILE = BlockingRule("SAME_MOBILE", ("mobile",), 1.0)
# A household shares its number: by itself it brought four strangers together for one match.
SAME_LANDLINE_AND_INITIAL = BlockingRule("SAME_LANDLINE_AND_INITIAL", ("landline", "initial"), 1.0)
SAME_SURNAME_AND_BIRTH_DATE = BlockingRule(
    "SAME_SURNAME_AND_BIRTH_DATE", (_NAME, "birth_text"), 2.5
)
SAME_FIRST_NAME_AND_BIRTH_DATE = BlockingRule(
    "SAME_FIRST_NAME_AND_BIRTH_DATE", ("name_root", "birth_text"), 2.0
)
SAME_ADDRESS_AND_INITIAL = BlockingRule("SAME_ADDRESS_AND_INITIAL", ("address_key", "initial"), 1.0)
SAME_NAME_AND_POSTAL_CODE = BlockingRule(
    "SAME_NAME_AND_POSTAL_CODE", ("surname", "initial", "postal_code"), 2.0
)
# Of a million people many bear one name: by itself this rule would make a third of all pairs. It
# gets what the others leave; rare names, which say most, come first.
SAME_FULL_NAME = BlockingRule("SAME_FULL_NAME", ("name_root", "surname"), 1.0, is_extra=True)
SAME_EMAIL_NAME = BlockingRule(
    "SAME_EMAIL_NAME", ("case when length(email_name) >= 6 then email_name end", "initial"), 0.3
)
SAME_BIRTH_DATE_AND_POSTAL_CODE = BlockingRule(
    "SAME_BIRTH_DATE_AND_POSTAL_CODE", ("birth_text", "postal_code"), 0.3
)
SAME_MAIDEN_NAME_AND_BIRTH_DATE = BlockingRule(
    "SAME_MAIDEN_NAME_AND_BIRTH_DATE", ("coalesce(maiden_name, surname)", "birth_text"), 0.3
)
SWAPPED_NAMES_AND_BIRTH_DATE = BlockingRule(
    "SWAPPED_NAMES_AND_BIRTH_DATE",
    ("least(first_name, surname)", "greatest(first_name, surname)", "birth_text"),
    0.3,
)
SAME_NAME_AND_CITY = BlockingRule("SAME_NAME_AND_CITY", ("name_root", "surname", "city"), 1.5)

_YEAR: Final = "left(birth_text, 4)"
_MONTH: Final = "left(birth_text, 7)"
_DAY: Final = "right(birth_text, 5)"


def _extra(name: str, *keys: str) -> BlockingRule:
    return BlockingRule(name, keys, 2.5, is_extra=True)


SAME_LANDLINE = _extra("SAME_LANDLINE", "landline")
SAME_ADDRESS = _extra("SAME_ADDRESS", "address_key")
SAME_BIRTH_DATE_AND_INITIAL = _extra("SAME_BIRTH_DATE_AND_INITIAL", "birth_text", "initial")
SAME_POSTAL_CODE_AND_SURNAME_START = _extra(
    "SAME_POSTAL_CODE_AND_SURNAME_START", "postal_code", f"left({_NAME}, 3)"
)
SAME_POSTAL_CODE_AND_FIRST_NAME = _extra(
    "SAME_POSTAL_CODE_AND_FIRST_NAME", "postal_code", "name_root"
)
SAME_SURNAME_AND_CITY = _extra("SAME_SURNAME_AND_CITY", _NAME, "city")
SAME_POSTAL_CODE_AND_BIRTH_YEAR = _extra("SAME_POSTAL_CODE_AND_BIRTH_YEAR", "postal_code", _YEAR)
SAME_NAME_STARTS_AND_BIRTH_YEAR = _extra(
    "SAME_NAME_STARTS_AND_BIRTH_YEAR", "left(surname, 3)", "left(first_name, 3)", _YEAR
)
SAME_SURNAME_AND_BIRTH_YEAR = _extra("SAME_SURNAME_AND_BIRTH_YEAR", "surname", _YEAR)
SAME_CITY_AND_BIRTH_DATE = _extra("SAME_CITY_AND_BIRTH_DATE", "city", "birth_text")
SAME_CITY_AND_NAME_STARTS = _extra(
    "SAME_CITY_AND_NAME_STARTS", "city", "left(surname, 3)", "left(first_name, 3)"
)
SAME_CITY_AND_BIRTH_MONTH_AND_INITIAL = _extra(
    "SAME_CITY_AND_BIRTH_MONTH_AND_INITIAL", "city", _MONTH, "initial"
)
SAME_CITY_AND_BIRTHDAY_AND_INITIAL = _extra(
    "SAME_CITY_AND_BIRTHDAY_AND_INITIAL", "city", _DAY, "initial"
)
SAME_NAME_AND_BIRTHDAY = _extra("SAME_NAME_AND_BIRTHDAY", "name_root", _DAY, "left(surname, 1)")
SAME_FIRST_NAME_AND_BIRTH_MONTH = _extra("SAME_FIRST_NAME_AND_BIRTH_MONTH", "name_root", _MONTH)
SAME_CITY_AND_FIRST_NAME_AND_BIRTH_YEAR = _extra(
    "SAME_CITY_AND_FIRST_NAME_AND_BIRTH_YEAR", "city", "name_root", _YEAR
)
SAME_FIRST_NAME_AND_SURNAME_INITIAL = _extra(
    "SAME_FIRST_NAME_AND_SURNAME_INITIAL", "first_name", "left(surname, 1)"
)
SAME_SURNAME_AND_INITIAL = _extra("SAME_SURNAME_AND_INITIAL", "surname", "initial")
SAME_POSTAL_CODE = _extra("SAME_POSTAL_CODE", "postal_code")
SAME_BIRTH_DATE = _extra("SAME_BIRTH_DATE", "birth_text")
SAME_CITY_AND_FIRST_NAME = _extra("SAME_CITY_AND_FIRST_NAME", "city", "name_root")
SAME_CITY_AND_BIRTH_YEAR = _extra("SAME_CITY_AND_BIRTH_YEAR", "city", _YEAR)
SAME_NAME_STARTS = _extra("SAME_NAME_STARTS", "left(surname, 4)", "left(first_name, 4)")

BLOCKING_RULES: Final = (
    SAME_EMAIL,
    SAME_MOBILE,
    SAME_LANDLINE_AND_INITIAL,
    SAME_SURNAME_AND_BIRTH_DATE,
    SAME_FIRST_NAME_AND_BIRTH_DATE,
    SAME_ADDRESS_AND_INITIAL,
    SAME_NAME_AND_POSTAL_CODE,
    SAME_EMAIL_NAME,
    SAME_BIRTH_DATE_AND_POSTAL_CODE,
    SAME_MAIDEN_NAME_AND_BIRTH_DATE,
    SWAPPED_NAMES_AND_BIRTH_DATE,
    SAME_NAME_AND_CITY,
    SAME_FULL_NAME,
    SAME_LANDLINE,
    SAME_ADDRESS,
    SAME_BIRTH_DATE_AND_INITIAL,
    SAME_POSTAL_CODE_AND_SURNAME_START,
    SAME_POSTAL_CODE_AND_FIRST_NAME,
    SAME_SURNAME_AND_CITY,
    SAME_POSTAL_CODE_AND_BIRTH_YEAR,
    SAME_NAME_STARTS_AND_BIRTH_YEAR,
    SAME_SURNAME_AND_BIRTH_YEAR,
    SAME_CITY_AND_BIRTH_DATE,
    SAME_CITY_AND_NAME_STARTS,
    SAME_CITY_AND_BIRTH_MONTH_AND_INITIAL,
    SAME_CITY_AND_BIRTHDAY_AND_INITIAL,
    SAME_NAME_AND_BIRTHDAY,
    SAME_FIRST_NAME_AND_BIRTH_MONTH,
    SAME_CITY_AND_FIRST_NAME_AND_BIRTH_YEAR,
    SAME_FIRST_NAME_AND_SURNAME_INITIAL,
    SAME_SURNAME_AND_INITIAL,
    SAME_POSTAL_CODE,
    SAME_BIRTH_DATE,
    SAME_CITY_AND_FIRST_NAME,
    SAME_CITY_AND_BIRTH_YEAR,
    SAME_NAME_STARTS,
)


@dataclass(frozen=True)
class Odds:
    """What one level is worth: its share among the same person, strangers, and housemates."""

    m: float
    u: float
    h: float


Parameters = Mapping[str, Mapping[str, Odds]]


@dataclass(frozen=True)
class LinkageModel:
    """The parameters of one model version.

    Attributes:
        version: Its name.
        parameters: Per comparison and level.
        matches_per_record: How many other records of the same person a record has, on average.
        housemates_per_match: How many pairs of housemates there are for each pair of the same
            person.
        namesakes: How often housemates bear the same first name beyond chance (father and son).
        is_generic: Whether it was trained on other data, so that it is fitted to the first records
            it is used on.
        adapted_from: The digest of the shipped model that it was fitted from, if it was.
        metrics: What was seen while training; counts and shares only.
    """

    version: str
    parameters: Parameters
    matches_per_record: float
    housemates_per_match: float
    namesakes: float = 0.01
    is_generic: bool = False
    adapted_from: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def prior(self, records: int) -> float:
        """The probability that two records drawn at random are of the same person."""
        return min(0.5, max(self.matches_per_record / max(records, 2), 1e-12))

    def splink_settings(self, records: int) -> dict[str, Any]:
        """The model as Splink 5 wants it."""
        return {
            "link_type": "dedupe_only",
            "unique_id_column_name": "id",
            "probability_two_random_records_match": self.prior(records),
            "retain_matching_columns": False,
            "retain_intermediate_calculation_columns": True,
            "blocking_rules_to_generate_predictions": [
                " and ".join(f"l.{key} = r.{key}" for key in rule.keys)
                for rule in (SAME_EMAIL, SAME_MOBILE)
            ],
            "comparisons": [self._splink_comparison(comparison) for comparison in COMPARISONS],
        }

    def _splink_comparison(self, comparison: Comparison) -> dict[str, Any]:
        levels: list[dict[str, Any]] = [
            {
                "sql_condition": comparison.missing,
                "is_null_level": True,
                "label_for_charts": "nothing to compare",
            }
        ]
        for level in comparison.levels:
            odds = self.parameters[comparison.name][level.name]
            entry: dict[str, Any] = {
                "sql_condition": level.condition,
                "label_for_charts": level.label,
                "m_probability": odds.m,
                "u_probability": odds.u,
            }
            if level.term_frequency:
                entry["tf_adjustment_column"] = level.term_frequency
            levels.append(entry)
        return {"output_column_name": comparison.name, "comparison_levels": levels}

    def with_version(self, version: str) -> "LinkageModel":
        """The same model under another name."""
        return replace(self, version=version)

    def to_json(self) -> str:
        """The model as a file's content."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": self.version,
                "matches_per_record": self.matches_per_record,
                "housemates_per_match": self.housemates_per_match,
                "namesakes": self.namesakes,
                "is_generic": self.is_generic,
                "adapted_from": self.adapted_from,
                "parameters": {
                    comparison.name: {
                        level.name: {
                            key: float(f"{value:.6g}")
                            for key, value in vars(
                                self.parameters[comparison.name][level.name]
                            ).items()
                        }
                        for level in comparison.levels
                    }
                    for comparison in COMPARISONS
                },
                "metrics": dict(self.metrics),
            },
            indent=1,
        )


def level_weight(odds: Odds) -> float:
    """Splink's weight of a level, in bits: the same person against strangers."""
    return math.log2(odds.m / odds.u)


def parse_model(content: str, where: str) -> LinkageModel:
    """Read a model file.

    Args:
        content: The file's text.
        where: The file's name, for messages.

    Raises:
        KlantbeeldError: It is not a model, or is one of other comparisons than this release has.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, expected {FORMAT}")
        parameters = {
            comparison.name: {
                level.name: Odds(**document["parameters"][comparison.name][level.name])
                for level in comparison.levels
            }
            for comparison in COMPARISONS
        }
        model = LinkageModel(
            version=document["version"],
            parameters=parameters,
            matches_per_record=float(document["matches_per_record"]),
            housemates_per_match=float(document["housemates_per_match"]),
            namesakes=float(document["namesakes"]),
            is_generic=bool(document["is_generic"]),
            adapted_from=str(document["adapted_from"]),
            metrics=document.get("metrics", {}),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise KlantbeeldError(
            f"{where} is not a linkage model of this release ({type(error).__name__}: {error})",
            "Train a new model, or promote another one.",
        ) from None
    for name, levels in parameters.items():
        for level_name, odds in levels.items():
            if not all(0 < value <= 1 for value in (odds.m, odds.u, odds.h)):
                raise KlantbeeldError(
                    f"{where}: {name}.{level_name} has a probability outside 0 to 1",
                    "Train a new model, or promote another one.",
                )
    return model


def default_model() -> LinkageModel:
    """The model that ships: trained on invented people, without personal values."""
    return parse_model(_shipped(), "the default model")


def default_digest() -> str:
    """A digest of the model that ships."""
    return hashlib.sha256(_shipped().encode()).hexdigest()[:16]


def _shipped() -> str:
    return files("klantbeeld.identity").joinpath("default_model.json").read_text()


def load_model(path: Path) -> LinkageModel:
    """Read a model version from its file."""
    try:
        content = path.read_text()
    except OSError as error:
        raise KlantbeeldError(
            f"the linkage model {path} cannot be read: {error.strerror}",
            "Restore it from a backup, or promote another model.",
        ) from None
    return parse_model(content, str(path))
