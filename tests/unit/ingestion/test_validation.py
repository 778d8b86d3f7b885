"""What validation lets through, what it sets aside and why, and that its counts always balance."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.contracts import Column, Kind, NewColumns, Notation, Table
from ingestion.lines import read_lines
from ingestion.report import DoesNotBalance, TableCounts
from ingestion.validation import MAX_ROW_BYTES, Outcome, TableValidator, numbered
from klantbeeld.errors import KlantbeeldError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINES = Table(
    source="pos",
    name="lines",
    columns=(
        Column("store"),
        Column("number", Kind.INTEGER),
        Column("day", Kind.DATE),
        Column("amount", Kind.DECIMAL),
        Column("sort", allowed=("A", "B")),
    ),
    key=("store", "number"),
    notation=Notation.DUTCH,
    from_files=True,
)
HEADER = [column.name for column in LINES.columns]
ROWS = Table(
    source="shop",
    name="rows",
    columns=(
        Column("id", Kind.INTEGER),
        Column("name", max_bytes=20),
        Column("born", Kind.DATE),
        Column("price", Kind.DECIMAL),
        Column("is_on", Kind.BOOLEAN),
        Column("changed", Kind.MOMENT, is_required=True),
    ),
    key=("id",),
    cursor="changed",
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; attach ':memory:' as build")
        yield connection


def validator(con: duckdb.DuckDBPyConnection, table: Table, **options: Any) -> TableValidator:
    """A validator beside an empty raw table."""
    con.execute(f"use build; create schema if not exists {table.schema}")
    con.execute(f"drop table if exists {table.schema}.{table.name}; {table.ddl}; use memory")
    return again(con, table, **options)


def again(con: duckdb.DuckDBPyConnection, table: Table, **options: Any) -> TableValidator:
    """A validator beside the raw table as it is."""
    return TableValidator(con, table, latest=NOW, loaded_at=NOW, **options)


def apply(con: duckdb.DuckDBPyConnection, made: TableValidator) -> list[dict[str, Any]]:
    """Do to the raw table what the load would do; what was handed on."""
    table, rows = made.table, []
    for batch in made.batches():
        con.register("handed_on", batch)
        name = f"build.{table.schema}.{table.name}"
        same = " and ".join(f"r.{key} = h.{key}" for key in table.key)
        con.execute(f"delete from {name} r using handed_on h where {same}")
        con.execute(f"insert into {name} by name select * from handed_on where not _is_deleted")
        rows += batch.to_pylist()
    return rows


def add_lines(made: TableValidator, lines: list[str | None], file: str = "a.csv") -> None:
    made.add_lines(
        HEADER,
        pa.array(lines, pa.string()),
        pa.array([file] * len(lines)),
        numbered(len(lines), 2),
        pa.nulls(len(lines), pa.string()),
    )


def row(number: Any = 1, **values: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": "a",
        "born": None,
        "price": None,
        "is_on": None,
        "changed": "2026-03-01T10:00:00Z",
    } | values


def reasons(outcome: Outcome) -> list[str]:
    return list(outcome.quarantined.rows["reason"].to_pylist())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("s;2;31-02-2026;1,50;A", "wrong type: day is not a date (dd-mm-yyyy)"),
        ("s;2;2026-02-01;1,50;A", "wrong type: day is not a date (dd-mm-yyyy)"),
        ("s;2;01-02-2026;1.5;A", "wrong type: amount is not a number with a decimal comma"),
        ("s;2;01-02-2026;1,505;A", "wrong type: amount is not a number with a decimal comma"),
        ("s;2,5;01-02-2026;1;A", "wrong type: number is not a whole number"),
        ("s;2;01-02-2026;1;C", "wrong type: sort is none of A, B"),
        (";2;01-02-2026;1;A", "no key: store is empty"),
        (" ;2;01-02-2026;1;A", "no key: store is empty"),
        ("s;2;01-02-2026", "truncated line: 3 of 5 columns"),
        ("s;2;01-02-2026;1;A;x", "too many columns: 6 instead of 5"),
        ("s;2;01-02-2026;1;A\x00", "undecodable: not text"),
        (None, "undecodable: not text"),
        ("s;2;01-02-2026;1;" + "A" * MAX_ROW_BYTES, "oversized: the line is too long"),
        ("s" * 5000 + ";2;01-02-2026;1;A", "oversized: store"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_place_and_reason_and_the_good_ones_load(
    con: duckdb.DuckDBPyConnection, line: str | None, reason: str
) -> None:
    made = validator(con, LINES)
    add_lines(made, ["s;1;01-02-2026;1;A", line, "s;3;01-02-2026;1;B"])
    outcome = made.finish()
    assert outcome.counts == TableCounts(rows_read=3, rows_loaded=2, rows_quarantined=1)
    assert reasons(outcome) == [reason]
    assert outcome.quarantined.rows["position"].to_pylist() == ["a.csv:3"]
    assert [each["number"] for each in apply(con, made)] == [1, 3]


@pytest.mark.parametrize(
    ("line", "store", "amount"),
    [
        ("s;1;1-2-2026;1.234.567,80;A", "s", "1234567.80"),
        ("s;1;01-02-2026;-0,5;A", "s", "-0.50"),
        ('"s;1";1;01-02-2026;1;"A"', "s;1", "1.00"),
        ('"s ""x""";1;01-02-2026;1;A', 's "x"', "1.00"),
        ('5" pan;1;01-02-2026;1;A', '5" pan', "1.00"),
        (" s ;1;01-02-2026; 1 ;A", "s", "1.00"),
    ],
)
def test_a_line_is_read_as_a_till_means_it(
    con: duckdb.DuckDBPyConnection, line: str, store: str, amount: str
) -> None:
    made = validator(con, LINES)
    add_lines(made, [line])
    assert made.finish().counts.rows_loaded == 1
    (loaded,) = apply(con, made)
    assert (loaded["store"], str(loaded["amount"])) == (store, amount)


