"""The two borders: what they find in a small warehouse, and that no finding holds a value."""

from collections.abc import Iterator

import duckdb
import pytest

from klantbeeld.quality import Severity
from klantbeeld.quality.egress import LeavingModel, check_egress
from klantbeeld.quality.landing import RawTable, check_landing
from orchestration.checks import _leaving

CONTACTS = RawTable("contacts", ("contactid",), ("contactid", "emailaddress1", "_loaded_at"))
AUDIENCE = LeavingModel(
    schema="activation",
    name="audience_test",
    key="contact_point_key",
    approved=frozenset({"email"}),
    internal=frozenset({"profile_id"}),
    channel="email",
    purpose="commercial",
)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute(
        """
        create schema raw_crm; create schema activation; create schema marts;
        create table raw_crm.contacts as
        select
            n::varchar as contactid, 'p' || n || '@voorbeeld.example' as emailaddress1,
            timestamptz '2026-03-01 00:00:00+00' as _loaded_at
        from range(5) as t(n);
        create table marts.dim_contact_points as
        select n::varchar as contact_point_key, 'email' as channel, n < 4 as is_commercial_allowed
        from range(5) as t(n);
        create table activation.audience_test as
        select
            n::varchar as contact_point_key, 'P' || n as profile_id,
            'p' || n || '@voorbeeld.example' as email
        from range(4) as t(n);
        """
    )
    yield connection
    connection.close()


def landing(con: duckdb.DuckDBPyConnection) -> dict[str, Severity]:
    result = check_landing(con, "crm", [CONTACTS])
    assert all("voorbeeld" not in str(finding) for finding in result.findings)
    return {finding.rule.column: finding.rule.severity for finding in result.findings}


def egress(con: duckdb.DuckDBPyConnection) -> dict[str, Severity]:
    result = check_egress(con, "egress_test", [AUDIENCE])
    assert all("voorbeeld" not in str(finding) for finding in result.findings)
    return {finding.rule.column: finding.rule.severity for finding in result.findings}


def test_good_tables_pass_both_borders(con: duckdb.DuckDBPyConnection) -> None:
    assert landing(con) == {}
    assert egress(con) == {}


def test_landing_blocks_on_double_and_empty_keys(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("insert into raw_crm.contacts select * from raw_crm.contacts limit 1")
    con.execute("insert into raw_crm.contacts values (null, null, now())")
    assert landing(con) == {"double_keys": Severity.BLOCKS, "empty_keys": Severity.BLOCKS}


def test_landing_blocks_on_a_column_that_is_not_there(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("alter table raw_crm.contacts drop column emailaddress1")
    assert landing(con) == {"missing_columns": Severity.BLOCKS}


def test_landing_warns_of_an_empty_table(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("delete from raw_crm.contacts")
    assert landing(con) == {"rows": Severity.WARNS}


def test_egress_blocks_on_a_withdrawn_consent(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "update marts.dim_contact_points set is_commercial_allowed = false "
        "where contact_point_key = '2'"
    )
    assert egress(con) == {"rows_without_consent": Severity.BLOCKS}


def test_egress_blocks_on_a_column_that_is_not_approved(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("alter table activation.audience_test add column birth_date date")
    assert egress(con) == {"unapproved_columns": Severity.BLOCKS}
    (finding,) = check_egress(con, "egress_test", [AUDIENCE]).findings
    assert str(finding).endswith("expected only approved columns, not birth_date")


def test_egress_blocks_on_double_keys_and_control_characters(
    con: duckdb.DuckDBPyConnection,
) -> None:
    con.execute("insert into activation.audience_test values ('1', 'P1', 'p1' || chr(9))")
    assert egress(con) == {
        "double_keys": Severity.BLOCKS,
        "control_characters": Severity.BLOCKS,
    }


def test_egress_blocks_on_a_model_that_is_not_there(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("drop table activation.audience_test")
    found = egress(con)
    assert found["exists"] is Severity.BLOCKS


def test_what_a_sync_needs_and_does_not_send_may_be_in_its_model() -> None:
    sync = {
        "key": "id",
        "columns": {"id": "ID", "name": "Name"},
        "updated_at": "changed_at",
        "privacy": {"contact_points": {"email": "email"}},
    }
    node = {"name": "sync_x", "schema": "activation", "config": {"meta": {"sync": sync}}}
    leaving = _leaving(node)
    assert leaving.approved == {"id", "name"}
    assert leaving.expected == {"id", "name", "changed_at", "email"}
