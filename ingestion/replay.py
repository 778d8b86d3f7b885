"""Quarantined rows as a source: what was set aside goes through validation again.

A payload is kept in the form in which validation took it: a line under its header, a JSON document, or the digest
of a landed file. So the same rules read it, and the same counts balance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pyarrow as pa

from ingestion import quarantine
from ingestion.contracts import Table
from ingestion.intake import Intake, TableLoad
from klantbeeld.control import ControlPlane


@dataclass(frozen=True)
class Replay:
    """A replay that is about to be loaded.

    Attributes:
        source: The dlt source to extract.
        intake: The load it is part of.
        control: The control plane.
        rows: Per table, the open rows.
    """

    source: Any
    intake: Intake
    control: ControlPlane
    rows: dict[str, pa.Table]

    def settle(self) -> None:
        """Mark as replayed what is no longer in quarantine."""
        for table, rows in self.rows.items():
            outcome = self.intake.outcomes.get(table)
            if outcome is None:
                continue
            still_bad = {
                (row["position"], row["payload"]) for row in outcome.quarantined.rows.to_pylist()
            }
            left = [
                row["quarantine_id"]
                for row in rows.to_pylist()
                if (row["position"], row["payload"]) not in still_bad
            ]
            quarantine.settle(self.control, left, quarantine.REPLAYED, self.intake.at)


def replayed_source(name: str, module: ModuleType, intake: Intake) -> Replay | None:
    """The open rows of a source, to be loaded; nothing if there are none."""
    import dlt

    found: dict[str, pa.Table] = {}
    for table in module.TABLES:
        rows = quarantine.open_rows(intake.control, name, table.name)
        if rows.num_rows:
            found[table.name] = rows
    if not found:
        return None

    @dlt.source(name=name, max_table_nesting=0)
    def replayed() -> Iterator[Any]:
        for table in module.TABLES:
            if table.name in found:
                yield intake.replay_resource(table, partial(_read, found[table.name]))

    return Replay(replayed(), intake, intake.control, found)


def _read(rows: pa.Table, load: TableLoad) -> None:
    """Hand payloads to validation, in the form they were kept in."""
    documents: list[tuple[str, str]] = []
    for row in rows.to_pylist():
        position, payload = row["position"], row["payload"] or ""
        header, is_line, line = payload.partition("\n")
        if is_line and load.table.from_files:
            file, _, number = position.rpartition(":")
            load.rows.add_lines(
                header.split(";"),
                pa.array([line], pa.string()),
                pa.array([file], pa.string()),
                pa.array([int(number)], pa.int64()),
                pa.nulls(1, pa.string()),
            )
        else:
            documents.append((position, payload))
    _read_documents(load, load.table, documents)


def _read_documents(load: TableLoad, table: Table, documents: list[tuple[str, str]]) -> None:
    if not documents:
        return
    texts = pa.array([text for _, text in documents], pa.string())
    if not table.from_files:
        load.rows.add_documents(texts)
        return
    places = [position.rpartition(":") for position, _ in documents]
    load.rows.add_documents(
        texts,
        pa.array([file for file, _, _ in places], pa.string()),
        pa.array([int(number) if number.isdigit() else 0 for _, _, number in places], pa.int64()),
    )
