"""What a cell of an export looks like: safe in a spreadsheet, right for a platform."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klantbeeld.activation.destinations.files import cell_sql
from klantbeeld.activation.destinations.hashed_audience import (
    HashedAudience,
    Platform,
    email_sql,
    name_sql,
    phone_sql,
    place_sql,
)
from klantbeeld.activation.specs import AudienceSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import load_settings

CONNECTION = duckdb.connect(config={"threads": "1"})


def cell(value: str | None, column: str = "first_name") -> str | None:
    sql = f'select {cell_sql(column, "VARCHAR")} from (select $value::varchar as "{column}")'
    row = CONNECTION.execute(sql, {"value": value}).fetchone()
    assert row is not None
    return None if row[0] is None else str(row[0])


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", '=HYPERLINK("x")'],
)
def test_a_formula_gets_an_apostrophe(formula: str) -> None:
    shown = cell(formula)
    assert shown is not None
    assert shown.startswith("'")


@pytest.mark.parametrize("text", ["Lotte", "van der Berg-Smit", "'s-Hertogenbosch", "a=b", "", "3"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cell(text) == text
    assert cell(None) is None


def test_a_telephone_number_survives_in_its_own_column_only() -> None:
    assert cell("+31612345678", "phone") == "+31612345678"
    assert cell("+31612345678", "mobile_phone") == "+31612345678"
    assert cell("+31612345678") == "'+31612345678"
    assert cell("+31612345678+A1", "phone") == "'+31612345678+A1"
    assert cell("=1", "phone") == "'=1"


def test_numbers_and_dates_stay_as_they_are() -> None:
    sql = cell_sql("amount", "DECIMAL(14,2)")
    assert CONNECTION.execute(f"select {sql} from (select -12.50 as amount)").fetchall() == [
        ("-12.50",)
    ]


@given(st.text(max_size=20))
def test_no_text_at_all_is_ever_a_formula(text: str) -> None:
    if "\x00" in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        return
    shown = cell(text)
    assert shown is not None
    assert not shown.strip().startswith(("=", "+", "-", "@"))
    assert not any(ord(character) < 32 for character in shown)


def one(sql: str, value: str | None) -> str | None:
    row = CONNECTION.execute(
        f"select {sql} from (select $v::varchar as v)", {"v": value}
    ).fetchone()
    assert row is not None
    return None if row[0] is None else str(row[0])


@pytest.mark.parametrize(
    ("platform", "value", "expected"),
    [
        ("generic", " Lotte@Voorbeeld.Example ", "lotte@voorbeeld.example"),
        ("meta", "l.bedacht@gmail.com", "l.bedacht@gmail.com"),
        ("google", "L.Be.dacht@Gmail.com", "lbedacht@gmail.com"),
        ("google", "l.bedacht@googlemail.com", "lbedacht@googlemail.com"),
        ("google", "l.bedacht@voorbeeld.example", "l.bedacht@voorbeeld.example"),
        ("google", "l.bedacht+winkel@gmail.com", "lbedacht+winkel@gmail.com"),
        ("tiktok", "L. Bedacht@gmail.com", "l.bedacht@gmail.com"),
        ("generic", "no address", None),
        ("generic", "", None),
        ("generic", None, None),
    ],
)
def test_an_e_mail_address_is_normalised_as_the_platform_does(
    platform: Platform, value: str | None, expected: str | None
) -> None:
    assert one(email_sql("v", platform), value) == expected


@pytest.mark.parametrize(
    ("platform", "value", "expected"),
    [
        ("generic", "+31612345678", "+31612345678"),
        ("google", "+31 6 12345678", "+31612345678"),
        ("meta", "+31612345678", "31612345678"),
        ("tiktok", "+31 6 12345678", "+31612345678"),
        ("generic", "0612345678", None),
        ("generic", None, None),
    ],
)
def test_a_telephone_number_is_normalised_as_the_platform_does(
    platform: Platform, value: str | None, expected: str | None
) -> None:
    assert one(phone_sql("v", platform), value) == expected


@pytest.mark.parametrize(
    ("platform", "value", "expected"),
    [
        ("google", "  Zoë  d'Hondt ", "zoë d'hondt"),
        ("meta", " Jan-Willem d'Hondt. ", "janwillem dhondt"),
        ("google", "  ", None),
        ("meta", "-", None),
        ("meta", None, None),
    ],
)
def test_a_name_is_normalised_as_the_platform_does(
    platform: Platform, value: str | None, expected: str | None
) -> None:
    assert one(name_sql("v", platform), value) == expected


@pytest.mark.parametrize(
    ("platform", "column", "value", "expected"),
    [
        ("google", "country_code", "nl", "NL"),
        ("google", "postal_code", " 6711 AB ", "6711 AB"),
        ("meta", "country_code", "NL", "nl"),
        ("meta", "postal_code", "6711 AB", "6711ab"),
        ("meta", "city", "'s-Hertogenbosch", "shertogenbosch"),
        ("meta", "city", "", None),
    ],
)
def test_a_place_is_normalised_as_the_platform_does(
    platform: Platform, column: str, value: str, expected: str | None
) -> None:
    assert one(place_sql(column, "v", platform), value) == expected


def hashed(tmp_path: Path, platform: str, *columns: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """What a platform's file holds of two people, of whom the second has a postal code alone."""
    spec = AudienceSpec("a", "activation.a", "x", "email", "commercial", "us", columns)
    section = {
        "kind": "hashed_audience",
        "environment": "demo",
        "folder": str(tmp_path),
        "platform": platform,
    }
    settings = load_settings(home=tmp_path, environment="demo", destinations={"x": section})
    person = {
        "email": "Lotte@voorbeeld.example",
        "phone": None,
        "mobile_phone": "+31612345678",
        "first_name": "Lotte",
        "infix": "van der",
        "last_name": "Berg",
        "postal_code": "6711 AB",
        "country_code": "NL",
        "city": "Ede",
        "profile_id": "P1",
    }
    nobody = dict.fromkeys(person) | {"postal_code": "6711 AB", "infix": "van"}
    table = pa.Table.from_pylist([person, person, nobody])
    types = dict.fromkeys(person, "VARCHAR")
    names, select = HashedAudience(settings, spec).select(spec, types)
    CONNECTION.register("people", table)
    rows = CONNECTION.execute(f"with audience as (from people) {select}").fetchall()
    CONNECTION.unregister("people")
    return names, rows


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_each_platform_gets_its_headers_and_hashes(tmp_path: Path) -> None:
    email, phone = digest("lotte@voorbeeld.example"), digest("+31612345678")
    assert hashed(tmp_path, "tiktok", "email", "phone", "mobile_phone") == (
        ["Email_SHA256", "Phone_SHA256"],
        [(email, phone)],
    )
    columns = ("email", "first_name", "infix", "last_name", "country_code", "postal_code")
    assert hashed(tmp_path, "google", *columns) == (
        ["Email", "First Name", "Last Name", "Country", "Zip"],
        [(email, digest("lotte"), digest("van der berg"), "NL", "6711 AB")],
    )
    assert hashed(tmp_path, "meta", "mobile_phone", "last_name", "city", "country_code") == (
        ["phone", "ln", "ct", "country"],
        [(digest("31612345678"), digest("berg"), digest("ede"), digest("nl"))],
    )


@pytest.mark.parametrize(
    ("platform", "columns", "message"),
    [
        ("google", ("email", "profile_id"), "profile_id may not go"),
        ("tiktok", ("email", "first_name"), "first_name may not go"),
        ("google", ("email", "first_name", "last_name"), "matches an address by"),
        ("meta", ("city", "postal_code"), "nobody can be recognised"),
    ],
)
def test_columns_that_a_platform_cannot_use_are_refused(
    tmp_path: Path, platform: str, columns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(KlantbeeldError, match=message):
        hashed(tmp_path, platform, *columns)


def test_the_hash_is_plain_sha_256() -> None:
    expected = hashlib.sha256(b"lotte@voorbeeld.example").hexdigest()
    assert one(f"sha256({email_sql('v', 'generic')})", "LOTTE@voorbeeld.example") == expected
