"""How fast the demo's people are drawn: alone, with their records, and with their history.

`python -m benchmarks.generator --persons 100000` draws the world in memory, without the systems
that it would be written to. The world is drawn in blocks, so memory does not grow with it.
"""

import argparse
import os
import time
from collections.abc import Iterator

import numpy as np

from demo.people import WORLD_START, blocks
from demo.records import Counters
from demo.systems import draw_membership, draw_records
from demo.tables import draw_blocks, end_of_day, microseconds

SEED = 42


def people(persons: int) -> Iterator[int]:
    """Rows drawn block by block: people and companies."""
    for block in blocks(persons, SEED, WORLD_START):
        yield block.people.num_rows + block.companies.num_rows


def records(persons: int) -> Iterator[int]:
    """The same, with what the systems have written down about them."""
    as_of = microseconds(end_of_day(WORLD_START))
    counters = Counters()
    for block in blocks(persons, SEED, WORLD_START):
        rng = np.random.default_rng([SEED, 1, block.number])
        membership = draw_membership(rng, block.people)
        drawn = draw_records(
            rng, block.people, block.companies, membership, counters, as_of, WORLD_START
        )
        yield sum(table.num_rows for table in drawn.values())


def world(persons: int) -> Iterator[int]:
    """The same, with 18 months of orders, receipts, mails and clicks."""
    for tables in draw_blocks(persons, SEED):
        yield sum(table.num_rows for table in tables.values())


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=100_000)
    persons = parser.parse_args().persons
    print(f"{persons:,} persons, {os.cpu_count()} cores\n")
    print("| drawn | rows | wall s | CPU s | persons per second | per CPU second |")
    print("|---|---:|---:|---:|---:|---:|")
    sum(people(1000))  # what is read and compiled once
    for name, draw in (
        ("people", people),
        ("people and their records", records),
        ("people, records and 18 months", world),
    ):
        started, cpu = time.perf_counter(), time.process_time()
        rows = sum(draw(persons))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"| {name} | {rows:,} | {seconds:.1f} | {cpu:.1f} | {persons / seconds:,.0f} "
            f"| {persons / cpu:,.0f} |"
        )


if __name__ == "__main__":
    main()
