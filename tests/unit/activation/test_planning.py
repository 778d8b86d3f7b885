"""The plan against a model of it that is twenty lines of Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.activation import planning
from klantbeeld.activation.preflight import check_model
from klantbeeld.activation.specs import ColumnRule, PrivacyRule, SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash

HOME_KEY = bytes(range(32))
SPEC = SyncSpec(
    name="sync_crm__things",
    relation="things",
    destination="crm",
    entity="things",
    key="id",
    columns={"id": "x_id", "a": "x_a", "b": "x_b", "n": "x_n"},
    mode="mirror",
    on_leave="delete",
)
Rows = dict[str, tuple[str | None, str | None, int | None]]


@pytest.fixture(autouse=True, scope="module")
def _small_parts() -> Iterator[None]:
    """What is done by parts of many rows comes out whole, so parts of a few will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_PART", 4)
        patch.setattr(planning, "_SLICE", 2)
        yield


class Remembered:
    """A ledger that takes every plan as delivered."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, str, str]] = {}
        self.gone: dict[str, str] = {}
        self.created: set[str] = set()
        self.aside: list[tuple[str, ...]] = []
        self.about: dict[str, str] = {}

    def read(self, *names: str) -> dict[str, pa.Table]:
        acknowledged = [
            (key, digest, op_id, "1" if key in self.created else "0")
            for key, (digest, op_id, _) in self.rows.items()
        ]
        tables = {
            "acknowledged": _table(
                ("destination_key", "row_digest", "op_id", "is_created"), acknowledged
            ),
            "deleted": _table(("destination_key", "op_id"), list(self.gone.items())),
            "subjects": _table(("destination_key", "subjects"), list(self.about.items())),
        }
        return {name: tables[name] for name in names}

    def column_digests(self, keys: Iterable[str]) -> pa.Table:
        return _table(
            ("destination_key", "column_digests"), [(key, self.rows[key][2]) for key in keys]
        )

    def set_aside(self, give_up_after: int) -> pa.Table:
        return _table(("destination_key", "op_id", "fate"), self.aside)

    def take(self, rows: Iterable[planning.PlannedRow]) -> None:
        for row in rows:
            if row.operation in planning.LEAVING:
                del self.rows[row.key]
                self.gone[row.key] = row.op_id
            else:
                assert row.row_digest is not None
                self.created |= {row.key} if row.operation == "create" else set()
                self.rows[row.key] = (row.row_digest, row.op_id, row.column_digests)


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table(
        {n: pa.array(list(c), pa.string()) for n, c in zip(names, columns, strict=True)}
    )


def connect(rows: Rows) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": "1"})
    connection.execute("create table things (id varchar, a varchar, b varchar, n integer)")
    if rows:
        connection.executemany(
            "insert into things values (?, ?, ?, ?)",
            [[key, *values] for key, values in rows.items()],
        )
    return connection


def plan(
    rows: Rows, ledger: Remembered, spec: SyncSpec = SPEC
) -> tuple[planning.Plan, list[planning.PlannedRow]]:
    with connect(rows) as connection:
        made = planning.make_plan(connection, spec, ledger, home_key=HOME_KEY, epoch="0")
        batches = list(planning.planned_rows(connection, spec, HOME_KEY, 2))
        assert all(len(batch) <= 2 for batch in batches)
        return made, [row for batch in batches for row in batch]


texts = st.one_of(st.none(), st.sampled_from(["", "n", "1:a", "a", "b", "3:a|b", "é", "'"]))
states: st.SearchStrategy[Rows] = st.dictionaries(
    st.sampled_from(["k1", "k2", "k3", "k4", "k'5"]),
    st.tuples(texts, texts, st.one_of(st.none(), st.integers(-2, 2))),
    max_size=5,
)


@given(st.lists(states, min_size=1, max_size=4))
@settings(max_examples=25)
def test_any_history_plans_exactly_the_difference(history: list[Rows]) -> None:
    ledger = Remembered()
    there: Rows = {}
    op_ids: set[str] = set()
    for wanted in history:
        made, rows = plan(wanted, ledger)
        by_key = {row.key: row for row in rows}
        assert {k for k, r in by_key.items() if r.operation == "create"} == set(wanted) - set(there)
        assert {k for k, r in by_key.items() if r.operation == "delete"} == set(there) - set(wanted)
        for key in set(wanted) & set(there):
            differs = {
                name
                for name, new, old in zip(
                    ("x_a", "x_b", "x_n"), wanted[key], there[key], strict=True
                )
                if new != old
            }
            assert (key in by_key) == bool(differs)
            if differs:
                assert set(by_key[key].columns) == differs == set(by_key[key].values)
        assert made.operations == len(rows)
        assert made.unchanged == len(wanted) - made.creates - made.updates
        new_ids = {row.op_id for row in rows}
        assert not new_ids & op_ids, "a new change has a new id, also back and forth"
        op_ids |= new_ids
        ledger.take(rows)
        there = wanted
    assert plan(there, ledger)[0].operations == 0


@given(states, states)
@settings(max_examples=8)
def test_a_plan_is_the_same_however_often_it_is_made(before: Rows, wanted: Rows) -> None:
    ledger = Remembered()
    ledger.take(plan(before, ledger)[1])
    first, rows = plan(wanted, ledger)
    second, again = plan(dict(reversed(wanted.items())), ledger)
    assert first == second
    assert rows == again


def test_deletes_come_first() -> None:
    ledger = Remembered()
    ledger.take(plan({"a": ("1", None, 1), "z": ("1", None, 1)}, ledger)[1])
    _, rows = plan({"a": ("2", None, 1), "b": ("1", None, 1)}, ledger)
    assert [row.operation for row in rows] == ["delete", "update", "create"]


def test_the_ledger_shows_neither_values_nor_their_spread() -> None:
    _, rows = plan({f"k{n}": ("Ede", "Ede", 1) for n in range(20)}, Remembered())
    size = planning.CHUNK
    digests = {
        row.column_digests[place + planning.TAG_LENGTH : place + size]
        for row in rows
        for place in range(0, len(row.column_digests), size)
    }
    assert len(digests) == 60, "equal values of other rows and columns have other digests"


def test_a_new_key_of_the_home_changes_every_digest() -> None:
    wanted: Rows = {"k": ("Ede", None, 1)}
    with connect(wanted) as connection:
        planning.make_plan(connection, SPEC, Remembered(), home_key=b"x" * 32, epoch="0")
        (other,) = next(planning.planned_rows(connection, SPEC, b"x" * 32, 10))
    (row,) = plan(wanted, Remembered())[1]
    assert (row.row_digest, row.op_id) != (other.row_digest, other.op_id)
    assert row.column_digests[planning.TAG_LENGTH :] != other.column_digests[planning.TAG_LENGTH :]


def test_a_restored_home_gives_its_operations_other_ids() -> None:
    with connect({"k": ("Ede", None, 1)}) as connection:
        ids = []
        for epoch in ("0", "1"):
            planning.make_plan(connection, SPEC, Remembered(), home_key=HOME_KEY, epoch=epoch)
            ids.append(next(planning.planned_rows(connection, SPEC, HOME_KEY, 10))[0].op_id)
    assert ids[0] != ids[1]


def test_rows_that_leave_stay_when_the_sync_says_so() -> None:
    ledger = Remembered()
    ledger.take(plan({"k": ("1", None, 1)}, ledger)[1])
    made, rows = plan({}, ledger, replace(SPEC, mode="upsert", on_leave="nothing"))
    assert (made.deletes, rows) == (0, [])


def test_a_mirror_takes_away_only_what_it_made() -> None:
    ledger = Remembered()
    ledger.take(plan({"k": ("1", None, 1), "other": ("1", None, 1)}, ledger)[1])
    ledger.created.remove("other")
    made, (row,) = plan({}, ledger)
    assert (made.deletes, row.key) == (1, "k")


def test_leaving_can_mean_that_our_fields_are_emptied() -> None:
    ledger = Remembered()
    spec = replace(SPEC, mode="upsert", on_leave="clear", rules={"x_b": ColumnRule(owner="theirs")})
    ledger.take(plan({"k": ("1", "2", 1)}, ledger, spec)[1])
    _, (row,) = plan({}, ledger, spec)
    assert (row.operation, row.columns) == ("clear", ("x_a", "x_n"))


@pytest.mark.parametrize("mode", ["create_only", "append"])
def test_modes_that_change_nothing_plan_no_updates(mode: Any) -> None:
    spec = replace(SPEC, mode=mode, on_leave="nothing")
    ledger = Remembered()
    ledger.take(plan({"k": ("1", None, 1)}, ledger, spec)[1])
    made, rows = plan({"k": ("2", None, 1), "new": ("1", None, 1)}, ledger, spec)
    assert (made.creates, made.updates) == (1, 0)
    assert [row.key for row in rows] == ["new"]


def test_null_empty_and_absent_are_three_things() -> None:
    rules = {
        "x_a": ColumnRule(when_null="keep", when_empty="clear"),
        "x_b": ColumnRule(when_null="clear", when_empty="keep"),
    }
    spec = replace(SPEC, rules=rules)

    def sent(ledger: Remembered, a: str | None, b: str | None) -> dict[str, Any]:
        _, rows = plan({"k": (a, b, 1)}, ledger, spec)
        ledger.take(rows)
        return rows[0].values if rows else {}

    ledger = Remembered()
    assert sent(ledger, None, "") == {"x_n": 1}, "neither has a say when the row is made"
    assert sent(ledger, "Ede", "Ede") == {"x_a": "Ede", "x_b": "Ede"}
    assert sent(ledger, None, "") == {}, "what is kept is no change"
    assert sent(ledger, "Ede", "Ede") == {}, "and is still known when it comes back"
    ledger.take([])
    assert sent(ledger, "", None) == {"x_a": None, "x_b": None}


def test_what_was_refused_too_often_or_is_in_doubt_is_not_planned() -> None:
    ledger = Remembered()
    wanted: Rows = {"a": ("1", None, 1), "b": ("1", None, 1), "c": ("1", None, 1)}
    op_ids = {row.key: row.op_id for row in plan(wanted, ledger)[1]}
    ledger.aside = [("a", op_ids["a"], "given_up"), ("b", "another", "blocked")]
    made, rows = plan(wanted, ledger)
    assert (made.creates, made.given_up, made.blocked) == (1, 1, 1)
    assert [row.key for row in rows] == ["c"]
    changed, rows = plan({**wanted, "a": ("2", None, 1)}, ledger)
    assert {row.key for row in rows} == {"a", "c"}, "other data is another operation"
    assert changed.given_up == 0


def test_who_withdrew_leaves_first_and_the_plan_stays_the_same_plan() -> None:
    spec = replace(SPEC, privacy=PrivacyRule({"a": "email"}, "commercial"))
    ledger = Remembered()
    wanted: Rows = {"k1": ("ann@x.test", None, 1), "k2": ("bob@x.test", None, 1)}
    with connect(wanted) as connection:
        made = planning.make_plan(connection, spec, ledger, home_key=HOME_KEY, epoch="0")
        (batch,) = planning.planned_rows(connection, spec, HOME_KEY, 10)
    ledger.take(batch)
    ledger.about = {row.key: row.subjects for row in batch}
    gone = keyed_hash("ann@x.test", HOME_KEY)
    assert ledger.about["k1"] == gone

    def again(rows: Rows, *, refused: bool) -> tuple[planning.Plan, list[planning.PlannedRow]]:
        with connect(rows) as connection:
            connection.execute("create temp table _no as select ? as subject", [gone])
            made = planning.make_plan(
                connection, spec, ledger, home_key=HOME_KEY, epoch="0",
                refused="_no" if refused else None,
            )  # fmt: skip
            planning.hold(connection)
            return made, [
                row for b in planning.planned_rows(connection, spec, HOME_KEY, 10) for row in b
            ]

    changed: Rows = {"k1": ("ann@x.test", "new", 1), "k2": ("bob@x.test", "new", 1)}
    before, _ = again(changed, refused=False)
    after, rows = again(changed, refused=True)
    assert before.digest == after.digest
    assert (after.updates, after.cancelled, after.withdrawals) == (1, 1, 1)
    assert [(row.key, row.operation) for row in rows] == [("k1", "delete")], "though it is held"
    vanished, rows = again({"k2": ("bob@x.test", None, 1)}, refused=True)
    assert (vanished.deletes, vanished.withdrawals) == (0, 1), "its row in the ledger says who"
    assert made.creates == 2


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("k", "1"), ("k", "2")], "id is not unique (1 rows too many), such as k"),
        ([(None, "1")], "1 of 1 rows have no id"),
        ([("", "1")], "1 of 1 rows have no id"),
    ],
)
def test_a_key_that_is_no_key_is_refused(rows: list[Any], problem: str) -> None:
    with connect({}) as connection:
        connection.executemany("insert into things values (?, ?, null, null)", rows)
        with pytest.raises(KlantbeeldError) as caught:
            check_model(connection, SPEC)
    assert problem in caught.value.message
