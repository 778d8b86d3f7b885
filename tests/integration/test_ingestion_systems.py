"""Shop, newsletter tool and CRM: real PostgreSQL and real HTTP, changing, failing and refusing."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import requests

from demo.shop import server as postgres
from demo.shop import store as shop
from klantbeeld.doctor import examine
from tests.fixtures.ingestion import Api, Home, serving

PASSWORD = "a-password-for-tests"
T = datetime(2026, 2, 1, tzinfo=UTC)


# ---- shop ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("shop")
    started = postgres.start(folder)
    shop.create(started.socket_folder, PASSWORD)
    yield folder
    postgres.stop(folder)
    postgres.remove_socket_folder(folder)


@pytest.fixture
def database(shop_folder: Path) -> Iterator[psycopg.Connection[Any]]:
    started = postgres.start(shop_folder)
    with psycopg.connect(
        host=str(started.socket_folder), user="postgres", dbname=shop.DATABASE, autocommit=True
    ) as connection:
        connection.execute("truncate customers cascade")
        connection.execute(
            "insert into customers (customer_id, email, first_name, last_name, newsletter_opt_in,"
            " created_at, updated_at)"
            " select i, 'p' || i || '@example.org', 'A', 'B', true, %s, %s + i * interval '1 hour'"
            " from generate_series(1, 200) i",
            (T, T),
        )
        yield connection


@pytest.fixture
def shop_home(tmp_path: Path, shop_folder: Path, database: Any) -> Home:
    values = {
        "host": str(postgres.socket_folder(shop_folder)),
        "database": shop.DATABASE,
        "user": postgres.READER,
        "password": PASSWORD,
    }
    return Home(tmp_path / "home", {"shop": values})


def test_the_shop_loads_by_change_and_sees_deletions(
    shop_home: Home, database: psycopg.Connection[Any]
) -> None:
    report = shop_home.load("shop")
    assert report.tables["customers"].rows_loaded == 200
    again = shop_home.load("shop")
    assert again.status == "unchanged"
    # The lag window only: the last hour, ends included.
    assert again.tables["customers"].rows_read == 2

    last = T + timedelta(hours=200)
    database.execute(
        "update customers set first_name = 'B', updated_at = %s where customer_id = 5",
        (last + timedelta(hours=1),),
    )
    # Committed late: its time lies before the last one seen, within the lag.
    database.execute(
        "update customers set first_name = 'C', updated_at = %s where customer_id = 6",
        (last - timedelta(minutes=30),),
    )
    database.execute("delete from customers where customer_id in (7, 8)")
    counts = shop_home.load("shop").tables["customers"]
    assert (counts.rows_loaded, counts.rows_deleted) == (2, 2)
    assert shop_home.rows(
        "select customer_id, first_name from raw_shop.customers where first_name <> 'A' order by 1"
    ) == [(5, "B"), (6, "C")]
    assert shop_home.rows("select count(*) from raw_shop.customers") == [(198,)]
    report = shop_home.load("shop")
    assert report.status == "unchanged", report
    # A reload reads everything, and finds nothing else.
    counts = shop_home.load("shop", reload=True).tables["customers"]
    assert (counts.rows_read, counts.rows_unchanged) == (198, 198)


def test_a_reload_brings_in_rows_that_changed_without_telling(
    shop_home: Home, database: psycopg.Connection[Any]
) -> None:
    shop_home.load("shop")
    database.execute("update customers set first_name = 'Silent' where customer_id = 1")
    report = shop_home.load("shop")
    assert report.status == "unchanged", report
    assert shop_home.load("shop", reload=True).tables["customers"].rows_loaded == 1
    assert shop_home.rows("select first_name from raw_shop.customers where customer_id = 1") == [
        ("Silent",)
    ]


@pytest.mark.parametrize("put_back", [False, True])
def test_a_build_without_the_rows_its_cursors_speak_of_gets_them_again(
    shop_home: Home, database: psycopg.Connection[Any], put_back: bool
) -> None:
    build = shop_home.settings.paths.build_file
    shop_home.load("shop")
    older = build.read_bytes()
    database.execute(
        "update customers set first_name = 'B', updated_at = %s where customer_id = 5",
        (T + timedelta(hours=400),),
    )
    shop_home.load("shop")
    build.unlink()
    if put_back:
        build.write_bytes(older)
    report = shop_home.load("shop")
    assert any("everything was read again" in note for note in report.notes)
    assert shop_home.rows(
        "select count(*), count(*) filter (first_name = 'B') from raw_shop.customers"
    ) == [(200, 1)]
    assert shop_home.load("shop").notes == ()


def test_a_value_nobody_expects_costs_one_row_and_never_the_table(
    shop_home: Home, database: psycopg.Connection[Any]
) -> None:
    shop_home.load("shop")
    at = T + timedelta(hours=300)
    database.execute(
        "update customers set birth_date = 'infinity', updated_at = %s where customer_id = 1", (at,)
    )
    database.execute("update customers set updated_at = %s where customer_id = 2", (at,))
    database.execute("update customers set updated_at = '2099-01-01' where customer_id = 3")
    report = shop_home.load("shop")
    counts = report.tables["customers"]
    assert (counts.rows_loaded, counts.rows_quarantined, report.new_quarantined) == (1, 2, 2)
    assert [row.reason for row in shop_home.quarantine("open")] == [
        "wrong type: birth_date is not a date (yyyy-mm-dd)",
        "wrong type: updated_at lies in the future",
    ]
    # Seen again: the same rows, not new ones.
    report = shop_home.load("shop")
    assert (report.new_quarantined, report.status) == (0, "unchanged")
    first, _ = shop_home.quarantine("open")
    assert first.last_seen_at > first.first_seen_at
    # The earlier versions are still there, and what follows is not hidden by the year 2099.
    assert shop_home.rows("select count(*) from raw_shop.customers") == [(200,)]
    later = at + timedelta(hours=1)
    database.execute(
        "update customers set birth_date = '1990-01-01', updated_at = %s where customer_id < 4",
        (later,),
    )
    assert shop_home.load("shop").tables["customers"].rows_loaded == 3
    assert {row.status for row in shop_home.quarantine()} == {"superseded"}


def test_the_shop_changes_shape(shop_home: Home, database: psycopg.Connection[Any]) -> None:
    shop_home.load("shop")
    try:
        database.execute("alter table customers add column vip boolean")
        database.execute("alter table customers rename column phone to telephone")
        database.execute("alter table returns rename column return_id to id")
        report = shop_home.load("shop")
        assert any("kept out: telephone, vip" in note for note in report.notes)
        assert any("now empty in what is loaded: phone" in note for note in report.notes)
        assert report.status == "failed"
        assert "returns" in report.message
        # One table fails, the others load.
        assert report.tables["customers"].rows_read > 0
    finally:
        database.execute("alter table customers drop column vip")
        database.execute("alter table customers rename column telephone to phone")
        database.execute("alter table returns rename column id to return_id")
    report = shop_home.load("shop")
    assert report.status == "unchanged", report


def test_a_wrong_password_a_missing_right_and_a_stopped_server_are_told(
    shop_home: Home,
    database: psycopg.Connection[Any],
    shop_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop_home.load("shop")
    shop_home.configure(shop={"password": "wrong-password"})
    report = shop_home.load("shop")
    assert report.status == "failed"
    assert "does not accept the password" in report.message
    assert "wrong-password" not in str(report)
    shop_home.configure(shop={"password": PASSWORD})
    database.execute(f"revoke select on orders from {postgres.READER}")
    report = shop_home.load("shop")
    assert "orders: user klantbeeld_reader may not read it" in report.message
    assert report.hint == "grant select on public.orders to klantbeeld_reader;"
    assert "customers" in report.tables
    database.execute(f"grant select on orders to {postgres.READER}")
    postgres.stop(shop_folder)
    try:
        report = shop_home.load("shop")
        assert report.status == "failed"
        assert "cannot be reached" in report.message
        assert shop_home.rows("select count(*) from raw_shop.customers") == [(200,)]
        found = doctor(shop_home, monkeypatch)
        assert "cannot be reached" in found["source shop"]
        assert "PostgreSQL cannot be reached" in found["load of shop"]
    finally:
        postgres.start(shop_folder)
    report = shop_home.load("shop")
    assert report.status == "unchanged", report
    found = doctor(shop_home, monkeypatch)
    assert "PostgreSQL answers" in found["source shop"]
    assert "load of shop" not in found


def doctor(home: Home, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in home.environment().items():
        monkeypatch.setenv(name, value)
    return {finding.check: finding.message for finding in examine()}


def test_a_load_of_the_shop_that_is_killed_loses_nothing(
    shop_home: Home, database: psycopg.Connection[Any]
) -> None:
    shop_home.load("shop")
    at = T + timedelta(hours=300)
    database.execute(
        "update customers set first_name = 'B', updated_at = %s where customer_id <= 50", (at,)
    )
    database.execute("delete from customers where customer_id > 190")
    shop_home.load_killed("shop", "ingestion.shop.extracted")
    # What changes in between is read by the load that finishes the killed one.
    database.execute(
        "update customers set first_name = 'C', updated_at = %s where customer_id <= 10",
        (at + timedelta(hours=9),),
    )
    report = shop_home.load("shop")
    assert any("finished a load" in note for note in report.notes)
    assert shop_home.rows(
        "select first_name, count(*) from raw_shop.customers group by all order by 1"
    ) == [("A", 140), ("B", 40), ("C", 10)]
    report = shop_home.load("shop")
    assert report.status == "unchanged", report


# ---- newsletter ---------------------------------------------------------------------------------


def subscriber(number: int, **values: Any) -> dict[str, Any]:
    at = (T + timedelta(minutes=number)).isoformat().replace("+00:00", "Z")
    return {
        "email": f"p{number}@example.org",
        "first_name": "A",
        "last_name": None,
        "status": "active",
        "created_at": at,
        "updated_at": at,
    } | values


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    made.pages["/v1/subscribers"] = [subscriber(number) for number in range(3)]
    yield made
    made.close()


@pytest.fixture
def news(tmp_path: Path, api: Api) -> Home:
    return Home(tmp_path / "home", {"newsletter": {"base_url": api.url, "token": "secret-token"}})


def test_the_newsletter_tool_is_paged_filtered_and_forgets(tmp_path: Path) -> None:
    from demo.newsletter import store
    from demo.newsletter.app import make_app

    database = tmp_path / "newsletter.db"
    store.create(database)
    count = 25
    emails = [f"P{i}@example.org" for i in range(count)]
    moments = [T + timedelta(hours=i) for i in range(count)]
    store.load(
        database,
        {
            "subscribers": pa.table(
                {
                    "email": emails,
                    "first_name": ["A"] * count,
                    "last_name": ["B"] * count,
                    "status": ["active"] * count,
                    "created_at": moments,
                    "updated_at": moments,
                }
            ),
            "events": pa.table(
                {
                    "event_id": [f"e{i}" for i in range(count)],
                    "email": emails,
                    "type": ["open"] * count,
                    "campaign_id": ["c"] * count,
                    "campaign_name": ["n"] * count,
                    "list_id": [1] * count,
                    "url": pa.nulls(count, pa.string()),
                    "occurred_at": moments,
                }
            ),
        },
    )
    store.add_indexes(database)
    with serving(make_app(database, "secret-token")) as url:
        home = Home(
            tmp_path / "home",
            {"newsletter": {"base_url": url, "token": "secret-token", "page_rows": 4}},
        )
        report = home.load("newsletter")
        assert report.tables["subscribers"].rows_loaded == count
        assert report.tables["events"].rows_loaded == count
        again = home.load("newsletter")
        assert (again.status, again.tables["subscribers"].rows_read) == ("unchanged", 2)
        with store.changes(database) as connection:
            gone = pa.table({"email": [emails[3]], "deleted_at": [T + timedelta(days=3)]})
            store.delete_subscribers(connection, gone)
        report = home.load("newsletter")
        assert report.tables["subscribers"].rows_deleted == 1
        assert report.tables["events"].rows_deleted == 1
        assert home.rows("select count(*) from raw_newsletter.events") == [(count - 1,)]
        keys = home.rows(
            "select subscriber_key, email from raw_newsletter.subscribers"
            " join raw_newsletter.events using (subscriber_key, email)"
        )
        assert len(keys) == count - 1
        assert not any("@" in key for key, _ in keys)
        # All of it again: the deletion still counts.
        counts = home.load("newsletter", reload=True).tables["events"]
        assert (counts.rows_read, counts.rows_unchanged, counts.rows_deduplicated) == (25, 24, 1)


def test_a_busy_service_is_waited_for_and_one_in_trouble_is_told(news: Home, api: Api) -> None:
    api.answers = [(429, {"Retry-After": "1"}, b"{}"), (503, {}, b"busy")]
    started = time.monotonic()
    assert news.load("newsletter").status == "loaded"
    assert time.monotonic() - started >= 1
    api.answers = [(500, {}, b"a person's name")] * 50
    api.requests.clear()
    report = news.load("newsletter")
    assert report.status == "failed"
    assert "500" in report.message
    assert "a person" not in str(report)
    # One table was tried, not all: they would fail alike.
    assert len(api.requests) <= 4
    api.answers = [(429, {"Retry-After": "3600"}, b"{}")] * 4
    assert "429" in news.load("newsletter").message
    assert news.rows("select count(*) from raw_newsletter.subscribers") == [(3,)]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {}, b"{}"), "does not accept our token"),
        ((404, {}, b"{}"), "404"),
        ((200, {}, b"<html>maintenance</html>"), "not what its API promises"),
        ((200, {}, b'{"data": 7}'), "no list of rows"),
        ((200, {}, b"[]"), "no list of rows"),
        ((302, {"Location": "http://example.org/"}, b""), "redirect"),
    ],
)
def test_an_answer_that_is_none_fails_with_a_message(
    news: Home, api: Api, answer: tuple[int, dict[str, str], bytes], told: str
) -> None:
    api.answers = [answer] * 20
    report = news.load("newsletter")
    assert report.status == "failed"
    assert told in report.message
    assert "secret-token" not in str(report)


def test_a_bad_page_of_rows_is_quarantined_row_by_row(news: Home, api: Api) -> None:
    api.pages["/v1/subscribers"] += [
        subscriber(9, email=None),
        subscriber(10, created_at="31 February"),
        "no object",
        subscriber(0, updated_at="2026-02-01T05:00:00Z", status="bounced"),
    ]
    report = news.load("newsletter")
    counts = report.tables["subscribers"]
    assert (counts.rows_read, counts.rows_loaded) == (7, 3)
    assert (counts.rows_quarantined, counts.rows_deduplicated) == (3, 1)
    assert not any("@" in row.position for row in news.quarantine())


def test_a_deletion_that_cannot_be_read_is_never_passed_over(news: Home, api: Api) -> None:
    api.pages["/v1/deletions"] = [{"email": None, "deleted_at": "2026-02-02T00:00:00Z"}]
    report = news.load("newsletter")
    assert report.status == "failed"
    assert "deletions: 1 cannot be read" in report.message


# ---- CRM ----------------------------------------------------------------------------------------


def test_the_crm_loads_by_delta_link_and_survives_its_expiry(tmp_path: Path) -> None:
    from demo.crm import store
    from demo.crm.app import CrmOptions, make_app

    database = tmp_path / "crm.db"
    store.create(database)
    options = CrmOptions(database, "client", "client-secret", delta_seconds=3600)
    with serving(make_app(options)) as url:
        token = requests.post(
            f"{url}/token",
            data={
                "client_id": "client",
                "client_secret": "client-secret",
                "grant_type": "client_credentials",
            },
            timeout=10,
        ).json()["access_token"]
        http = requests.Session()
        http.headers["Authorization"] = f"Bearer {token}"
        base = f"{url}/api/data/v9.2"
        ids = []
        for number in range(7):
            made = http.post(
                f"{base}/contacts",
                json={"firstname": f"F{number}", "lastname": "L", "birthdate": "1980-01-01"},
                headers={"Prefer": "return=representation"},
                timeout=10,
            )
            ids.append(made.json()["contactid"])
        values = {"base_url": base, "client_id": "client", "client_secret": "client-secret"}
        home = Home(tmp_path / "home", {"crm": values | {"page_rows": 3}})
        report = home.load("crm")
        assert report.tables["contacts"].rows_loaded == 7
        assert report.tables["option_labels"].rows_loaded > 10
        again = home.load("crm")
        assert (again.status, again.tables["contacts"].rows_read) == ("unchanged", 0)

        http.delete(f"{base}/contacts({ids[0]})", timeout=10)
        http.patch(f"{base}/contacts({ids[1]})", json={"firstname": "New"}, timeout=10)
        counts = home.load("crm").tables["contacts"]
        assert (counts.rows_read, counts.rows_loaded, counts.rows_deleted) == (1, 1, 1)
        assert home.rows(
            "select firstname from raw_crm.contacts where firstname not like 'F%'"
        ) == [("New",)]
        assert home.load("crm").status == "unchanged"

        home.configure(crm={"client_secret": "wrong-secret"})
        report = home.load("crm")
        assert report.status == "failed"
        assert "did not accept the client id and secret" in report.message
        assert "wrong-secret" not in str(report)
        home.configure(crm={"client_secret": "client-secret"})

        # The CRM forgets what was deleted; a link from before then is refused.
        http.delete(f"{base}/contacts({ids[2]})", timeout=10)
        _spoil_delta_links(home)
        report = home.load("crm")
        assert any("all rows were read again" in note for note in report.notes)
        counts = report.tables["contacts"]
        assert (counts.rows_read, counts.rows_unchanged, counts.rows_deleted) == (5, 5, 1)
        assert home.load("crm").status == "unchanged"


def _spoil_delta_links(home: Home) -> None:
    """Make the links that are kept look as old as the hills."""
    import re

    path = home.settings.paths.dlt_dir / "crm" / "state.json"
    text = path.read_text()
    spoilt = re.sub(r"!\d\d/\d\d/\d{4}", "!01/01/2020", text)
    assert spoilt != text
    path.write_text(spoilt)
    os.sync()
