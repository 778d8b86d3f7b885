"""From raw tables to the standard model, with dbt's own commands on a few people written by hand.

The world is built once, with every data test and unit test of both stages, in a copy of the project
to which a source was added: its own files and nothing else.
"""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from klantbeeld.transform.registry import refresh
from tests.fixtures.dbt_world import DbtWorld
from tests.fixtures.raw_world import HAND_MADE, create_raw_world

KIOSK_LEADS = """
select
    'kiosk:visitor:1' as lead_id,
    'kiosk:visitor:1' as record_id,
    'kiosk' as source,
    'Proeverij' as subject,
    null as lead_source,
    null as status,
    null as company_name,
    timestamptz '2026-01-01 00:00:00+00' as created_at,
    timestamptz '2026-01-01 00:00:00+00' as updated_at
"""
CONTACT = "crm:contact:00000000-0000-4000-8000-00000000000"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """The project with one more source, and no warehouse yet."""
    copy = DbtWorld.create(tmp_path_factory.mktemp("harmonise"))
    source = copy.project / "models" / "intermediate" / "kiosk"
    source.mkdir()
    (source / "int_kiosk__leads.sql").write_text(KIOSK_LEADS)
    refresh(copy.project)
    return copy


@pytest.fixture(scope="module")
def empty_tables(copy: DbtWorld) -> dict[str, int]:
    """Rows per table when every source is off; run before the world, which then parses less."""
    build(copy, "run", {})
    rows = copy.query("select table_name, estimated_size from duckdb_tables()")
    return {name: size for name, size in rows if name.startswith("int_")}


@pytest.fixture(scope="module")
def world(copy: DbtWorld, empty_tables: dict[str, int]) -> DbtWorld:
    """The people written by hand, harmonised and tested."""
    del empty_tables
    build(copy, "build", HAND_MADE)
    return copy


def build(world: DbtWorld, command: str, tables: dict[str, list[dict[str, Any]]]) -> None:
    world.warehouse.unlink(missing_ok=True)
    create_raw_world(world.warehouse, tables)
    done = world.dbt(command, "--select", "staging", "intermediate")
    assert done.success, done.said[-3000:]


def test_all_tests_pass_and_the_unknown_code_is_the_only_warning(world: DbtWorld) -> None:
    results = world.artifact("run_results")["results"]
    statuses = Counter(result["status"] for result in results)
    assert set(statuses) == {"success", "pass", "warn"}
    assert statuses["pass"] > 90
    (warning,) = (result["unique_id"] for result in results if result["status"] == "warn")
    assert "known_labels_stg_crm__contacts" in warning


def test_one_person_of_four_systems_is_compared_by_the_same_values(world: DbtWorld) -> None:
    rows = world.query("""
        select entity, first_name_std, last_name_std, email_std, mobile_phone_std,
            postal_code_std, house_number_std, house_number_suffix_std, deterministic_key
        from intermediate.int_linkage_records
        where last_name_std = 'berg'
        order by entity
    """)
    email, mobile, card = "jose.vdberg@example.com", "+31655501234", "loyalty:7000001"
    address = ("1081AB", "12", "3hg")
    assert rows == [
        ("contact", "jose", "berg", email, mobile, *address, card),
        ("customer", "jose", "berg", email, mobile, *address, None),
        ("lead", None, "berg", email, None, None, None, None, None),
        ("member", None, "berg", None, mobile, *address, card),
        ("subscriber", "jose", "berg", email, None, None, None, None, None),
    ]


def test_the_original_values_stay_beside_the_compared_ones(world: DbtWorld) -> None:
    (row,) = world.query(f"""
        select persons.last_name, linkage.last_name_std, linkage.maiden_name_std,
            persons.birth_date is not null, linkage.birth_date, persons.email, linkage.email_std
        from intermediate.int_persons__unioned as persons
        inner join intermediate.int_linkage_records as linkage using (record_id)
        where persons.record_id = '{CONTACT}2'
    """)
    assert row == ("Jansen-de Vries", "jansen", "vries", True, None, "not an address", None)


def test_every_source_says_what_it_knows_of_consent(world: DbtWorld) -> None:
    rows = world.query("""
        select source, channel, purpose, status, count(*)
        from intermediate.int_consents__unioned group by all order by all
    """)
    assert rows == [
        ("crm", "email", "commercial", "granted", 1),
        ("crm", "phone", "commercial", "denied", 2),
        ("crm", "postal", "commercial", "granted", 1),
        ("newsletter", "email", "commercial", "granted", 1),
        # the address that bounced, for whatever purpose
        ("newsletter", "email", "commercial", "undeliverable", 1),
        ("newsletter", "email", "transactional", "undeliverable", 1),
        ("pos", "postal", "commercial", "granted", 1),
        ("shop", "email", "commercial", "denied", 1),
        ("shop", "email", "commercial", "granted", 1),
    ]


def test_a_receipt_is_one_order_at_its_moment_in_utc(world: DbtWorld) -> None:
    assert world.query("""
        select order_id, record_id, ordered_at, amount, line_count
        from intermediate.int_orders__unioned where source = 'pos' order by order_id
    """) == [
        (
            "pos:receipt:AMS01-1001",
            "pos:member:7000001",
            datetime(2026, 1, 10, 7, 15, tzinfo=UTC),
            Decimal("23.85"),
            2,
        ),
        (
            "pos:receipt:AMS01-1002",
            None,
            datetime(2026, 1, 10, 8, 0, tzinfo=UTC),
            Decimal("7.95"),
            1,
        ),
    ]


def test_the_timeline_has_every_system(world: DbtWorld) -> None:
    rows = world.query("""
        select channel, type, count(*) from intermediate.int_interactions__unioned
        group by all order by all
    """)
    assert rows == [
        ("crm", "contact_created", 2),
        ("crm", "lead_created", 1),
        ("email", "email_open", 1),
        ("shop", "order", 1),
        ("shop", "return", 1),
        ("till", "order", 1),
        ("till", "return", 1),
        ("web", "add_to_cart", 1),
        ("web", "log_in", 1),
        ("web", "page_view", 1),
    ]


def test_a_declared_column_is_carried_with_its_record_and_time(world: DbtWorld) -> None:
    assert world.query("select * from intermediate.int_carried_values__unioned") == [
        (
            f"{CONTACT}1",
            "favourite_category",
            "Koffie",
            datetime(2025, 6, 1, 9, tzinfo=UTC),
        )
    ]


def test_a_new_source_is_found_by_the_unions(world: DbtWorld) -> None:
    assert world.query(
        "select source, count(*) from intermediate.int_leads__unioned group by all order by all"
    ) == [("crm", 1), ("kiosk", 1)]


def test_sources_that_are_switched_off_leave_empty_tables(empty_tables: dict[str, int]) -> None:
    assert {"int_persons__unioned", "int_linkage_records", "int_consents__unioned"} <= set(
        empty_tables
    )
    assert set(empty_tables.values()) == {0}
