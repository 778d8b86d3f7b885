"""Linkage quality and cost, ours beside plain Splink, on every labelled data set, in one run.

`python -m benchmarks.identity --data FOLDER` links each set in a process of its own and prints one
table. Ours is what a home does on its first run, with the defaults: values that identify nobody set
aside, the default model fitted to the records, conflict-aware clusters. Plain is
`benchmarks.plain_splink` at 0.95, and at the best of several thresholds.

CPU seconds are those of linking, without drawing or reading the records; peak memory is the
process's, records included.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from benchmarks.datasets import DATASETS, Dataset, load
from benchmarks.plain_splink import THRESHOLD, count_pairs, link_plainly
from klantbeeld.identity.evaluation import Quality, evaluate_clusters
from klantbeeld.settings import IdentitySettings

OURS: Final = "klantbeeld"
PLAIN: Final = "plain"
BEST_OF: Final = (0.2, 0.5, 0.9, THRESHOLD, 0.99, 0.999)


def measure(system: str, dataset: Dataset) -> list[dict[str, Any]]:
    """Link one data set and judge it; one row of figures per system and threshold."""
    if system == OURS:
        clusters, cost = _link_ours(dataset)
        return [_row(OURS, evaluate(dataset, clusters), cost)]
    records = dataset.plain_records()
    with duckdb.connect(config={"threads": 2}) as con:
        plain = link_plainly(con, records, BEST_OF, is_british=dataset.is_british)
        cost = {"cpu_s": plain.cpu_s[THRESHOLD], "memory": _peak_mb()}
        cost["pairs"] = count_pairs(con, plain) / records.num_rows
    found = {at: evaluate(dataset, clusters) for at, clusters in plain.clusters.items()}
    best = max(found, key=lambda at: found[at].bcubed_f1)
    return [
        _row(f"plain, {THRESHOLD}", found[THRESHOLD], cost),
        _row(f"plain, best ({best})", found[best], {}),
    ]


def _link_ours(dataset: Dataset) -> tuple[pa.Table, dict[str, float]]:
    from klantbeeld.identity.files.standardising import write_birth_texts
    from klantbeeld.identity.linking import link_people
    from klantbeeld.identity.model import default_model
    from klantbeeld.identity.preparation import connect, make_people
    from klantbeeld.identity.suppression import suppress_values

    records = dataset.linkage_records()
    started = time.process_time()
    con = connect(2, "8GB")
    count = make_people(con, records)
    con.register("birth_texts", dataset.birth_texts())
    write_birth_texts(con)
    suppress_values(con, b"0" * 32)
    linkage = link_people(con, default_model(), count, IdentitySettings().join_probability)
    cpu = time.process_time() - started
    ids = con.execute("select record_id from people order by id").to_arrow_table()
    clusters = pa.table({"record_id": ids.column(0), "cluster": linkage.clusters.labels})
    return clusters, {"cpu_s": cpu, "pairs": linkage.pairs / count, "memory": _peak_mb()}


def evaluate(dataset: Dataset, clusters: pa.Table) -> Quality:
    """Figures of clusters (`record_id`, `cluster`) against the data set's labels."""
    with duckdb.connect() as con:
        con.register("predicted", clusters)
        con.register("truth", dataset.truth())
        return evaluate_clusters(con, "predicted", "truth")


def _row(system: str, quality: Quality, cost: Mapping[str, float]) -> dict[str, Any]:
    return {
        "system": system,
        "records": quality.records,
        "precision": quality.pair_precision,
        "recall": quality.pair_recall,
        "f1": quality.pair_f1,
        "bcubed": quality.bcubed_f1,
        **cost,
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measured_apart(name: str, system: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The same in a process of its own, so that memory is its own too."""
    command = [sys.executable, "-m", "benchmarks.identity", "--one", name, system]
    if arguments.data:
        command += ["--data", str(arguments.data)]
    if arguments.records:
        command += ["--records", str(arguments.records)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", help=f"any of {', '.join(DATASETS)}; default all")
    parser.add_argument("--data", type=Path, help="folder of labelled files; see datasets")
    parser.add_argument("--records", type=int, help="records to draw, for invented sets")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, system = arguments.one
        dataset = load(name, arguments.data, arguments.records)
        print(json.dumps(measure(system, dataset) if dataset else []))
        return
    print(
        "| data set | records | system | precision | recall | F1 | B-cubed | CPU s | pairs | MB |"
    )
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in arguments.sets or DATASETS:
        for system in (OURS, PLAIN):
            for row in _measured_apart(name, system, arguments):
                cost = (
                    f"{row['cpu_s']:.1f} | {row['pairs']:.2f} | {row['memory']:,.0f}"
                    if "cpu_s" in row
                    else " | | "
                )
                print(
                    f"| {name} | {row['records']:,} | {row['system']} | {row['precision']:.4f} "
                    f"| {row['recall']:.4f} | {row['f1']:.4f} | {row['bcubed']:.4f} | {cost} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
