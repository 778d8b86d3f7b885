"""Destinations served beside each other: a sick one holds nobody up but itself.

Belongs here: a thread for each destination, and what came of its sends as they end. What a send
does is not known here.

    lanes (destination -> its sends, in order) -> one thread each -> outcomes, as they come

Sends to one destination go one after another: they share its limits. A destination that hangs
keeps its own thread busy until its time-outs and the run's patience are used up. Whoever stops
listening leaves the threads to die with the process, as after a kill: the next run reads back what
was on its way.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ended(Generic[T]):
    """How one job ended.

    Attributes:
        name: The job's name.
        result: What it returned, or the exception that it ended with.
    """

    name: str
    result: T | Exception


def side_by_side(
    lanes: Mapping[str, Sequence[tuple[str, Callable[[], T]]]],
) -> Iterator[Ended[T]]:
    """Run the lanes beside each other and give each job's end as it comes.

    Args:
        lanes: By lane, the jobs and their names; a lane's jobs run in this order, each also when
            the one before it failed.
    """
    ended: queue.SimpleQueue[Ended[T]] = queue.SimpleQueue()

    def drive(jobs: Sequence[tuple[str, Callable[[], T]]]) -> None:
        for name, job in jobs:
            result: T | Exception
            try:
                result = job()
            except Exception as error:  # noqa: BLE001 - handed to whoever listens
                result = error
            ended.put(Ended(name, result))

    for lane, jobs in lanes.items():
        # Daemons: Ctrl-C must not wait for a destination that hangs.
        threading.Thread(target=drive, args=(jobs,), name=f"lane {lane}", daemon=True).start()
    for _ in range(sum(map(len, lanes.values()))):
        yield ended.get()