@pytest.mark.parametrize("delimiter", [",", "\t", "|"])
def test_fields_stand_between_the_delimiter_of_the_contract(
    con: duckdb.DuckDBPyConnection, delimiter: str
) -> None:
    made = validator(con, replace(LINES, delimiter=delimiter))
    line = delimiter.join([f'"s;{delimiter}1"', "1", "01-02-2026", "15", "A"])
    add_lines(made, [line])
    assert made.finish().counts.rows_loaded == 1
    assert [row["store"] for row in apply(con, made)] == [f"s;{delimiter}1"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": None}, "no key: id is empty"),
        ({"id": ""}, "no key: id is empty"),
        ({"id": "12.5"}, "wrong type: id is not a whole number"),
        ({"id": 2.5}, "wrong type: id is not a whole number"),
        ({"id": "9" * 19}, "wrong type: id is not a whole number"),
        ({"born": "2026-02-31"}, "wrong type: born is not a date (yyyy-mm-dd)"),
        ({"born": "infinity"}, "wrong type: born is not a date (yyyy-mm-dd)"),
        ({"price": "NaN"}, "wrong type: price is not a number with a decimal point"),
        ({"price": "1.005"}, "wrong type: price is not a number with a decimal point"),
        ({"is_on": "yes"}, "wrong type: is_on is not true or false"),
        ({"name": "a" * 21}, "oversized: name"),
        ({"changed": None}, "missing: changed is empty"),
        ({"changed": "2099-01-01T00:00:00Z"}, "wrong type: changed lies in the future"),
    ],
)
def test_a_bad_value_is_named_by_its_column_in_rows_and_in_documents(
    con: duckdb.DuckDBPyConnection, values: dict[str, Any], reason: str
) -> None:
    made = validator(con, ROWS)
    made.add_page([row(2, **values), row(3)])
    outcome = made.finish()
    assert (reasons(outcome), outcome.counts.rows_loaded) == ([reason], 1)
    as_text = {k: None if v is None else str(v) for k, v in row(2, **values).items()}
    made = validator(con, ROWS)
    made.add_rows(pa.Table.from_pylist([as_text], pa.schema([(k, pa.string()) for k in as_text])))
    assert reasons(made.finish()) == [reason]


