"""Till files and click-stream files: what is in them is what happened."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest

from demo.files import append, drop
from demo.people import WORLD_START
from demo.pos.files import is_latin, write_members, write_receipts
from demo.tables import draw_blocks
from demo.web.files import write_events


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return next(iter(draw_blocks(600, seed=11)))


def read(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return list(csv.DictReader(text.splitlines(), delimiter=";"))


def test_receipts_keep_every_line_in_dutch_notation(
    tmp_path: Path, tables: dict[str, pa.Table]
) -> None:
    lines = tables["pos.receipt_lines"]
    count = write_receipts(tmp_path, lines, WORLD_START, append)
    files = sorted(tmp_path.glob("*/receipts_*.csv"))
    assert len(files) == count
    rows = [row for path in files for row in read(path)]
    assert len(rows) == lines.num_rows
    total = sum(int(row["bedrag"].replace(",", "")) for row in rows)
    assert total == sum(int(value * 100) for value in lines["bedrag"].to_pylist())
    assert all(row["datum"][2] == "-" and len(row["datum"]) == 10 for row in rows)
    returned = [row for row in rows if row["soort"] == "RETOUR"]
    assert returned
    assert all(row["bedrag"].startswith("-") and int(row["aantal"]) < 0 for row in returned)


def test_old_files_hold_a_month_and_recent_ones_a_day(
    tmp_path: Path, tables: dict[str, pa.Table]
) -> None:
    write_receipts(tmp_path, tables["pos.receipt_lines"], WORLD_START, append)
    names = sorted(path.name for path in (tmp_path / "101").glob("receipts_*.csv"))
    assert names[0] == "receipts_101_20240901.csv"
    old = [name for name in names if name < "receipts_101_20251201"]
    assert all(name.endswith("01.csv") for name in old)
    for path in (tmp_path / "101").glob("receipts_101_202602*.csv"):
        day = path.stem[-8:]
        assert {row["datum"] for row in read(path)} == {f"{day[6:]}-{day[4:6]}-{day[:4]}"}


def test_some_tills_write_latin_1(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    write_members(tmp_path, tables["pos.members"], WORLD_START, append)
    files = sorted(tmp_path.glob("*/members_*.csv"))
    rows = [row for path in files for row in read(path)]
    assert len(rows) == tables["pos.members"].num_rows
    encodings = set()
    for path in files:
        raw = path.read_bytes()
        if raw.isascii():
            continue
        latin = is_latin(f"{path.parent.name}/{path.name}", path.parent.name)
        encodings.add(latin)
        if not latin:
            raw.decode()
    assert encodings == {True, False}


def test_a_file_is_put_in_place_at_once(tmp_path: Path) -> None:
    path = tmp_path / "101" / "receipts_101_20260302.csv"
    drop(path, b"1;2\n", b"a;b\n")
    drop(path, b"3;4\n", b"a;b\n")
    assert path.read_bytes() == b"a;b\n3;4\n"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_clicks_are_json_by_business_date(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    events = tables["web.events"]
    count = write_events(tmp_path, events, append)
    files = sorted(tmp_path.glob("events-*.jsonl"))
    assert len(files) == count
    assert files[-1].name == "events-2026-03-01.jsonl"
    rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(rows) == events.num_rows
    assert {row["type"] for row in rows} == {
        "page_view",
        "add_to_cart",
        "remove_from_cart",
        "log_in",
    }
    assert all((row["shop_customer_id"] is not None) == (row["type"] == "log_in") for row in rows)
    assert rows == sorted(rows, key=lambda row: row["occurred_at"])
