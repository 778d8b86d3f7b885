"""What a plan costs: a model of many rows against a ledger that accepted all of them before.

    python -m benchmarks.sync_plan [--rows 1000000]

Prints CPU seconds (user and system) and peak memory of planning with 1 % of the rows changed, and
of a run with nothing to do, also as a ratio to reading the ledger, which both have to do.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from klantbeeld.activation import planning
from klantbeeld.activation.ledger import Ledger
from klantbeeld.activation.specs import PrivacyRule, SyncSpec
from klantbeeld.clock import Clock
from klantbeeld.control import open_control
from klantbeeld.settings import load_settings

_COLUMNS = 18
T = TypeVar("T")


def main() -> None:
    """Build a model and its ledger, then plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    names = [f"c{n}" for n in range(_COLUMNS)]
    spec = SyncSpec(
        name="sync_x__rows",
        relation="rows",
        destination="x",
        entity="rows",
        key="id",
        columns={"id": "x_id", **{name: f"x_{name}" for name in names}},
        mode="mirror",
        on_leave="delete",
        privacy=PrivacyRule({"c0": "email"}, record="crm:contact"),
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=Path(folder), environment="benchmark")
        control = open_control(settings)
        ledger = Ledger(control, spec.name, Clock(settings))
        connection = duckdb.connect(config={"threads": "2", "memory_limit": "4GB"})
        values = ", ".join(f"'value ' || (n * {p + 7} % 99991) as {c}" for p, c in enumerate(names))
        connection.execute(
            f"create table rows as select uuid()::varchar as id, {values}"
            f" from range({rows}) as t(n)"
        )

        def plan() -> planning.Plan:
            return planning.make_plan(
                connection, spec, ledger, home_key=settings.home_key(), epoch="0"
            )

        first, seconds = _measured(plan)
        print(f"first plan, {first.creates:,} creates: {seconds:.1f} CPU-s")
        result = connection.execute(
            "select destination_key, row_digest, column_digests from _sync_plan"
        )
        ledger.relearn(
            (
                [
                    {
                        "destination_key": key,
                        "row_digest": digest,
                        "column_digests": digests,
                        "op_id": "",
                        "written_digests": "",
                        "subjects": "",
                        "is_created": True,
                    }
                    for key, digest, digests in block
                ]
                for block in iter(lambda: result.fetchmany(10_000), [])
            ),
            [],
        )
        _, reading = _measured(ledger.acknowledged)
        print(f"reading the ledger: {reading:.1f} CPU-s")
        nothing, seconds = _measured(plan)
        assert nothing.operations == 0
        print(f"nothing to do: {seconds:.1f} CPU-s ({seconds / reading:.1f} x reading)")
        connection.execute("update rows set c3 = 'changed' where hash(id) % 100 = 0")
        changed, seconds = _measured(plan)
        print(
            f"1 % changed, {changed.updates:,} updates: {seconds:.1f} CPU-s"
            f" ({seconds / reading:.1f} x reading)"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:,.0f} MB")


def _measured(work: Callable[[], T]) -> tuple[T, float]:
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


if __name__ == "__main__":
    main()
