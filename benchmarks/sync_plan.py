"""What a plan costs: a model of many rows against a ledger that accepted all of them before.

    python -m benchmarks.sync_plan [--rows 1000000]

Prints CPU seconds (user and system) and peak memory of a first plan, of reading the rows that it
sends, of a run with nothing to do and of planning with 1 % of the rows changed, also as a ratio to
reading the ledger, which all of them have to do. Each is a process of its own, and so is what comes
before it: Linux hands the peak of a process on to those that it starts.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from klantbeeld.activation import planning
from klantbeeld.activation.ledger import Ledger
from klantbeeld.activation.specs import PrivacyRule, SyncSpec
from klantbeeld.clock import Clock
from klantbeeld.control import open_control
from klantbeeld.settings import load_settings

NAMES = [f"c{n}" for n in range(18)]
SPEC = SyncSpec(
    name="sync_x__rows",
    relation="rows",
    destination="x",
    entity="rows",
    key="id",
    columns={"id": "x_id", **{name: f"x_{name}" for name in NAMES}},
    mode="mirror",
    on_leave="delete",
    privacy=PrivacyRule({"c0": "email"}, record="crm:contact"),
)
STEPS = {
    "first": "first, everything to be made",
    "rows": "reading its rows, with digests",
    "ledger": "reading the ledger",
    "idle": "nothing to do",
    "changed": "1 % changed",
}


def make_model(folder: Path, rows: int) -> None:
    """Write the model."""
    values = ", ".join(f"'value ' || (n * {p + 7} % 99991) as {c}" for p, c in enumerate(NAMES))
    with duckdb.connect(str(folder / "model.duckdb")) as connection:
        connection.execute(
            f"create table rows as select uuid()::varchar as id, {values}"
            f" from range({rows}) as t(n)"
        )


def change_model(folder: Path) -> None:
    """Change one row in a hundred."""
    with duckdb.connect(str(folder / "model.duckdb")) as connection:
        connection.execute("update rows set c3 = 'changed' where hash(id) % 100 = 0")


def step(folder: Path, name: str) -> None:
    """One measured step, in the process that was started for it; prints its CPU seconds and MB."""
    settings = load_settings(home=folder / "home", environment="benchmark")
    control = open_control(settings)
    ledger = Ledger(control, SPEC.name, Clock(settings))
    home_key = settings.home_key()
    limits = {"threads": "2", "memory_limit": settings.warehouse.memory_limit}
    connection = duckdb.connect(str(folder / "model.duckdb"), read_only=True, config=limits)
    before = time.process_time()
    if name == "ledger":
        ledger.read("acknowledged")
    else:
        planning.make_plan(connection, SPEC, ledger, home_key=home_key, epoch="0")
    if name == "rows":
        before = time.process_time()
        for _ in planning.planned_rows(connection, SPEC, home_key, 1_000):
            pass
    seconds = time.process_time() - before
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def accept_everything(folder: Path) -> None:
    """Plan, and let the ledger say that all of it was accepted."""
    settings = load_settings(home=folder / "home", environment="benchmark")
    control = open_control(settings)
    ledger = Ledger(control, SPEC.name, Clock(settings))
    home_key = settings.home_key()
    with duckdb.connect(str(folder / "model.duckdb"), read_only=True) as connection:
        planning.make_plan(connection, SPEC, ledger, home_key=home_key, epoch="0")
        ledger.relearn(
            (
                [
                    {
                        "destination_key": row.key,
                        "row_digest": row.row_digest,
                        "column_digests": row.column_digests,
                        "op_id": row.op_id,
                        "written_digests": "",
                        "subjects": row.subjects,
                        "is_created": True,
                    }
                    for row in batch
                ]
                for batch in planning.planned_rows(connection, SPEC, home_key, 10_000)
            ),
            [],
        )
    control.close()


def alone(folder: Path, name: str, *arguments: str) -> str:
    """Run a step in a process of its own; returns what it prints."""
    command = [sys.executable, "-m", "benchmarks.sync_plan", "--folder", str(folder)]
    command += ["--step", name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(folder: Path, name: str) -> tuple[float, float]:
    """Run a measured step; returns its CPU seconds and peak MB."""
    seconds, memory = alone(folder, name).split()
    return float(seconds), float(memory)


def report(rows: int) -> None:
    """Build a model and its ledger, plan, and print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(folder, "make", "--rows", str(rows))
        figures = {name: measured(folder, name) for name in ("first", "rows")}
        alone(folder, "accept")
        figures |= {name: measured(folder, name) for name in ("ledger", "idle")}
        alone(folder, "change")
        figures["changed"] = measured(folder, "changed")
    print("| plan | CPU s | of reading the ledger | MB |\n|---|---:|---:|---:|")
    for name, words in STEPS.items():
        seconds, memory = figures[name]
        ratio = seconds / figures["ledger"][0]
        print(f"| {words} | {seconds:.1f} | {ratio:.1f} x | {memory:,.0f} |")


def main() -> None:
    """Print the table, or do one step of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "make":
        make_model(arguments.folder, arguments.rows)
    elif arguments.step == "accept":
        accept_everything(arguments.folder)
    elif arguments.step == "change":
        change_model(arguments.folder)
    elif arguments.step:
        step(arguments.folder, arguments.step)
    else:
        report(arguments.rows)


if __name__ == "__main__":
    main()
