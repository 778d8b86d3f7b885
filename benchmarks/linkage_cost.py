"""What linkage costs: CPU, pairs and memory of all records, and of one per cent more.

`python -m benchmarks.linkage_cost --records 100000` draws records of four systems and measures,
each in a process of its own:

* `full`: the link stage on a home: suppression, blocking, scoring, clusters without conflict,
  lasting ids, the tables of the build. Nothing else is in the build, and nothing is trained.
* `increment`: the link stage again, after one record in a hundred came. Before it, the first 99 %
  were linked and published.

CPU is user and system time from when the records are there. Ratios are within one run.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import duckdb

from benchmarks.populations import population
from klantbeeld import identity
from klantbeeld.control import open_control
from klantbeeld.identity.evaluation import evaluate_clusters
from klantbeeld.settings import load_settings

SEED: Final = 7
RECORDS_PER_PERSON: Final = 2.2
INCREMENT: Final = 0.01
PARTS: Final = ("first", "increment", "full")


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(_measure(options.part, options.folder, options.threads)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder, options.records)
        _print({part: _in_a_process(part, folder, options.threads) for part in PARTS})


def _draw(folder: Path, count: int) -> None:
    """Write the records, with which of them come late, and whose they are."""
    records, truth = population(round(count / RECORDS_PER_PERSON), SEED)
    late = max(1, round(INCREMENT * records.num_rows))
    with duckdb.connect() as con:
        con.register("records", records)
        con.register("truth", truth.rename_columns(["record_id", "cluster"]))
        con.execute(f"""
            copy (
                select *, row_number() over (order by hash(record_id)) <= {late} as is_late
                from records
            ) to '{folder / "records.parquet"}' (format parquet)
        """)
        con.execute(f"copy truth to '{folder / 'truth.parquet'}' (format parquet)")


def _in_a_process(part: str, folder: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.linkage_cost", "--part", part]
    done = subprocess.run(
        [*command, "--folder", str(folder), "--threads", str(threads)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _measure(part: str, folder: Path, threads: int) -> dict[str, Any]:
    settings = load_settings(home=folder / "home")
    warehouse = settings.warehouse.model_copy(update={"threads": threads})
    settings = settings.model_copy(update={"warehouse": warehouse})
    control = open_control(settings)
    with duckdb.connect(str(folder / "build.duckdb")) as con:
        con.execute("set threads = ?", [threads])
        con.execute("create schema if not exists intermediate")
        shown = "where not is_late" if part == "first" else ""
        con.execute(f"""
            create or replace table intermediate.int_linkage_records as
            select * exclude (is_late) from '{folder / "records.parquet"}' {shown}
        """)
        if part == "full":
            # Nothing changed: what was linked is forgotten, so that all of it is linked again.
            con.execute("drop schema identity cascade")
        started = _cpu()
        report = identity.link(con, settings, control, part)
        cpu = _cpu() - started
        # Before the ids are written, which costs what it costs whatever was linked.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        quality = evaluate_clusters(
            con,
            "(select record_id, profile_id as cluster from identity.profile_records)",
            f"'{folder / 'truth.parquet'}'",
        )
        pending = identity.read_pending_profile_ids(con)
        with control.begin() as connection:
            identity.commit_profile_ids(connection, pending, part)
    control.close()
    return {
        "mode": report.mode,
        "records": report.records,
        "scored_records": report.scored_records,
        "cpu": cpu,
        "pairs": report.pairs,
        "peak_mb": peak,
        "moved_records": report.moved_records,
        "bcubed": quality.bcubed_f1,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _print(figures: dict[str, dict[str, Any]]) -> None:
    full, increment = figures["full"], figures["increment"]
    records = full["records"]
    print(f"{records:,} records\n")
    print("| | CPU s | peak MB | records scored | pairs per record | B-cubed F1 |")
    print("|---|---:|---:|---:|---:|---:|")
    for part in (full, increment):
        print(
            f"| {part['mode']} | {part['cpu']:.1f} | {part['peak_mb']:,.0f} "
            f"| {part['scored_records']:,} | {part['pairs'] / records:.2f} "
            f"| {part['bcubed']:.4f} |"
        )
    print(
        f"| ratio | {increment['cpu'] / full['cpu']:.2f} "
        f"| {increment['peak_mb'] / full['peak_mb']:.2f} "
        f"| {increment['scored_records'] / records:.3f} | | |"
    )
    moved = increment["moved_records"]
    print(f"\nThe increment moved {moved:,} known records ({moved / records:.3%}).")


if __name__ == "__main__":
    main()
