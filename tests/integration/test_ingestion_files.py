"""Tills and click stream: files land, load, change, are broken, and loads are killed."""

import os
import shutil
import time
from pathlib import Path

import pytest

from ingestion.pipelines import SOURCES, _module, replay_quarantine
from klantbeeld.cli import main
from tests.fixtures.ingestion import MEMBER_HEADER, RECEIPT_HEADER, Home, receipt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "S1").mkdir(parents=True)
    return tmp_path / "in"


@pytest.fixture
def home(tmp_path: Path, folder: Path) -> Home:
    return Home(tmp_path / "home", {"pos": {"folder": str(folder), "settle_seconds": 0}})


def drop(folder: Path, *lines: str, name: str = "receipts_S1_20260301.csv") -> Path:
    path = folder / "S1" / name
    header = MEMBER_HEADER if name.startswith("members") else RECEIPT_HEADER
    path.write_text(header + "".join(lines))
    return path


def lines(home: Home) -> list[tuple[object, ...]]:
    return home.rows("select bonnummer, bedrag::varchar from raw_pos.receipt_lines order by all")


def test_files_land_load_change_and_are_not_read_twice(home: Home, folder: Path) -> None:
    path = drop(folder, receipt(1), receipt(2, day="31-02-2026"), receipt(1, amount="9,00"))
    member = "M1;J.;José;van;Dam;M;01-02-1980;Straat;1;;1234 AB;X;;;01-01-2025;J;N;01-03-2026 10:00"
    (folder / "S1" / "members_S1_20260301.csv").write_bytes(
        (MEMBER_HEADER + member + "\n").encode("latin-1")
    )
    report = home.load("pos")
    assert report.status == "loaded"
    assert report.new_quarantined == 1
    assert report.needs_attention
    assert lines(home) == [("1", "9.00")]
    assert home.rows("select voornaam, gewijzigd::varchar from raw_pos.members") == [
        ("José", "2026-03-01 10:00:00")
    ]
    (bad,) = home.quarantine("open")
    assert (bad.position, bad.row_key) == ("S1/receipts_S1_20260301.csv:3", "S1|2|1")
    assert bad.reason == "wrong type: datum is not a date (dd-mm-yyyy)"

    # Nothing new by name, size and time: not even opened, so other bytes go unnoticed.
    before = path.stat()
    path.write_text(path.read_text().replace("Koffie", "Thee  "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = home.load("pos")
    assert (report.status, report.tables) == ("unchanged", {})

    drop(folder, receipt(1), receipt(2), receipt(1, amount="9,00"), receipt(3))
    report = home.load("pos")
    counts = report.tables["receipt_lines"]
    assert (counts.rows_read, counts.rows_loaded, counts.rows_unchanged) == (4, 2, 1)
    assert lines(home) == [("1", "9.00"), ("2", "1.50"), ("3", "1.50")]
    assert [row.status for row in home.quarantine()] == ["superseded"]
    manifest = home.manifest()
    assert [(row.status, row.rows_read) for row in manifest] == [
        ("loaded", 1),
        ("loaded", 3),
        ("loaded", 4),
    ]
    landed = [p for p in home.settings.paths.landing_dir.rglob("*") if p.is_file()]
    assert len(landed) == 3
    assert {oct(p.stat().st_mode & 0o777) for p in landed} == {"0o600"}

    # Back to what it was: the same bytes as before, and the latest all the same.
    drop(folder, receipt(1), receipt(2, amount="7,00"))
    home.load("pos")
    drop(folder, receipt(1), receipt(2), receipt(1, amount="9,00"), receipt(3))
    home.load("pos")
    assert ("2", "1.50") in lines(home)


def test_every_count_is_recorded(home: Home, folder: Path) -> None:
    drop(folder, receipt(1), "cut off\n", receipt(1))
    home.load("pos")
    (run,), (counts,) = home.recorded()
    assert run.status == "loaded"
    assert "3 read" in run.message
    assert (counts.table_name, counts.rows_read) == ("receipt_lines", 3)
    assert (counts.rows_loaded, counts.rows_quarantined, counts.rows_deduplicated) == (1, 1, 1)


def test_a_file_that_is_still_being_written_waits(home: Home, folder: Path) -> None:
    home.configure(pos={"settle_seconds": 30})
    path = drop(folder, receipt(1))
    whole = path.read_text()
    path.write_text(whole + "2;1;S1;K1;01-")
    report = home.load("pos")
    assert report.status == "unchanged"
    assert any("still being written" in note for note in report.notes)
    # It has settled like this: what is cut off is quarantined, until the file grows.
    before = time.time() - 60
    os.utime(path, (before, before))
    assert home.load("pos").new_quarantined == 1
    assert lines(home) == [("1", "1.50")]
    path.write_text(whole + receipt(2))
    assert home.load("pos").status == "loaded"
    assert lines(home) == [("1", "1.50"), ("2", "1.50")]
    assert [row.status for row in home.quarantine()] == ["superseded"]


def test_a_file_that_is_no_till_file_is_quarantined_whole_and_the_others_load(
    home: Home, folder: Path
) -> None:
    drop(folder, receipt(1), receipt(9, day="01-01-2099"))
    broken = folder / "S1" / "receipts_S1_20260302.csv"
    broken.write_bytes(os.urandom(4000))
    headless = folder / "S1" / "receipts_S1_20260303.csv"
    headless.write_text(RECEIPT_HEADER.replace("bonnummer", "bon") + receipt(3))
    commas = folder / "S1" / "receipts_S1_20260304.csv"
    commas.write_text((RECEIPT_HEADER + receipt(4)).replace(",", ".").replace(";", ","))
    wide = folder / "S1" / "receipts_S1_20260305.csv"
    wide.write_text(RECEIPT_HEADER + receipt(5), "utf-16")
    report = home.load("pos")
    assert lines(home) == [("1", "1.50")]
    assert report.new_quarantined == 5
    assert [row.reason for row in home.quarantine("open")] == [
        "wrong type: datum lies in the future",
        "wrong header: the first line names none of the columns expected",
        "wrong header: no column bonnummer",
        (
            "wrong header: it looks comma-separated, the contract says semicolon-separated"
            " (`delimiter` in ingestion/sources/pos/contracts.py)"
        ),
        "undecodable file: UTF-16; save it as UTF-8",
    ]
    assert home.load("pos").status == "unchanged"
    headless.write_text(RECEIPT_HEADER + receipt(3))
    home.load("pos")
    assert [row.status for row in home.quarantine()] == [
        "open", "open", "superseded", "open", "open",
    ]  # fmt: skip


def test_the_quarantine_is_listed_in_order_and_what_is_alike_together(
    home: Home,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drop(folder, *["cut off\n"] * 11, receipt(1, day="31-02-2026"))
    drop(folder, receipt(2), "cut off\n", name="receipts_S0_20260301.csv")
    home.load("pos")
    monkeypatch.setenv("KLANTBEELD_HOME", str(home.folder))

    def told(*options: str) -> list[str]:
        with pytest.raises(SystemExit):
            main(["quarantine", "list", *options])
        rows = capsys.readouterr().out.splitlines()
        return [row.partition("  (")[0].removeprefix("pos.receipt_lines  ") for row in rows]

    cut_off, day = "truncated line: 1 of 15 columns", "wrong type: datum is not a date (dd-mm-yyyy)"
    assert told() == [
        f"S1/receipts_S0_20260301.csv:3  {cut_off}",
        f"11 rows of S1/receipts_S1_20260301.csv  {cut_off}",
        f"S1/receipts_S1_20260301.csv:13  {day}",
        "13 row(s); --all lists each",
    ]
    lines_told = [
        "S1/receipts_S0_20260301.csv:3",
        *(f"S1/receipts_S1_20260301.csv:{line}" for line in range(2, 14)),
    ]
    assert [row.partition("  ")[0] for row in told("--all")[:-1]] == lines_told


def test_columns_may_come_in_another_order_and_new_ones_are_named(home: Home, folder: Path) -> None:
    names = RECEIPT_HEADER.strip().split(";")
    values = receipt(1).strip().split(";")
    path = folder / "S1" / "receipts_S1_20260301.csv"
    path.write_text(
        ";".join([*reversed(names), "spaarpunten"]) + "\n" + ";".join([*reversed(values), "5"])
    )
    report = home.load("pos")
    assert lines(home) == [("1", "1.50")]
    assert any("kept out: spaarpunten" in note for note in report.notes)
    home.configure(pos={"new_columns": {"receipt_lines": "evolve"}})
    report = home.load("pos", reload=True)
    assert report.tables["receipt_lines"].rows_loaded == 1
    assert home.rows("select spaarpunten from raw_pos.receipt_lines") == [("5",)]


def test_a_column_that_is_gone_in_the_files_of_one_store_is_named(home: Home, folder: Path) -> None:
    drop(folder, receipt(1))
    shorter = folder / "S1" / "receipts_S1_20260302.csv"
    shorter.write_text(
        (RECEIPT_HEADER + receipt(2)).replace("omschrijving;", "").replace("Koffie;", "")
    )
    report = home.load("pos")
    assert lines(home) == [("1", "1.50"), ("2", "1.50")]
    assert [note for note in report.notes if "gone at the source" in note] == [
        "receipt_lines: gone at the source and now empty in what is loaded: omschrijving."
    ]


def test_names_that_lead_nowhere_do_not_stop_the_other_files(home: Home, folder: Path) -> None:
    drop(folder, receipt(1))
    (folder / "S1" / "receipts_S1_20260302.csv").symlink_to(folder / "gone.csv")
    (folder / "S1" / "receipts_S1_20260303.csv").mkdir()
    drop(folder, name="receipts_S1_20260304.csv")
    (folder / "S1" / "receipts_S1_20260305.csv").touch()
    (folder / "S1" / "receipts S1 20260306.csv").touch()
    (folder / "S1" / ".receipts_S1_20260307.csv.part").touch()
    report = home.load("pos")
    assert report.status == "loaded"
    assert (
        "unknown in the folder and not read: S1/receipts S1 20260306.csv,"
        " S1/receipts_S1_20260302.csv, S1/receipts_S1_20260303.csv/;"
        " files are receipts_*.csv, members_*.csv"
    ) in report.notes
    assert lines(home) == [("1", "1.50")]
    (bad,) = home.quarantine("open")
    assert (bad.position, bad.reason) == (
        "S1/receipts_S1_20260305.csv",
        "empty file: not even a header",
    )


def test_a_folder_that_would_be_read_as_a_pattern_is_refused(home: Home, tmp_path: Path) -> None:
    odd = tmp_path / "tills [north]"
    odd.mkdir()
    home.configure(pos={"folder": str(odd)})
    report = home.load("pos")
    assert report.status == "failed"
    assert "sources.pos.folder" in str(report.message)


def test_quarantined_lines_and_files_can_be_replayed(home: Home, folder: Path) -> None:
    drop(
        folder, receipt(1), receipt(2).replace("VERKOOP", "RUIL"), receipt(3).rstrip("\n") + ";x\n"
    )
    home.load("pos")
    assert len(home.quarantine("open")) == 2
    (report,) = replay_quarantine(home.settings, home.control)
    assert report.tables["receipt_lines"].rows_quarantined == 2
    assert len(home.quarantine("open")) == 2
    # The rules learn a new word; the line is good now.
    from dataclasses import replace

    module = _module("pos")
    table = module.TABLES[0]
    sort = table.columns[-1]
    learnt = replace(table, columns=(*table.columns[:-1], replace(sort, allowed=())))
    tables = module.TABLES
    module.TABLES = (learnt, *tables[1:])
    try:
        (report,) = replay_quarantine(home.settings, home.control, "pos")
    finally:
        module.TABLES = tables
    assert report.tables["receipt_lines"].rows_loaded == 1
    assert lines(home) == [("1", "1.50"), ("2", "1.50")]
    assert sorted(row.status for row in home.quarantine()) == ["open", "replayed"]
    assert home.rows("select _line from raw_pos.receipt_lines where bonnummer = '2'") == [(3,)]


def test_a_build_made_anew_reads_all_landed_files_again(home: Home, folder: Path) -> None:
    drop(folder, receipt(1), receipt(2, day="31-02-2026"))
    home.load("pos")
    drop(folder, receipt(1, amount="8,00"), receipt(3), name="receipts_S1_20260302.csv")
    home.load("pos")
    before = lines(home)
    shutil.rmtree(home.settings.paths.build_dir)
    shutil.rmtree(folder / "S1")  # the till does not keep them
    home.load("pos")
    assert lines(home) == before == [("1", "8.00"), ("3", "1.50")]
    assert len(home.quarantine("open")) == 1


def test_a_build_that_is_gone_or_older_than_its_cursors_is_read_into_again(
    home: Home, folder: Path
) -> None:
    build = home.settings.paths.build_file
    drop(folder, receipt(1))
    home.load("pos")
    older = build.read_bytes()
    drop(folder, receipt(2), name="receipts_S1_20260302.csv")
    home.load("pos")
    assert home.load("pos").notes == ()
    for rest in ([], [older]):
        build.unlink()
        for content in rest:
            build.write_bytes(content)
        home.load("pos")
        assert lines(home) == [("1", "1.50"), ("2", "1.50")]
    shutil.rmtree(home.settings.paths.dlt_dir)
    home.load("pos")
    assert lines(home) == [("1", "1.50"), ("2", "1.50")]


def test_a_missing_folder_is_told_and_raw_tables_exist_all_the_same(
    home: Home, folder: Path
) -> None:
    shutil.rmtree(folder)
    report = home.load("pos")
    assert report.status == "failed"
    assert "does not exist" in report.message
    assert report.hint
    assert home.load("web").status == "disabled"
    tables = {
        (schema, name)
        for schema, name in home.rows(
            "select schema_name, table_name from duckdb_tables() where schema_name like 'raw_%'"
        )
    }
    for name in SOURCES:
        assert {(t.schema, t.name) for t in _module(name).TABLES} <= tables


@pytest.mark.parametrize("stage", ["validated", "extracted", "normalized", "loaded"])
def test_a_load_killed_anywhere_is_finished_by_the_next(
    home: Home, folder: Path, stage: str
) -> None:
    drop(folder, receipt(1), receipt(2, day="31-02-2026"))
    home.load("pos")
    drop(folder, receipt(1, amount="8,00"), receipt(3), "cut", name="receipts_S1_20260302.csv")
    home.load_killed("pos", f"ingestion.pos.{stage}")
    report = home.load("pos")
    assert report.status in ("loaded", "unchanged")
    assert lines(home) == [("1", "8.00"), ("3", "1.50")]
    assert len(home.quarantine("open")) == 2
    assert {row.status for row in home.manifest()} == {"loaded"}
    assert home.load("pos").status == "unchanged"
    rest = [p.name for p in home.settings.paths.dlt_dir.rglob("*.parquet")]
    assert rest == []


def test_a_package_that_cannot_be_loaded_is_set_aside_and_its_rows_are_read_again(
    home: Home, folder: Path
) -> None:
    drop(folder, receipt(1))
    home.load("pos")
    drop(folder, receipt(1), receipt(2))
    home.load_killed("pos", "ingestion.pos.normalized")
    packages = list(home.settings.paths.dlt_dir.rglob("*.parquet"))
    assert packages
    for package in packages:
        package.write_bytes(b"no parquet")
    report = home.load("pos")
    assert any("set aside" in note for note in report.notes)
    assert lines(home) == [("1", "1.50"), ("2", "1.50")]
    assert home.load("pos").status == "unchanged"


def test_click_stream_files_grow(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    home = Home(tmp_path / "home", {"web": {"folder": str(folder), "settle_seconds": 0}})
    path = folder / "events-2026-03-01.jsonl"
    first = '{"event_id":"1","type":"page_view","occurred_at":"2026-03-01T10:00:00Z"}\n'
    second = first.replace('"1"', '"2"').replace("}", ',"shop_customer_id":7}')
    path.write_text(first + "[1]\n" + second[:30])
    report = home.load("web")
    assert report.tables["events"].rows_quarantined == 2
    path.write_text(first + "[1]\n" + second)
    report = home.load("web")
    counts = report.tables["events"]
    assert (counts.rows_loaded, counts.rows_unchanged, counts.rows_quarantined) == (1, 1, 1)
    assert report.new_quarantined == 0
    assert home.rows("select event_id, shop_customer_id, _line from raw_web.events order by 1") == [
        ("1", None, 1),
        ("2", 7, 3),
    ]
    assert [row.status for row in home.quarantine()] == ["open", "superseded"]
