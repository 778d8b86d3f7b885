"""What a cell of an export looks like: safe in a spreadsheet, right for a platform."""

from __future__ import annotations

import hashlib

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klantbeeld.activation.destinations.csv_drop import cell_sql
from klantbeeld.activation.destinations.hashed_audience import Platform, email_sql, phone_sql

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
        ("generic", "0612345678", None),
        ("generic", None, None),
    ],
)
def test_a_telephone_number_is_normalised_as_the_platform_does(
    platform: Platform, value: str | None, expected: str | None
) -> None:
    assert one(phone_sql("v", platform), value) == expected


def test_the_hash_is_plain_sha_256() -> None:
    expected = hashlib.sha256(b"lotte@voorbeeld.example").hexdigest()
    assert one(f"sha256({email_sql('v', 'generic')})", "LOTTE@voorbeeld.example") == expected
