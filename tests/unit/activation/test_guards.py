"""The arithmetic of the guards, in exact integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from klantbeeld.activation.guards import (
    Limit,
    Limits,
    PlanCounts,
    emptied_reasons,
    reasons_to_hold,
    reasons_to_hold_export,
    upstream_reasons,
)


def test_the_limit_is_the_larger_of_the_two() -> None:
    limit = Limit(50, 1)
    assert not limit.is_exceeded(50, 50)
    assert limit.is_exceeded(51, 5_000)
    assert limit.is_exceeded(51, 5_099)
    assert not limit.is_exceeded(51, 5_100)
    assert not limit.is_exceeded(10_000, 1_000_000)
    assert limit.is_exceeded(10_001, 1_000_000)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 100))
def test_the_limit_is_exact(count: int, total: int, rows: int, percent: int) -> None:
    largest_allowed = max(rows, percent * total // 100)
    assert Limit(rows, percent).is_exceeded(count, total) == (count > largest_allowed)


def test_a_first_sync_is_held_by_its_own_limit_alone() -> None:
    def reasons(creates: int) -> list[str]:
        counts = PlanCounts(0, creates, creates=creates, is_first=True)
        return reasons_to_hold(counts, Limits(baseline=1_000))

    assert reasons(0) == []
    assert reasons(1_000) == []
    (reason,) = reasons(1_001)
    assert reason == "the first sync would make 1001 rows (more than 1000)"


def test_an_empty_model_is_held_however_small_the_destination() -> None:
    (reason,) = reasons_to_hold(PlanCounts(acknowledged=3, desired=0, deletes=3), Limits())
    assert reason == "the model is empty, while the destination holds 3 rows"


def test_deletes_are_counted_even_when_the_model_does_not_shrink() -> None:
    counts = PlanCounts(acknowledged=1_000, desired=1_000, deletes=51)
    (reason,) = reasons_to_hold(counts, Limits())
    assert reason.startswith("51 of 1000 rows would be deleted within 7 days")


def test_deletes_of_the_days_before_count_and_are_part_of_what_there_was() -> None:
    def reasons(deletes: int, before: int) -> list[str]:
        counts = PlanCounts(10_000, 10_000, deletes=deletes, deleted_before=before)
        return reasons_to_hold(counts, Limits())

    assert reasons(101, 100) == [], "101 of 10,100 is no more than a percent"
    (reason,) = reasons(102, 100)
    assert reason.startswith("102 of 10100 rows would be deleted")


def test_creates_and_updates_have_limits_of_their_own() -> None:
    limits = Limits(creates=Limit(5, 10), updates=Limit(5, 20))
    counts = PlanCounts(110, 110, creates=11, created_before=10, updates=22)
    (reason,) = reasons_to_hold(counts, limits)
    assert reason.startswith("11 of 100 rows would be made")
    counts = PlanCounts(110, 110, creates=10, created_before=10, updates=23)
    (reason,) = reasons_to_hold(counts, limits)
    assert reason.startswith("23 of 110 rows would be changed")


def test_a_model_that_shrinks_is_held_also_when_rows_are_kept() -> None:
    (reason,) = reasons_to_hold(PlanCounts(acknowledged=1_000, desired=900), Limits())
    assert reason.startswith("the model shrank from 1000 to 900 rows")


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_plan_without_deletes_or_shrinking_goes(acknowledged: int, more: int) -> None:
    assert reasons_to_hold(PlanCounts(acknowledged, acknowledged + more), Limits()) == []


def test_a_column_that_lost_its_values_is_named() -> None:
    limit = Limit(50, 50)
    assert emptied_reasons({"city": 100, "gone": 100}, {"city": 50}, limit) == []
    (reason,) = emptied_reasons({"city": 102}, {"city": 50}, limit)
    assert reason.startswith("column city has a value in 50 rows, and had one in 102")


def test_a_limit_that_cannot_be_judged_holds() -> None:
    (reason,) = upstream_reasons(None, {"raw_shop.orders": 5}, Limit())
    assert "cannot be compared" in reason


def test_an_audience_may_breathe_but_not_vanish() -> None:
    assert reasons_to_hold_export(0, None, 50) == []
    assert reasons_to_hold_export(50, 100, 50) == []
    assert reasons_to_hold_export(49, 100, 50) != []
    assert reasons_to_hold_export(0, 1, 100) != []
    assert reasons_to_hold_export(200, 100, 0) == []


def test_only_tables_of_sources_that_shrank_too_much_are_reasons() -> None:
    before = {
        "raw_shop.orders": 200,
        "raw_shop.returns": 60,
        "raw_crm.accounts": 4,
        "raw_pos.landed_files": 300,
        "raw_shop._dlt_loads": 9,
        "raw_shop_staging.orders": 200,
        "marts.dim_profiles": 500,
        "raw_web.events": 0,
    }
    now = {"raw_shop.orders": 149, "raw_shop.returns": 10, "marts.dim_profiles": 1}
    assert upstream_reasons(before, now, Limit(50, 1)) == [
        "raw_crm.accounts is empty, and held 4 rows when it was last sent",
        "raw_shop.orders shrank from 200 to 149 rows since it was last sent",
    ]
    assert upstream_reasons({}, now, Limit()) == []
