"""Quarantined rows as a source: what was set aside goes through validation again.

A payload is kept in the form in which validation took it: a line under its header, a JSON document,
or the digest of a landed file. So the same rules read it, and the same counts balance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pyarrow as pa

from ingestion import quarantine
from ingestion.intake import Intake, TableLoad
from ingestion.landing import LandedFile
from klantbeeld.control import ControlPlane

# Whoever replays an oversized file has decided that it is to be read.
_ANY_SIZE = 2**62


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
                read = partial(_read, found[table.name], module, intake)
                yield intake.replay_resource(table, read)

    return Replay(replayed(), intake, intake.control, found)


def _read(rows: pa.Table, module: ModuleType, intake: Intake, load: TableLoad) -> None:
    """Hand payloads to validation, in the form they were kept in."""
    lines: dict[str, list[tuple[str, int, str]]] = {}
    documents: list[tuple[str, int, str]] = []
    files: list[LandedFile] = []
    landed = {(file.name, file.digest): file for file in intake.landing.versions()}
    for row in rows.to_pylist():
        payload = row["payload"] or ""
        if file := landed.get((row["position"], payload)):
            files.append(file)
            continue
        name, _, number = row["position"].rpartition(":")
        place = (name, int(number) if number.isdigit() else 0)
        header, is_line, line = payload.partition("\n")
        if is_line and load.table.from_files:
            lines.setdefault(header, []).append((*place, line))
        else:
            documents.append((*place, payload))
    for header, found in lines.items():
        load.rows.add_lines(header.split(load.table.delimiter), *_columns(found))
    if documents and load.table.from_files:
        load.rows.add_documents(*_columns(documents))
    elif documents:
        load.rows.add_documents(pa.array([text for _, _, text in documents], pa.string()))
    if files:
        module.read_files(intake, files, _ANY_SIZE, load)


def _columns(found: list[tuple[str, int, str]]) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """Texts, files, line numbers, and nothing for bytes that cannot be read."""
    return (
        pa.array([text for _, _, text in found], pa.string()),
        pa.array([file for file, _, _ in found], pa.string()),
        pa.array([number for _, number, _ in found], pa.int64()),
        pa.nulls(len(found), pa.string()),
    )
