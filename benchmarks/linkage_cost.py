"""What linkage costs: CPU, pairs and memory beside plain Splink, and of one per cent more records.

`python -m benchmarks.linkage_cost --records 100000` draws records of four systems (`retail`) and
measures, each in a process of its own:

* `plain`: plain Splink as in `benchmarks.plain_splink`, on the records as they come: training,
  scoring, connected components.
* `full`: the link stage on a home that has a model version: suppression, blocking, scoring,
  clusters without conflict, review, lasting ids, the tables of the build.
* `increment`: the link stage again, after one record in a hundred came. Before it, the first 99 %
  were linked and published (`first`, which also fits the model and is not shown).

`--only plain`, `--only first increment full` and so on run parts by themselves; with `--folder`
the records, the home and the figures stay there for the next call. `full` without `first` starts
with an empty home, so that fitting the model is in its figures.

CPU is user and system time from when the records are there to when the tables are on disk; pairs
are those that blocking made, peak memory is the process's. Ratios are within one folder.
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
import pyarrow as pa

from benchmarks.plain_splink import THRESHOLD, count_pairs, link_plainly
from benchmarks.populations import linkage_records, retail
from klantbeeld.identity.evaluation import evaluate_clusters

SEED: Final = 7
RECORDS_PER_PERSON: Final = 2.213
# More records than this are drawn in as many goes as it takes: arrays of texts are wide.
DRAWN_AT_ONCE: Final = 1_000_000
# What plain Splink may take; beyond it, its engine uses temporary files.
PLAIN_MEMORY: Final = "12GB"
MEASURED: Final = ("plain", "first", "increment", "full")
SHOWN: Final = ("plain", "full", "increment")


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=MEASURED, help="parts")
    parser.add_argument("--folder", type=Path, help="where records, home and figures stay")
    parser.add_argument("--part", choices=("draw", *MEASURED), help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "draw":
        _draw(options.folder, options.records, options.shard)
    elif options.part:
        print(json.dumps(_measure(options.part, options.folder, options.threads)))
    elif options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        _run(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as name:
            _run(Path(name), options)


def _run(folder: Path, options: argparse.Namespace) -> None:
    """Measure the parts asked for, and show what is known of this folder."""
    if not list(folder.glob("people-*.parquet")):
        shards = -(-options.records // DRAWN_AT_ONCE)
        for shard in range(shards):
            asked = ["--records", str(options.records // shards), "--shard", str(shard)]
            _in_a_process("draw", folder, *asked)
    kept = folder / "figures.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    for part in MEASURED:
        if part in options.only:
            done = _in_a_process(part, folder, "--threads", str(options.threads))
            figures[part] = json.loads(done)
            kept.write_text(json.dumps(figures, indent=1) + "\n")
    _print(figures)


def _draw(folder: Path, records: int, shard: int) -> None:
    """Write records, and the same as the link stage reads them."""
    people = retail(round(records / RECORDS_PER_PERSON), SEED + shard)
    linkage = linkage_records(people)
    with duckdb.connect() as con:
        for name, table, replaced in (
            ("people", people, ("record_id", "person_id")),
            ("linkage", linkage, ("record_id",)),
        ):
            con.register("drawn", table)
            own = ", ".join(f"{column} || '-{shard}' as {column}" for column in replaced)
            con.execute(f"""
                copy (select * replace ({own}) from drawn)
                to '{folder}/{name}-{shard:02}.parquet' (format parquet)
            """)


def _in_a_process(part: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.linkage_cost", "--part", part]
    done = subprocess.run(
        [*command, "--folder", str(folder), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.splitlines()[-1] if done.stdout else ""


def _measure(part: str, folder: Path, threads: int) -> dict[str, Any]:
    measure = _plain if part == "plain" else _home
    return measure(part, folder, threads)


def _plain(_: str, folder: Path, threads: int) -> dict[str, Any]:
    people = _with_one_phone(folder)
    limits = {
        "threads": threads,
        "memory_limit": PLAIN_MEMORY,
        "temp_directory": str(folder / "spill"),
    }
    with duckdb.connect(config=limits) as con:
        started = _cpu()
        plain = link_plainly(con, people, (THRESHOLD,))
        figures = {"cpu": _cpu() - started, "peak_mb": _peak_mb()}
        con.register("clusters", plain.clusters[THRESHOLD])
        figures["bcubed"] = _bcubed(con, folder, "clusters")
        return {**figures, "records": people.num_rows, "pairs": count_pairs(con, plain)}


def _with_one_phone(folder: Path) -> pa.Table:
    """The records as a user of plain Splink would have them."""
    with duckdb.connect() as con:
        return con.execute(f"""
            select * exclude (mobile) replace (coalesce(mobile, phone) as phone)
            from '{folder}/people-*.parquet'
        """).to_arrow_table()


def _home(part: str, folder: Path, threads: int) -> dict[str, Any]:
    from klantbeeld import identity
    from klantbeeld.control import open_control
    from klantbeeld.settings import load_settings

    settings = load_settings(home=folder / "home")
    warehouse = settings.warehouse.model_copy(update={"threads": threads})
    settings = settings.model_copy(update={"warehouse": warehouse})
    control = open_control(settings)
    with duckdb.connect(str(folder / "build.duckdb")) as con:
        con.execute("set threads = ?", [threads])
        con.execute("set memory_limit = ?", [warehouse.memory_limit])
        con.execute("create schema if not exists intermediate")
        shown = "where hash(record_id) % 100 <> 0" if part == "first" else ""
        con.execute(f"""
            create or replace table intermediate.int_linkage_records as
            from '{folder}/linkage-*.parquet' {shown}
        """)
        # What the engine still has to do for them is not linkage's.
        con.execute("force checkpoint")
        how = identity.How.CHANGES
        if part == "full":
            con.execute("drop schema if exists identity cascade")
            how = identity.How.ALL
        started = _cpu()
        report = identity.link(con, settings, control, part, how)
        con.execute("checkpoint")
        figures = {"cpu": _cpu() - started, "peak_mb": _peak_mb()}
        linked = "(select record_id, profile_id as cluster from identity.profile_records)"
        figures["bcubed"] = _bcubed(con, folder, linked)
        if part in {"first", "increment"}:
            pending = identity.read_pending_profile_ids(con, control)
            with control.begin() as connection:
                identity.commit_profile_ids(connection, pending, part)
    control.close()
    return {
        **figures,
        "records": report.records,
        "scored_records": report.scored_records,
        "pairs": report.pairs - report.pairs_by_rule.get("SAME_COMPONENT", 0),
        "moved_records": report.moved_records,
    }


def _bcubed(con: duckdb.DuckDBPyConnection, folder: Path, clusters: str) -> float:
    truth = f"(select record_id, person_id as cluster from '{folder}/people-*.parquet')"
    return evaluate_clusters(con, clusters, truth).bcubed_f1


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _print(figures: dict[str, dict[str, Any]]) -> None:
    print("| | records | CPU s | pairs per record | peak MB | records scored | B-cubed F1 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for part in SHOWN:
        if part in figures:
            row = figures[part]
            print(
                f"| {part} | {row['records']:,} | {row['cpu']:.1f} "
                f"| {row['pairs'] / row['records']:.2f} | {row['peak_mb']:,.0f} "
                f"| {row.get('scored_records', row['records']):,} | {row['bcubed']:.4f} |"
            )
    for one, other in (("full", "plain"), ("increment", "full")):
        if {one, other} <= figures.keys():
            cpu, pairs, peak = (
                figures[one][name] / figures[other][name] for name in ("cpu", "pairs", "peak_mb")
            )
            print(f"| {one} / {other} | | {cpu:.2f} | {pairs:.2f} | {peak:.2f} | | |")
    if "increment" in figures:
        increment = figures["increment"]
        moved, records = increment["moved_records"], increment["records"]
        print(f"\nThe increment moved {moved:,} known records ({moved / records:.4%}).")


if __name__ == "__main__":
    main()