def test_typed_columns_are_taken_without_loss_or_not_at_all(
    con: duckdb.DuckDBPyConnection,
) -> None:
    from decimal import Decimal

    made = validator(con, ROWS)
    made.add_rows(
        pa.table(
            {
                "id": pa.array([1, 2], pa.int32()),
                "price": pa.array([Decimal("1.500"), Decimal("1.505")], pa.decimal128(12, 3)),
                "changed": pa.array([NOW, NOW], pa.timestamp("us", "UTC")),
            }
        )
    )
    outcome = made.finish()
    assert reasons(outcome) == ["wrong type: price is not a number with a decimal point"]
    assert [str(each["price"]) for each in apply(con, made)] == ["1.50"]


def test_the_same_key_twice_keeps_the_latest_whatever_the_order(
    con: duckdb.DuckDBPyConnection,
) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1, name="new", changed="2026-03-01T11:00:00Z"), row(1, name="old")])
    made.add_page([row(2, name="first"), row(2, name="second")])
    assert made.finish().counts == TableCounts(rows_read=4, rows_loaded=2, rows_deduplicated=2)
    assert {each["name"] for each in apply(con, made)} == {"new", "second"}


def test_what_is_already_there_is_not_loaded_again(con: duckdb.DuckDBPyConnection) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1), row(2)])
    made.finish()
    apply(con, made)
    made = again(con, ROWS)
    made.add_page([row(1), row(2, name="b"), row(3)])
    assert made.finish().counts == TableCounts(rows_read=3, rows_loaded=2, rows_unchanged=1)
    assert {each["id"] for each in apply(con, made)} == {2, 3}


def test_null_and_a_text_are_different_rows(con: duckdb.DuckDBPyConnection) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1, name=None)])
    made.finish()
    apply(con, made)
    made = again(con, ROWS)
    made.add_page([row(1, name="null")])
    assert made.finish().counts.rows_loaded == 1


def test_deleted_rows_are_handed_on_as_deletions(con: duckdb.DuckDBPyConnection) -> None:
    made = validator(con, ROWS)
    made.add_page([row(number) for number in range(1, 6)])
    made.finish()
    apply(con, made)
    made = again(con, ROWS)
    made.add_page([row(5, name="b"), row(6)])
    made.delete(pa.table({"id": [2, 6]}))
    made.keep_only(pa.table({"id": [3, 4, 5]}))
    outcome = made.finish()
    # 6 was read and deleted within the load; 1 and 2 are gone.
    assert outcome.counts == TableCounts(
        rows_read=2, rows_loaded=1, rows_deduplicated=1, rows_deleted=2
    )
    apply(con, made)
    assert con.execute("select id from build.raw_shop.rows order by id").fetchall() == [
        (3,),
        (4,),
        (5,),
    ]


def test_a_row_that_came_back_after_its_deletion_stays(con: duckdb.DuckDBPyConnection) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1), row(2)])
    made.finish()
    apply(con, made)
    made = again(con, ROWS)
    made.add_page([row(1, name="back", changed="2026-03-01T11:30:00Z")])
    at = datetime(2026, 3, 1, 11, tzinfo=UTC)
    made.delete(pa.table({"id": [1, 2], "at": [at, at]}), at="at")
    assert made.finish().counts == TableCounts(rows_read=1, rows_loaded=1, rows_deleted=1)


def test_a_bad_row_does_not_delete_its_earlier_version(con: duckdb.DuckDBPyConnection) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1), row(2)])
    made.finish()
    apply(con, made)
    made = again(con, ROWS)
    made.add_page([row(1, born="31 February")])
    made.keep_only_read()
    assert made.finish().counts == TableCounts(rows_read=1, rows_quarantined=1, rows_deleted=1)
    apply(con, made)
    assert con.execute("select id, born from build.raw_shop.rows").fetchall() == [(1, None)]


