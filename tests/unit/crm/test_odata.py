"""The query language: what is read, what is refused, and that SQL answers as OData says."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.crm.errors import CrmError
from demo.crm.odata import (
    Comparison,
    Filter,
    Junction,
    Members,
    Negation,
    Query,
    SkipToken,
    TextMatch,
    Value,
    after_sql,
    filter_sql,
    order_sql,
    parse_filter,
    parse_key,
    parse_prefer,
    parse_query,
)
from demo.crm.schema import CONTACT, CUSTOMER_PROFILE, Column

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NAMES = ("Jansen", "jansen", "De Vries", "O'Neil", "50%_\\x", None)


def column(name: str) -> Column:
    return CONTACT.by_name[name]


# A row of the table below: contactid, lastname, gendercode, birthdate.
COLUMNS = ("contactid", "lastname", "gendercode", "birthdate")
rows_strategy = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from([1, 2, 3, None]),
        st.sampled_from(["1970-01-01", "1999-12-31", None]),
    ),
    max_size=12,
)


def table(rows: list[tuple[Any, ...]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "create table contacts (contactid text, lastname text, gendercode int, birthdate text)"
    )
    numbered = [(f"{i:08x}-0000-0000-0000-000000000000", *row) for i, row in enumerate(rows)]
    connection.executemany("insert into contacts values (?, ?, ?, ?)", numbered)
    return connection


def leaf() -> st.SearchStrategy[Filter]:
    text = st.sampled_from([name for name in NAMES if name])
    return st.one_of(
        st.builds(
            Comparison,
            st.just(column("lastname")),
            st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]),
            text,
        ),
        st.builds(
            Comparison,
            st.just(column("gendercode")),
            st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]),
            st.integers(0, 4),
        ),
        st.builds(
            Comparison,
            st.sampled_from([column("birthdate"), column("lastname")]),
            st.sampled_from(["eq", "ne"]),
            st.none(),
        ),
        st.builds(
            TextMatch,
            st.just(column("lastname")),
            st.sampled_from(["contains", "startswith", "endswith"]),
            st.sampled_from(["an", "J", "%", "_", "\\", "'", "s"]),
        ),
        st.builds(
            Members,
            st.just(column("lastname")),
            st.lists(text, min_size=1, max_size=3).map(tuple),
        ),
    )


filters = st.recursive(
    leaf(),
    lambda inner: st.one_of(
        st.builds(Negation, inner),
        st.builds(
            Junction,
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=3).map(tuple),
        ),
    ),
    max_leaves=8,
)


def holds(condition: Filter, row: dict[str, Any]) -> bool:
    """What OData says: true or false, and null is equal to nothing but null."""
    match condition:
        case Negation(part):
            return not holds(part, row)
        case Junction(operator, parts):
            results = [holds(part, row) for part in parts]
            return all(results) if operator == "and" else any(results)
        case Comparison(over, operator, value):
            left, right = folded(row[over.name]), folded(value)
            if operator in ("eq", "ne"):
                return (left == right) is (operator == "eq")
            if left is None:
                return False
            return bool(
                {"gt": left > right, "ge": left >= right, "lt": left < right, "le": left <= right}[
                    operator
                ]
            )
        case TextMatch(over, function, text):
            found = folded(row[over.name])
            if found is None:
                return False
            wanted = text.lower()
            return bool(
                {
                    "contains": wanted in found,
                    "startswith": found.startswith(wanted),
                    "endswith": found.endswith(wanted),
                }[function]
            )
        case Members(over, values):
            return row[over.name] is not None and folded(row[over.name]) in map(folded, values)


def folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def written(condition: Filter) -> str:
    """The condition as a client would write it."""
    match condition:
        case Negation(part):
            return f"not ({written(part)})"
        case Junction(operator, parts):
            return "(" + f" {operator} ".join(written(part) for part in parts) + ")"
        case Comparison(over, operator, value):
            return f"{over.property_name} {operator} {literal(over, value)}"
        case TextMatch(over, function, text):
            return f"{function}({over.property_name},{literal(over, text)})"
        case Members(over, values):
            inside = ",".join(literal(over, value) for value in values)
            return (
                f"Microsoft.Dynamics.CRM.In(PropertyName='{over.property_name}',"
                f"PropertyValues=[{inside}])"
            )


def literal(over: Column, value: Value) -> str:
    if value is None:
        return "null"
    if over.name == "lastname":
        quoted = str(value).replace("'", "''")
        return f"'{quoted}'"
    return str(value)


@settings(max_examples=150, deadline=None)
@given(filters, rows_strategy)
def test_a_filter_selects_what_odata_says(condition: Filter, rows: list[tuple[Any, ...]]) -> None:
    parsed = parse_filter(CONTACT, written(condition))
    sql = filter_sql(parsed)
    connection = table(rows)
    found = connection.execute(
        f"select contactid from contacts as c where {sql.text}", sql.values
    ).fetchall()
    expected = [
        (f"{i:08x}-0000-0000-0000-000000000000",)
        for i, row in enumerate(rows)
        if holds(condition, dict(zip(COLUMNS[1:], row, strict=True)))
    ]
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(
    rows_strategy,
    st.lists(
        st.sampled_from(["lastname", "gendercode desc", "birthdate", "lastname desc"]),
        max_size=3,
        unique_by=lambda term: term.split()[0],
    ),
    st.integers(1, 4),
)
def test_pages_put_together_are_the_whole_list(
    rows: list[tuple[Any, ...]], terms: list[str], size: int
) -> None:
    connection = table(rows)
    query = parse_query(CONTACT, f"$orderby={','.join(terms)}" if terms else "")
    names = [order.column.name for order in query.order_by] + ["contactid"]
    select = f"select {', '.join(names)} from contacts as c"
    whole = connection.execute(f"{select} order by {order_sql(query)}").fetchall()
    paged: list[tuple[Any, ...]] = []
    where, values = "true", ()
    while True:
        page = connection.execute(
            f"{select} where {where} order by {order_sql(query)} limit {size}", values
        ).fetchall()
        if not page:
            break
        paged += page
        after = after_sql(query, page[-1])
        where, values = after.text, after.values
    assert paged == whole


@given(st.text(max_size=60))
def test_any_filter_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_filter(CONTACT, text)
    except CrmError:
        return
    sql = filter_sql(parsed)
    table([]).execute(f"select 1 from contacts as c where {sql.text}", sql.values)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("shoesize eq 4", "Could not find a property named 'shoesize'"),
        ("gendercode eq 'one'", "incompatible"),
        ("gendercode eq 1.5", "incompatible"),
        ("lastname eq 4", "incompatible"),
        ("birthdate eq 2001-02-30", "not a date"),
        ("gendercode like 1", "not an operator"),
        ("lastname gt null", "cannot be used with null"),
        ("contains(gendercode,'1')", "needs a text property"),
        ("lastname eq 'a' and", "ends too early"),
        ("(lastname eq 'a'", "ends too early"),
        ("lastname eq 'a') or true", "unexpected"),
        ("lastname eq 'a", "position"),
        ("(" * 80 + "gendercode eq 1" + ")" * 80, "nested too deep"),
        (" or ".join(["gendercode eq 1"] * 501), "maximum limit of 500"),
    ],
)
def test_a_filter_that_is_not_understood_is_refused(text: str, fragment: str) -> None:
    with pytest.raises(CrmError) as refusal:
        parse_filter(CONTACT, text)
    assert refusal.value.status == 400
    assert fragment in refusal.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("modifiedon ge 2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("modifiedon ge 2026-03-01T12:00:00+01:00", "2026-03-01T11:00:00Z"),
        ("modifiedon ge 2026-03-01", "2026-03-01T00:00:00Z"),
        (f"contactid eq {ID.upper()}", ID),
        (f"_parentcustomerid_value eq '{ID}'", ID),
        ("donotemail eq true", 1),
        ("lastname eq 'O''Neil'", "O'Neil"),
    ],
)
def test_literals_become_what_the_store_keeps(text: str, value: Value) -> None:
    parsed = parse_filter(CONTACT, text)
    assert isinstance(parsed, Comparison)
    assert parsed.value == value


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("ge", False), ("gt", False), ("le", True), ("lt", True), ("eq", False), ("ne", True)],
)
def test_a_fraction_of_a_second_lies_behind_the_whole_second(operator: str, expected: bool) -> None:
    sql = filter_sql(parse_filter(CONTACT, f"modifiedon {operator} 2026-03-01T12:00:00.5Z"))
    row = "(select '2026-03-01T12:00:00Z' as modifiedon)"
    found = (
        sqlite3.connect(":memory:")
        .execute(f"select {sql.text} from {row} as c", sql.values)
        .fetchone()[0]
    )
    assert bool(found) is expected


def test_query_options_are_read() -> None:
    query = parse_query(
        CONTACT,
        "$select=lastname,gendercode&$top=5&$count=true&$orderby=lastname desc"
        "&$expand=parentcustomerid_account($select=name)",
    )
    assert [column.name for column in query.columns] == ["lastname", "gendercode", "contactid"]
    assert (query.top, query.count, query.order_by[0].descending) == (5, True, True)
    assert [column.name for column in query.expand[0].select] == ["name", "accountid"]


@pytest.mark.parametrize(
    "text",
    [
        "$skip=5",
        "$search=x",
        "$top=-1",
        "$count=yes",
        "$select=nothing",
        "$orderby=lastname up",
        "$expand=nobody",
        "$top=1&$top=2",
    ],
)
def test_query_options_that_are_not_understood_are_refused(text: str) -> None:
    with pytest.raises(CrmError) as refusal:
        parse_query(CONTACT, text)
    assert refusal.value.status == 400


def test_a_skip_token_belongs_to_its_query() -> None:
    one = parse_query(CONTACT, "$orderby=lastname")
    other = parse_query(CONTACT, "$orderby=birthdate")
    token = SkipToken(one.signature(), ("a", ID))
    assert SkipToken.decode(token.encode(), one.signature()) == token
    for text, query in ((token.encode(), other), ("nonsense", one), ("", one), ("bnVsbA", one)):
        with pytest.raises(CrmError) as refusal:
            SkipToken.decode(text, query.signature())
        assert refusal.value.status == 400


def test_keys_are_primary_or_alternate() -> None:
    assert parse_key(CONTACT, ID).column.name == "contactid"
    for name in ("cdp_contactid", "_cdp_contactid_value"):
        key = parse_key(CUSTOMER_PROFILE, f"{name}={ID}")
        assert (key.column.name, key.value) == ("cdp_contactid", ID)
    for text in ("x", "lastname='a'", f"lastname={ID}"):
        with pytest.raises(CrmError):
            parse_key(CONTACT, text)


def test_preferences_are_read_and_told_back() -> None:
    prefer = parse_prefer(
        'odata.maxpagesize=50, odata.track-changes, odata.include-annotations="*", respond-async'
    )
    assert (prefer.page_size, prefer.track_changes, prefer.formatted_values) == (50, True, True)
    assert "respond-async" not in prefer.applied
    assert parse_prefer("return=representation").representation
    assert parse_prefer("odata.continue-on-error").continue_on_error
    assert not parse_prefer("odata.continue-on-error=false").continue_on_error
    assert parse_prefer("odata.maxpagesize=0").page_size is None


def test_links_keep_the_query() -> None:
    query: Query = parse_query(CONTACT, "$select=lastname&$filter=lastname%20eq%20'a%26b'")
    link = query.link(skiptoken="abc")
    again = parse_query(CONTACT, link)
    assert again.where == query.where
    assert again.skip_token == "abc"
