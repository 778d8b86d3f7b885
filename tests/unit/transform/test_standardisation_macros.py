"""The comparison columns: what each way of writing becomes, in DuckDB, case by case."""

import re
import unicodedata
from typing import Any

import duckdb
import pytest

from klantbeeld.records import record_id_sql
from klantbeeld.transform.rendering import load_macros
from tests.fixtures.dbt_macros import evaluate, evaluate_sql

PERSON_COLUMNS = [
    *("record_id", "first_name", "initials", "infix", "last_name", "maiden_name", "email", "phone"),
    *("mobile_phone", "street", "house_number", "house_number_suffix", "postal_code", "city"),
    *("country_code", "loyalty_number"),
]


def evaluate_cases(
    macro: str, cases: list[tuple[Any, Any]], *arguments: str
) -> list[tuple[Any, Any]]:
    """Each case's given value with what the macro makes of it."""
    given = [case[0] for case in cases]
    return list(zip(given, evaluate(macro, given, *arguments), strict=True))


def standardise(*persons: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the whole standardisation over a few persons, as the model does."""
    sql = load_macros()["standardise_persons"]("persons", "date '2026-03-01'", "'NL'")
    with duckdb.connect() as con:
        columns = ", ".join(f"{column} varchar" for column in PERSON_COLUMNS)
        con.execute(f"create table persons ({columns}, birth_date date)")
        for number, person in enumerate(persons):
            row = {"record_id": str(number), **person}
            marks = ", ".join("?" for _ in row)
            con.execute(
                f"insert into persons ({', '.join(row)}) values ({marks})", list(row.values())
            )
        result = con.execute(f"select * from ({sql}) order by cast(record_id as integer)")
        names = [column[0] for column in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


FOLDED: list[tuple[Any, Any]] = [
    ("José", "jose"),
    ("Jose\u0301", "jose"),
    ("ÅSA Łukasz Ðorđe", "asa lukasz dorde"),
    ("Weiß Æsa Œuvre ĲSSEL", "weiss aesa oeuvre ijssel"),
    ("Nguyễn Thị Ánh", "nguyen thi anh"),
    ("d’Ancona 't Hart", "dancona t hart"),
    ("Jansen–de Vries", "jansen-de vries"),
    ("Иванов", "иванов"),
    ("محمد", "محمد"),
    ("山田", "山田"),
    ("", ""),
    (None, None),
]


def test_fold_text() -> None:
    assert evaluate_cases("fold_text", FOLDED) == FOLDED


def test_fold_text_leaves_no_accent_of_a_european_letter() -> None:
    letters = [chr(code) for code in (*range(0xC0, 0x180), *range(0x1EA0, 0x1EFA))]
    decomposed = {
        letter: "".join(
            part
            for part in unicodedata.normalize("NFD", letter.lower())
            if not unicodedata.combining(part)
        )
        for letter in letters
    }
    plain = {letter: base for letter, base in decomposed.items() if re.fullmatch("[a-z]+", base)}
    assert len(plain) > 200
    assert dict(zip(plain, evaluate("fold_text", list(plain)), strict=True)) == plain


SURNAMES = [
    ("Jansen", "jansen", None, None),
    ("van der Berg", "berg", "van der", None),
    ("VAN DER BERG", "berg", "van der", None),
    ("Berg, van der", "berg", "van der", None),
    ("Berg van der", "berg", "van der", None),
    ("v.d. Berg", "berg", "v d", None),
    ("v/d Berg", "berg", "v d", None),
    ("vd Berg", "berg", "v d", None),
    ("'t Hart", "hart", "t", None),
    ("van ’t Hof", "hof", "van t", None),
    ("in 't Veld", "veld", "in t", None),
    ("ter Braak", "braak", "ter", None),
    ("'s-Gravesande", "gravesande", "s", None),
    ("van 's-Gravesande", "gravesande", "van s", None),
    ("Jansen-de Vries", "jansen", None, "vries"),
    ("Jansen - de Vries", "jansen", None, "vries"),
    ("van den Berg-van der Laan", "berg", "van den", "laan"),
    ("Jansen e/v de Vries", "jansen", None, "vries"),
    ("Jansen e.v. de Vries", "jansen", None, "vries"),
    ("Jansen geb. de Vries", "jansen", None, "vries"),
    ("Jansen/de Vries", "jansen", None, "vries"),
    ("Al-Hassan", "hassan", "al", None),
    ("El Amrani", "amrani", "el", None),
    ("O'Brien", "obrien", None, None),
    ("D’Angelo", "dangelo", None, None),
    ("von Müller", "muller", "von", None),
    ("García Márquez", "garciamarquez", None, None),
    ("Le", "le", None, None),
    ("Van Den", "vanden", "van den", None),
    ("Dr. Jansen", "jansen", None, None),
    ("Jansen 2", "jansen", None, None),
    ("Smith, Jr.", "smith", None, None),
    ("JONES III", "jones", None, None),
    ("Jr", "jr", None, None),
    ("-", None, None, None),
    ("-de Vries", "vries", "de", None),
    ("Иванов", "иванов", None, None),
    ("山田", "山田", None, None),
    ("", None, None, None),
    (None, None, None, None),
]


def test_surname() -> None:
    persons = standardise(*({"last_name": last_name} for last_name, *_ in SURNAMES))
    assert [
        (case[0], person["last_name_std"], person["infix_std"], person["maiden_name_std"])
        for case, person in zip(SURNAMES, persons, strict=True)
    ] == SURNAMES


def test_surname_is_the_same_wherever_the_infix_stands() -> None:
    persons = standardise(
        {"last_name": "Berg", "infix": "van der"},
        {"last_name": "van der Berg"},
        {"last_name": "Berg, van der"},
        {"last_name": "van der Berg", "infix": "van der"},
    )
    assert {(person["last_name_std"], person["infix_std"]) for person in persons} == {
        ("berg", "van der")
    }


def test_maiden_name_of_its_own_field_wins_and_is_no_copy_of_the_surname() -> None:
    field, same = standardise(
        {"last_name": "Jansen", "maiden_name": "de Vries"},
        {"last_name": "de Vries", "maiden_name": "De Vries"},
    )
    assert field["maiden_name_std"] == "vries"
    assert same["maiden_name_std"] is None


FIRST_NAMES = [
    ("Jan", None, "jan", "j"),
    ("Jan Willem", None, "jan willem", "jw"),
    ("Jean-Pierre", None, "jean pierre", "jp"),
    ("JAN", "J.P.", "jan", "jp"),
    ("J.P.", None, None, "jp"),
    ("J", None, None, "j"),
    ("Th.", None, None, "th"),
    ("Jo", None, "jo", "j"),
    ("Dhr. Jan", None, "jan", "j"),
    ("José", " j. m. ", "jose", "jm"),
    ("Юрий", None, "юрий", "ю"),
    ("", "", None, None),
    (None, None, None, None),
]


def test_first_name_and_initials() -> None:
    persons = standardise(*({"first_name": case[0], "initials": case[1]} for case in FIRST_NAMES))
    assert [
        (*case[:2], person["first_name_std"], person["initials_std"])
        for case, person in zip(FIRST_NAMES, persons, strict=True)
    ] == FIRST_NAMES


EMAILS: list[tuple[Any, Any]] = [
    (" Jan.Jansen@Example.COM ", "jan.jansen@example.com"),
    ("mailto:jan@example.com", "jan@example.com"),
    ("<jan@example.com>", "jan@example.com"),
    ("jan+shop@gmail.com", "jan+shop@gmail.com"),
    ("jan@müller.example", "jan@müller.example"),
    ("jan@sub.example.co.uk", "jan@sub.example.co.uk"),
    ("jan@example", None),
    ("jan@.com", None),
    ("jan@@example.com", None),
    ("jan jansen@example.com", None),
    ("a@example.com;b@example.com", None),
    ("jan.example.com", None),
    ("Onbekend@voorbeeld.example", None),
    ("mailto:geen-email@example.com", None),
    ("n.v.t.@example.com", None),
    ("noreply@example.com", None),
    ("x@example.com", None),
    ("xander@example.com", "xander@example.com"),
    ("info@example.com", "info@example.com"),
    ("n.v.t.", None),
    ("", None),
    (None, None),
]


def test_email() -> None:
    assert evaluate_cases("std_email", EMAILS) == EMAILS


PHONES: list[tuple[Any, str, Any]] = [
    ("06-12345678", "NL", "+31612345678"),
    ("06 12 34 56 78", "NL", "+31612345678"),
    ("0612345678", "NL", "+31612345678"),
    ("612345678", "NL", "+31612345678"),
    ("+31 (0)6 12345678", "NL", "+31612345678"),
    ("+31 06 12345678", "NL", "+31612345678"),
    ("0031612345678", "NL", "+31612345678"),
    ("0031 (0) 6 12345678", "NL", "+31612345678"),
    ("31612345678", "NL", "+31612345678"),
    ("(020) 123 45 67", "NL", "+31201234567"),
    ("(+31) 20 1234567", "NL", "+31201234567"),
    ("020\u20111234567", "NL", "+31201234567"),
    ("Tel. 020-1234567 toestel 12", "NL", "+31201234567"),
    ("020-1234567 ext. 4", "NL", "+31201234567"),
    ("020-1234567 #4", "NL", "+31201234567"),
    ("+32 475 12 34 56", "NL", "+32475123456"),
    ("0475 12 34 56", "BE", "+32475123456"),
    ("+44 (0)20 7946 0958", "NL", "+442079460958"),
    ("+39 06 698 12345", "NL", "+390669812345"),
    ("+1 (415) 555-0132", "NL", "+14155550132"),
    ("12345", "NL", None),
    ("0612345", "NL", None),
    ("06123456789", "NL", None),
    ("+31 6 123", "NL", None),
    ("0000000000", "NL", None),
    ("+0", "NL", None),
    ("onbekend", "NL", None),
    ("-", "NL", None),
    ("", "NL", None),
    (None, "NL", None),
]


def test_phone() -> None:
    persons = standardise(*({"mobile_phone": case[0], "country_code": case[1]} for case in PHONES))
    assert [
        (*case[:2], person["mobile_phone_std"])
        for case, person in zip(PHONES, persons, strict=True)
    ] == PHONES


def test_a_mobile_number_given_as_the_only_number_is_compared_with_mobile_numbers() -> None:
    only, both, landline = standardise(
        {"phone": "0612345678"},
        {"phone": "0612345678", "mobile_phone": "0687654321"},
        {"phone": "020 1234567"},
    )
    assert (only["phone_std"], only["mobile_phone_std"]) == (None, "+31612345678")
    assert (both["phone_std"], both["mobile_phone_std"]) == ("+31612345678", "+31687654321")
    assert (landline["phone_std"], landline["mobile_phone_std"]) == ("+31201234567", None)


def test_a_country_without_a_known_calling_code_dials_as_the_default() -> None:
    (person,) = standardise({"mobile_phone": "0612345678", "country_code": "ZZ"})
    assert person["mobile_phone_std"] == "+31612345678"


POSTAL_CODES: list[tuple[Any, str, Any]] = [
    ("1234ab", "NL", "1234AB"),
    (" 1234 AB ", "NL", "1234AB"),
    ("NL-1234 AB", "NL", "1234AB"),
    ("0234 AB", "NL", None),
    ("1234", "NL", None),
    ("1234", "BE", "1234"),
    ("SW1A 1AA", "GB", "SW1A1AA"),
    ("-", "DE", None),
    ("", "NL", None),
    (None, "NL", None),
]


def test_postal_code() -> None:
    persons = standardise(
        *({"postal_code": case[0], "country_code": case[1]} for case in POSTAL_CODES)
    )
    assert [
        (*case[:2], person["postal_code_std"])
        for case, person in zip(POSTAL_CODES, persons, strict=True)
    ] == POSTAL_CODES


HOUSE_NUMBERS = [
    ("12", None, "12", None),
    ("012", "bis", "12", "bis"),
    ("12", "3 HG", "12", "3hg"),
    ("12-3hg", None, "12", "3hg"),
    ("12 A", "2", "12", "a2"),
    ("no. 12", None, "12", None),
    (None, "a", None, "a"),
    ("", "", None, None),
    (None, None, None, None),
]


def test_house_number() -> None:
    persons = standardise(
        *({"house_number": case[0], "house_number_suffix": case[1]} for case in HOUSE_NUMBERS)
    )
    assert [
        (*case[:2], person["house_number_std"], person["house_number_suffix_std"])
        for case, person in zip(HOUSE_NUMBERS, persons, strict=True)
    ] == HOUSE_NUMBERS


ADDRESS_LINES = [
    ("Straat 12", "Straat", "12", None),
    ("Straat 12 bis", "Straat", "12", "bis"),
    ("Straat 12bis", "Straat", "12", "bis"),
    ("Straat 12-3", "Straat", "12", "3"),
    ("Straat 12 3", "Straat", "12", "3"),
    ("Straat 12 A 3", "Straat", "12", "A 3"),
    ("Straat 12 II", "Straat", "12", "II"),
    ("Laan 1940-1945 12-3hg", "Laan 1940-1945", "12", "3hg"),
    ("Plein 1944 12", "Plein 1944", "12", None),
    ("2e Jan Steenstraat 33-2", "2e Jan Steenstraat", "33", "2"),
    ("Straat 1234", "Straat", "1234", None),
    ("van der Hoopstraat 7 hs", "van der Hoopstraat", "7", "hs"),
    ("Straat, 12", "Straat", "12", None),
    ("12 Main Street", "Main Street", "12", None),
    ("12a, rue de la Paix", "rue de la Paix", "12a", None),
    ("Dorpsstraat", "Dorpsstraat", None, None),
    ("山手通り 5", "山手通り", "5", None),
    (None, None, None, None),
]


def _rows_of(macro: str, column: str, cases: list[tuple[Any, ...]], names: str) -> list[Any]:
    """What a macro that adds columns to a relation gives for each case's first value."""
    sql = load_macros()[macro]("given")
    with duckdb.connect() as con:
        con.execute(f"create table given (position integer, {column} varchar)")
        con.executemany(
            "insert into given values (?, ?)",
            [[number, case[0]] for number, case in enumerate(cases)],
        )
        return con.execute(f"select {column}, {names} from ({sql}) order by position").fetchall()


def test_address_line() -> None:
    rows = _rows_of(
        "split_address_lines", "address_line", ADDRESS_LINES,
        "street, house_number, house_number_suffix",
    )  # fmt: skip
    assert rows == ADDRESS_LINES


FULL_NAMES: list[tuple[Any, ...]] = [
    ("Jan van der Berg", "Jan", "van der Berg"),
    ("Berg, Jan van der", "Jan", "van der Berg"),
    ("van der Berg, Jan", "Jan", "van der Berg"),
    ("Berg van der, J.P.", "J.P.", "Berg van der"),
    ("Jansen-de Vries, Els", "Els", "Jansen-de Vries"),
    ("J.P. Jansen - de Vries", "J.P.", "Jansen-de Vries"),
    ("Anna-Maria de la Cruz-van Dijk", "Anna-Maria", "de la Cruz-van Dijk"),
    ("Piet Hein Jansen", "Piet Hein", "Jansen"),
    ("JAN VAN DEN BOS", "JAN", "VAN DEN BOS"),
    ("dhr. J. de Boer", "J.", "de Boer"),
    ("Mevr. van Dijk", None, "van Dijk"),
    ("van der Berg", None, "van der Berg"),
    ("Jan", None, "Jan"),
    ("Thomas Berg, baron van Ergens", "Thomas", "Berg"),
    ("Jansen, P.J. (Piet)", "Piet", "Jansen"),
    ("Linden, N.H. van der (Noor)", "Noor", "van der Linden"),
    ("P.J. (Piet) Jansen", "Piet", "Jansen"),
    ("Els Bos (overleden)", "Els", "Bos"),
    ("Wolters L.R.B.", "L.R.B.", "Wolters"),
    ("van den Berg J.", "J.", "van den Berg"),
    ("Berg J.P. van der", "J.P.", "van der Berg"),
    ("dhr. J.P.Jansen", "J.P.", "Jansen"),
    ("MÜLLER Jonas", "Jonas", "MÜLLER"),
    ("JPM Jansen", "JPM", "Jansen"),
    ("John Smith Jr.", "John", "Smith"),
    (" , ", None, None),
    ("", None, None),
    (None, None, None),
]


def test_full_name_in_one_text() -> None:
    rows = _rows_of("split_full_names", "full_name", FULL_NAMES, "first_name, last_name")
    assert rows == FULL_NAMES


ADDRESS_TEXTS: list[tuple[Any, ...]] = [
    ("Kerkstraat 12, 1234 AB Utrecht", "Kerkstraat 12", "1234 AB", "Utrecht"),
    ("Kerkstraat 12-3hg 1234AB Utrecht", "Kerkstraat 12-3hg", "1234AB", "Utrecht"),
    ("12 High Street, London, SW1A 1AA", "12 High Street", "SW1A 1AA", "London"),
    ("12 High Street, London", "12 High Street", None, "London"),
    ("Hauptstr. 5, 12345 Berlin", "Hauptstr. 5", "12345", "Berlin"),
    ("Kerkstraat 12", "Kerkstraat 12", None, None),
    ("12345 Main Street", "12345 Main Street", None, None),
    (None, None, None, None),
]


def test_address_in_one_text() -> None:
    rows = _rows_of(
        "split_address_texts", "address_text", ADDRESS_TEXTS, "address_line, postal_code, city"
    )
    assert rows == ADDRESS_TEXTS


SINGLE_VALUES: list[tuple[str, Any, Any]] = [
    ("std_street", "kerkstr.", "kerkstraat"),
    ("std_street", "hauptstrasse", "hauptstraat"),
    ("std_street", "laan 1940-1945", "laan19401945"),
    ("std_street", "", None),
    ("std_city", "den haag", "sgravenhage"),
    ("std_city", "s-gravenhage", "sgravenhage"),
    ("std_city", "alphen a/d rijn", "alphenadrijn"),
    ("std_city", "", None),
    ("std_city", None, None),
    ("std_code", " 0070-00001 ", "7000001"),
    ("std_code", "000", None),
    ("std_company_name", "bakkerij de ster b.v.", "bakkerijster"),
    ("std_company_name", "bakkerij de ster bv", "bakkerijster"),
    ("std_company_name", "muller & zn. holding", "muller"),
    ("std_company_name", "b.v.", None),
    ("std_company_name", None, None),
    ("std_company_name", "fietsenmaker cooperatie u.a.", "fietsenmaker"),
    ("std_kvk_number", "KvK 12.34.56.78", "12345678"),
    ("std_kvk_number", "1234567", "01234567"),
    ("std_kvk_number", "123456780002", "12345678"),
    ("std_kvk_number", "12345", None),
    ("std_kvk_number", "123456789", None),
    ("std_kvk_number", "", None),
    ("std_kvk_number", None, None),
    ("std_vat_number", "nl 1234.56.789.b01", "NL123456789B01"),
    ("std_vat_number", "123456789B01", "NL123456789B01"),
    ("std_vat_number", "BE 0123.456.789", "BE0123456789"),
    ("std_vat_number", "n.v.t.", None),
    ("std_vat_number", "123456789", None),
    ("std_vat_number", None, None),
    ("country_code", "Nederland", "NL"),
    ("country_code", "nl", "NL"),
    ("country_code", "België", "BE"),
    ("country_code", " at ", "AT"),
    ("country_code", "XX", "XX"),
    ("country_code", "Atlantis", None),
    ("country_code", "", None),
    ("country_code", None, None),
    ("clean_text", "  ", None),
    ("clean_text", " a ", "a"),
    ("standard_gender", "Vrouw", "female"),
    ("standard_gender", "Onbekend", None),
    ("standard_gender", "unknown code 9", None),
]


@pytest.mark.parametrize("macro", sorted({case[0] for case in SINGLE_VALUES}))
def test_single_values(macro: str) -> None:
    cases = [case[1:] for case in SINGLE_VALUES if case[0] == macro]
    assert evaluate_cases(macro, cases) == cases


BIRTH_DATES = [
    ("1981-04-03", True),
    ("1970-01-01", False),
    ("1900-01-01", False),
    ("2026-03-02", False),
    ("2026-03-01", True),
    ("1905-06-07", False),
    ("0001-01-01", False),
    (None, False),
]


def test_birth_date() -> None:
    given = [case[0] for case in BIRTH_DATES]
    results = evaluate("std_birth_date", given, "date '2026-03-01'", data_type="date")
    assert [
        (text, result is not None) for text, result in zip(given, results, strict=True)
    ] == BIRTH_DATES


def test_a_code_without_a_label_stays_visible() -> None:
    sql = load_macros()["decode_code"]("given", {"D": "defect"})
    assert evaluate_sql(sql, ["D", "Q", None]) == ["defect", "unknown code Q", None]


def test_record_ids_are_the_librarys() -> None:
    keys = ["1", "a:b", "50%", "%3A", None]
    own = evaluate_sql(load_macros()["record_id"]("crm", "contact", "given"), keys)
    library = evaluate_sql(record_id_sql("crm", "contact", "given"), keys)
    assert own == library


def test_default_variants_name_no_function_of_duckdb_alone() -> None:
    macros = load_macros("spark")
    sql = macros["standardise_persons"]("persons", "current_date", "'NL'")
    assert "regexp_matches" not in sql
    assert "strlen" not in sql
    assert "\\\\p{L}" in sql