def test_a_new_column_is_kept_out_and_named_or_loaded_as_text(
    con: duckdb.DuckDBPyConnection,
) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1, vip=True)])
    (note,) = made.finish().notes
    assert "kept out: vip" in note
    assert "contracts.py" in note
    assert "vip" not in apply(con, made)[0]
    made = validator(con, replace(ROWS, new_columns=NewColumns.EVOLVE))
    made.add_page([row(1), row(2, **{"Nieuwe kolom": 7})])
    (note,) = made.finish().notes
    assert "loaded as text: nieuwe_kolom" in note
    loaded = next(made.batches()).to_pylist()
    assert {each["id"]: each["nieuwe_kolom"] for each in loaded} == {1: None, 2: "7"}


def test_a_vanished_column_is_told_and_a_vanished_key_fails_the_table(
    con: duckdb.DuckDBPyConnection,
) -> None:
    made = validator(con, ROWS)
    made.add_page([{k: v for k, v in row(1).items() if k != "name"}])
    (note,) = made.finish().notes
    assert note == "rows: gone at the source and now empty in what is loaded: name."
    made = validator(con, ROWS)
    made.add_page([{k: v for k, v in row(1).items() if k != "id"}])
    with pytest.raises(KlantbeeldError, match="no longer has id"):
        made.finish()


def test_half_a_surrogate_pair_costs_one_row_and_not_the_page(
    con: duckdb.DuckDBPyConnection,
) -> None:
    made = validator(con, ROWS)
    made.add_page([row(1, name="\ud800"), row(2), row(3, name="a\u0000b")])
    outcome = made.finish()
    assert outcome.counts == TableCounts(rows_read=3, rows_loaded=1, rows_quarantined=2)


def test_earlier_quarantine_is_void_when_its_row_loads_or_its_place_says_something_else(
    con: duckdb.DuckDBPyConnection,
) -> None:
    made = validator(con, LINES)
    add_lines(made, ["s;1;01-02-2026;1;A", "s;2;31-02-2026;1;A", "s;4"])
    before = pa.table(
        {
            "quarantine_id": ["by key", "by place", "other text", "same", "elsewhere"],
            "position": ["b.csv:9", "a.csv:2", "a.csv:4", "a.csv:3", "c.csv:1"],
            "row_key": ["s|1", None, None, "s|2", "s|9"],
            "payload": ["x", "x", "x", ";".join(HEADER) + "\ns;2;31-02-2026;1;A", "x"],
        }
    )
    assert sorted(made.finish(before).superseded) == ["by key", "by place", "other text"]


def test_counts_that_do_not_balance_are_an_error() -> None:
    with pytest.raises(DoesNotBalance, match="3 rows read, 2 accounted for"):
        TableCounts(rows_read=3, rows_loaded=2).verify("t")


