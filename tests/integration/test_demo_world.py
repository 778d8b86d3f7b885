"""The demo world on its real systems: PostgreSQL, two HTTP services and files."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from pyarrow import parquet

from demo import world
from demo.shop import server as shop_server
from demo.shop import store as shop_store
from demo.state import Folder, World
from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import Settings, load_settings

PERSONS = 300
ROOT = Path(__file__).resolve().parents[2]


def settings_for(root: Path, persons: int = PERSONS) -> Settings:
    # Ports of 0 are not allowed in settings; any that is taken is passed over.
    demo = {"persons": persons, "dir": root / "world", "crm_port": 28642, "newsletter_port": 28643}
    return load_settings(home=root / "home", demo=demo)


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder outside pytest's own.

    As root, PostgreSQL runs as another user who has to pass through the parents of its data, and
    every pytest session makes pytest's folder private again.
    """
    folder = Path(tempfile.mkdtemp(prefix="klantbeeld-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with own_folder() as folder:
        made = settings_for(folder)
        try:
            world.start(made)
            yield made
        finally:
            world.reset(made)


@pytest.fixture
def root() -> Iterator[Path]:
    with own_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def home(settings: Settings) -> Settings:
    """The settings as the pipeline reads them."""
    return load_settings(home=settings.home)


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def snapshot(settings: Settings) -> dict[str, Any]:
    """Everything the systems hold, but for what is secret or counts writes."""
    folder = Folder(settings.demo.dir)
    content: dict[str, Any] = {"pos": tree(folder.pos), "web": tree(folder.web)}
    with shop_store.connect(shop_server.socket_folder(folder.shop)) as shop:
        for name, key in shop_store.KEYS.items():
            content[f"shop.{name}"] = shop.execute(
                f"select * from {name} order by {key}"
            ).fetchall()
    for name, file, tables in (
        ("crm", folder.crm, ("contacts", "accounts", "leads")),
        ("newsletter", folder.newsletter, ("subscribers", "opt_ins", "events", "deletions")),
    ):
        with closing(sqlite3.connect(file)) as connection:
            connection.row_factory = sqlite3.Row
            for table in tables:
                rows = [dict(row) for row in connection.execute(f"select * from {table}")]
                for row in rows:
                    row.pop("versionnumber", None)
                content[f"{name}.{table}"] = sorted(rows, key=lambda row: str(list(row.values())))
    content["truth"] = parquet.read_table(folder.truth).to_pylist()
    content["state"] = folder.state_file.read_text()
    content["clock"] = folder.clock.read_text()
    return content


def fetch_all(home: Settings, name: str, **parameters: str | int) -> list[dict[str, Any]]:
    source = home.sources["newsletter"]
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = requests.get(
            f"{source['base_url']}v1/{name}",
            params={**parameters, **({"cursor": cursor} if cursor else {})},
            headers={"Authorization": f"Bearer {source['token']}"},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
        rows += answer.json()["data"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return rows


def reader(home: Settings, password: str | None = None) -> psycopg.Connection:
    shop = home.sources["shop"]
    return psycopg.connect(
        host=shop["host"],
        dbname=shop["database"],
        user=shop["user"],
        password=shop["password"] if password is None else password,
    )


def test_start_again_changes_nothing(settings: Settings) -> None:
    folder = Folder(settings.demo.dir)
    before = World.read(folder)
    said: list[str] = []
    status = world.start(settings, said.append)
    assert World.read(folder) == before
    assert status.running == {"crm": True, "newsletter": True, "shop": True}
    assert status.persons == PERSONS
    assert set(status.records) == {"crm", "newsletter", "pos", "shop"}
    assert not [line for line in said if "making" in line]


def test_the_shop_can_be_read_with_its_password_only(home: Settings) -> None:
    with reader(home) as connection:
        row = connection.execute("select count(*), max(updated_at) from orders").fetchone()
        assert row is not None
        assert row[0] > 100
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from orders")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        reader(home, password="wrong")
    with pytest.raises(psycopg.OperationalError):
        reader(home, password="")


def test_the_shop_keeps_its_references(settings: Settings) -> None:
    folder = Folder(settings.demo.dir)
    with shop_store.connect(shop_server.socket_folder(folder.shop)) as connection:
        keys = connection.execute(
            "select contype::text from pg_constraint where contype in ('p', 'f')"
            " and connamespace = 'public'::regnamespace"
        )
        kinds = [row[0] for row in keys.fetchall()]
        assert kinds.count("p") == 7
        assert kinds.count("f") == 8
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute(
                "delete from products where product_id in (select product_id from order_lines)"
            )
        connection.rollback()


def test_the_newsletter_gives_every_row_once_whatever_the_page(
    settings: Settings, home: Settings
) -> None:
    with closing(sqlite3.connect(Folder(settings.demo.dir).newsletter)) as connection:
        for name, key in (("subscribers", "email"), ("events", "event_id"), ("lists", "list_id")):
            expected = connection.execute(f"select count(*) from {name}").fetchone()[0]
            for limit in (97, 5000):
                rows = fetch_all(home, name, limit=limit)
                assert len(rows) == expected
                assert len({row[key] for row in rows}) == expected


def test_the_newsletter_filters_on_time_inclusively(home: Settings) -> None:
    everything = fetch_all(home, "events", limit=5000)
    moment = everything[len(everything) // 2]["occurred_at"]
    expected = [row for row in everything if row["occurred_at"] >= moment]
    assert fetch_all(home, "events", occurred_since=moment, limit=500) == expected
    shifted = moment.replace("Z", "+00:00")
    assert fetch_all(home, "events", occurred_since=shifted, limit=5000) == expected


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("subscribers", None, 401, "unauthorized"),
        ("subscribers", "wrong", 401, "unauthorized"),
        ("subscribers?updated_since=yesterday", "", 400, "bad_time"),
        ("subscribers?limit=0", "", 400, "bad_limit"),
        ("subscribers?cursor=abc", "", 400, "bad_cursor"),
        ("events?updated_since=2026-01-01", "", 400, "unknown_parameter"),
        ("nothing", "", 404, "not_found"),
    ],
)
def test_the_newsletter_says_what_is_wrong(
    home: Settings, path: str, token: str | None, status: int, code: str
) -> None:
    source = home.sources["newsletter"]
    headers = {} if token is None else {"Authorization": f"Bearer {token or source['token']}"}
    answer = requests.get(f"{source['base_url']}v1/{path}", headers=headers, timeout=10)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


def test_the_crm_is_there_with_its_people(settings: Settings) -> None:
    status = world.status(settings)
    assert requests.get(f"{status.urls['crm']}health", timeout=10).status_code == 200
    truth = parquet.read_table(Folder(settings.demo.dir).truth).to_pylist()
    contacts = {row["natural_key"] for row in truth if row["entity"] == "contact"}
    with closing(sqlite3.connect(Folder(settings.demo.dir).crm)) as connection:
        assert {row[0] for row in connection.execute("select contactid from contacts")} == contacts


def test_days_pass_in_every_system(settings: Settings, home: Settings) -> None:
    folder = Folder(settings.demo.dir)
    before, as_of = snapshot(settings), json.loads(folder.clock.read_text())["as_of"]
    status = world.advance(settings, 3)
    assert str(status.business_date) == "2026-03-04"
    assert json.loads(folder.clock.read_text()) == {"as_of": "2026-03-04T22:59:59+00:00"}
    after = snapshot(settings)
    for name in ("contacts", "leads"):
        rows = after[f"crm.{name}"]
        assert any(row["createdon"] > as_of for row in rows)
        assert all(row["modifiedon"] <= "2026-03-04T22:59:59Z" for row in rows)
    changed = [r for r in after["crm.contacts"] if r["modifiedon"] > as_of > r["createdon"]]
    assert changed
    assert len(after["shop.orders"]) > len(before["shop.orders"])
    assert after["shop.customers"] != before["shop.customers"]
    assert len(after["newsletter.deletions"]) >= 3
    assert len(fetch_all(home, "deletions")) == len(after["newsletter.deletions"])
    assert fetch_all(home, "subscribers", updated_since="2026-03-02T00:00:00Z")
    assert any(
        row["status"] == "opted_out" and row["occurred_at"] > as_of
        for row in after["newsletter.opt_ins"]
    )
    new_files = after["pos"].keys() - before["pos"].keys()
    assert any("receipts" in name for name in new_files)
    assert any("members" in name for name in new_files)
    # What was written before is as it was.
    assert all(after["pos"][name] == digest for name, digest in before["pos"].items())
    assert after["web"].keys() - before["web"].keys() == {
        f"events-2026-03-0{day}.jsonl" for day in (2, 3, 4)
    }


def test_the_truth_knows_every_record_and_no_other(settings: Settings) -> None:
    folder = Folder(settings.demo.dir)
    now = snapshot(settings)
    known: dict[tuple[str, str], set[str]] = {}
    for row in now["truth"]:
        known.setdefault((row["source"], row["entity"]), set()).add(row["natural_key"])
    assert known["crm", "contact"] == {row["contactid"] for row in now["crm.contacts"]}
    assert known["crm", "lead"] == {row["leadid"] for row in now["crm.leads"]}
    assert known["shop", "customer"] == {str(row[0]) for row in now["shop.customers"]}
    assert known["newsletter", "subscriber"] == {r["email"] for r in now["newsletter.subscribers"]}
    cards = set()
    for path in folder.pos.glob("*/members_*.csv"):
        raw = path.read_bytes().decode("latin-1")
        cards |= {row["kaartnummer"] for row in csv.DictReader(raw.splitlines(), delimiter=";")}
    assert known["pos", "member"] == cards


def test_orders_move_on_and_come_back(settings: Settings) -> None:
    world.advance(settings, 5)
    with shop_store.connect(
        shop_server.socket_folder(Folder(settings.demo.dir).shop)
    ) as connection:
        early = connection.execute(
            "select distinct status from orders where ordered_at < '2026-03-04'"
        ).fetchall()
        assert {row[0] for row in early} <= {"delivered", "cancelled"}
        returned = connection.execute(
            "select count(*) from returns where returned_at > '2026-03-02'"
        ).fetchone()
        assert returned is not None
        assert returned[0] > 0
        # Seen by anybody who asks for what changed since yesterday.
        late = connection.execute(
            "select count(*) from orders where updated_at > '2026-03-09T23:00:00Z'"
        ).fetchone()
        assert late is not None
        assert late[0] == 0


def test_stop_stops_ours_and_start_finds_them_where_they_were(settings: Settings) -> None:
    before = world.status(settings)
    world.stop(settings)
    stopped = world.status(settings)
    assert not any(stopped.running.values())
    with pytest.raises(KlantbeeldError, match="do not run"):
        world.advance(settings, 1)
    world.stop(settings)
    again = world.start(settings)
    assert all(again.running.values())
    assert again.business_date == before.business_date


def test_a_taken_port_moves_the_service_and_its_settings(settings: Settings) -> None:
    world.stop(settings)
    recorded = World.read(Folder(settings.demo.dir))
    assert recorded is not None
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", recorded.ports["newsletter"]))
        other.listen()
        status = world.start(settings)
        home = load_settings(home=settings.home)
        assert home.sources["newsletter"]["base_url"] == status.urls["newsletter"]
        assert str(recorded.ports["newsletter"]) not in status.urls["newsletter"]
        assert fetch_all(home, "lists")


def test_killed_services_and_a_lost_record_of_them_are_repaired(settings: Settings) -> None:
    folder = Folder(settings.demo.dir)
    recorded = World.read(folder)
    assert recorded is not None
    orphan = recorded.processes.pop("newsletter")
    recorded.write(folder)
    for name in ("crm", "shop"):
        os.kill(recorded.processes[name].pid, signal.SIGKILL)
    status = world.start(settings)
    assert all(status.running.values())
    assert not orphan.is_running()
    world.stop(settings)
    recorded.processes = {}
    recorded.write(folder)
    world.start(settings)
    left = World.read(folder)
    assert left is not None
    # PostgreSQL is found by its own data folder, whatever world.json says.
    left.processes.pop("shop")
    left.write(folder)
    world.stop(settings)
    assert shop_server.find(folder.shop) is None
    world.start(settings)


def run_in_child(settings: Settings, call: str, failpoint: str = "") -> int:
    """Call the world in a process of its own, which a failpoint may kill."""
    code = (
        "from pathlib import Path\n"
        "from demo import world\n"
        "from klantbeeld.settings import load_settings\n"
        f"settings = load_settings(home=Path({str(settings.home)!r}),"
        f" demo={{'persons': {settings.demo.persons}, 'dir': Path({str(settings.demo.dir)!r}),"
        f" 'crm_port': 28642, 'newsletter_port': 28643}})\n"
        f"world.{call}\n"
    )
    environment = dict(os.environ) | ({"KLANTBEELD_FAILPOINT": failpoint} if failpoint else {})
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, env=environment, timeout=120
    ).returncode


@pytest.mark.parametrize(
    "points",
    [
        pytest.param("crm clock", id="some"),
        pytest.param("drawn shop crm applied clock", id="all", marks=pytest.mark.long),
    ],
)
def test_a_killed_day_ends_as_an_undisturbed_one(root: Path, points: str) -> None:
    undisturbed = settings_for(root / "a", persons=120)
    killed = settings_for(root / "b", persons=120)
    try:
        world.start(undisturbed)
        world.start(killed)
        assert snapshot(undisturbed) == snapshot(killed)
        for point in points.split():
            world.advance(undisturbed, 1)
            assert run_in_child(killed, "advance(settings, 1)", f"demo.advance.{point}") == -9
            assert world.status(killed).is_interrupted
            world.start(killed)
            assert not world.status(killed).is_interrupted
            assert snapshot(undisturbed) == snapshot(killed), point
    finally:
        world.reset(undisturbed)
        world.reset(killed)
    assert not undisturbed.demo.dir.exists()


def test_a_world_that_was_half_made_is_made_again(root: Path) -> None:
    half = settings_for(root / ("long-" + "x" * 110), persons=60)
    folder = Folder(half.demo.dir)
    try:
        assert run_in_child(half, "start(settings)", "demo.build.drawn") == -9
        recorded = World.read(folder)
        assert recorded is not None
        assert not recorded.ready
        said: list[str] = []
        status = world.start(half, said.append)
        assert "a world was half made: it is made again" in said
        assert all(status.running.values())
        # The data's path is too long for a socket: it is elsewhere, and gone after a reset.
        socket_folder = shop_server.socket_folder(folder.shop)
        assert folder.root not in socket_folder.parents
        with reader(load_settings(home=half.home)) as connection:
            assert connection.execute("select 1 from customers limit 1").fetchone()
    finally:
        world.reset(half)
    assert not socket_folder.exists()


def test_two_starts_at_once_make_one_world(root: Path) -> None:
    both = settings_for(root, persons=60)
    results: list[int] = []
    try:
        threads = [
            threading.Thread(target=lambda: results.append(run_in_child(both, "start(settings)")))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [0, 0]
        assert all(world.status(both).running.values())
    finally:
        world.reset(both)


def test_reset_leaves_other_peoples_folders_alone(root: Path) -> None:
    other = settings_for(root)
    other.demo.dir.mkdir()
    (other.demo.dir / "thesis.txt").write_text("years of work")
    for command in (world.start, world.reset):
        with pytest.raises(KlantbeeldError, match="something else"):
            command(other)
    assert (other.demo.dir / "thesis.txt").exists()
    shutil.rmtree(other.demo.dir)
    world.reset(other)
    world.stop(other)
    assert not world.status(other).exists
    with pytest.raises(KlantbeeldError, match="no demo world"):
        world.advance(other, 1)