documents = st.one_of(
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "name", "changed", "born"]), inner, max_size=4)
        ),
        max_leaves=8,
    ).map(json.dumps),
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 3) | st.none() | st.text(max_size=3),
            "name": st.text(max_size=25),
            "price": st.floats() | st.none(),
            "changed": st.datetimes(timezones=st.just(UTC)).map(str)
            | st.just("2026-03-01T10:00:00Z"),
        }
    ).map(json.dumps),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(documents, max_size=6), max_size=3),
    gone=st.sets(st.integers(0, 3)),
)
def test_whatever_a_source_sends_is_accounted_for(
    con: duckdb.DuckDBPyConnection, batches: list[list[str]], gone: set[int]
) -> None:
    made = validator(con, ROWS)
    made.add_page([row(0), row(1)])
    made.finish()
    apply(con, made)
    made = again(con, ROWS)
    made.add_page([row(9)])  # a source of which no row has a key fails as a table
    for batch in batches:
        made.add_documents(pa.array([text.encode("utf-8", "replace").decode() for text in batch]))
    made.delete(pa.table({"id": pa.array(sorted(gone), pa.int64())}))
    counts = made.finish().counts
    assert counts.rows_read == 1 + sum(len(batch) for batch in batches)
    handed_on = apply(con, made)
    assert len(handed_on) == counts.rows_loaded + counts.rows_deleted
    ids = con.execute("select id from build.raw_shop.rows").fetchall()
    assert len(ids) == len(set(ids))
    assert not {number for (number,) in ids} & gone


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.lists(st.binary(max_size=60), max_size=8), ends=st.sampled_from([b"\n", b"\r\n"]))
def test_any_bytes_in_a_till_file_cost_no_good_line(
    con: duckdb.DuckDBPyConnection, junk: list[bytes], ends: bytes
) -> None:
    lines = [";".join(HEADER).encode()]
    for number, noise in enumerate(junk):
        lines += [b"good;%d;01-02-2026;1,00;A" % number, noise]
    lines.append(b"good;999;01-02-2026;1,00;A")
    read = read_lines(ends.join(lines) + ends)
    made = validator(con, LINES)
    count = len(read.text) - 1
    made.add_lines(
        HEADER, read.text[1:], pa.repeat(pa.scalar("f"), count), read.numbers[1:], read.raw[1:]
    )
    counts = made.finish().counts
    assert counts.rows_read == count
    loaded = {each["number"] for each in apply(con, made) if each["store"] == "good"}
    assert {*range(len(junk)), 999} <= loaded


def test_a_latin_1_file_is_read_and_a_broken_byte_in_a_utf_8_file_costs_one_line() -> None:
    assert read_lines("café\nReneé".encode("latin-1")).text.to_pylist() == ["café", "Reneé"]
    mixed = read_lines("één\ntweeën\n".encode() + b"dri\xeb\n")
    assert mixed.text.to_pylist() == ["één", "tweeën", None]
    assert mixed.raw.to_pylist() == [None, None, "dri\\xeb"]
    assert mixed.numbers.to_pylist() == [1, 2, 3]


def test_an_old_row_from_a_late_file_does_not_replace_a_newer_one(
    con: duckdb.DuckDBPyConnection,
) -> None:
    table = replace(ROWS, newest_wins=True)
    made = validator(con, table)
    made.add_page([row(1, name="new")])
    made.finish()
    apply(con, made)
    made = again(con, table)
    earlier = (datetime(2026, 3, 1, 10, tzinfo=UTC) - timedelta(days=1)).isoformat()
    made.add_page([row(1, name="old", changed=earlier)])
    assert made.finish().counts == TableCounts(rows_read=1, rows_deduplicated=1)


_TEXT_AT_THE_END_OF_ITS_MEMORY = """
import ctypes, sys
import duckdb, pyarrow as pa
from ingestion.contracts import Column, Kind, Notation
from ingestion.validation import parse_text

text, page = sys.argv[1].encode(), 4096
c = ctypes.CDLL(None)
c.mmap.restype = ctypes.c_void_p
c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
c.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
memory = c.mmap(None, 2 * page, 3, 0x22 if sys.platform == "linux" else 0x1002, -1, 0)
assert c.mprotect(memory + page, page, 0) == 0
start = memory + page - len(text)
ctypes.memmove(start, text, len(text))
offsets = pa.array([0, len(text)], pa.int32()).buffers()[1]
values = pa.StringArray.from_buffers(1, offsets, pa.foreign_buffer(start, len(text)))
given = pa.table({"x": values})
for kind in Kind:
    if kind is not Kind.TEXT:
        for notation in Notation:
            sql = parse_text(Column("c", kind), "x", notation)
            duckdb.execute(f"select {sql} from given").fetchall()
"""


@pytest.mark.parametrize("text", ["01-02-2026 08:30", "01-02-2026 08:30:00", "01-02-2026 08:3x"])
def test_reading_a_value_stays_within_its_memory(text: str) -> None:
    ran = subprocess.run([sys.executable, "-c", _TEXT_AT_THE_END_OF_ITS_MEMORY, text], check=False)
    assert ran.returncode == 0
