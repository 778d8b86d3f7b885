"""pos: the tills of the stores, files in a folder.

<folder>/<store>/receipts_<store>_<yyyymmdd>.csv -> landing/pos -> raw_pos.receipt_lines
<folder>/<store>/members_<store>_<yyyymmdd>.csv  -> landing/pos -> raw_pos.members
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dlt

from ingestion.delimited import read_files
from ingestion.intake import Intake
from ingestion.landing import LandedFile
from ingestion.sources.pos.contracts import PATTERNS, TABLES
from ingestion.sources.pos.helpers import files_by_table
from ingestion.sources.pos.settings import PosSettings

SETTINGS = PosSettings
FROM_FILES = True
SYSTEM = "csv"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "open_source", "pos", "read_files"]


@dlt.source(name="pos", max_table_nesting=0)
def pos(intake: Intake, config: PosSettings, files: list[LandedFile]) -> Iterator[Any]:
    """Landed till files that the build does not hold yet."""
    max_bytes = config.max_file_megabytes * 2**20
    by_table = files_by_table(files)
    for table in TABLES:
        if found := by_table.get(table.name):
            yield intake.resource(table, partial(read_files, intake, found, max_bytes))
    yield intake.landed(by_table)


def open_source(intake: Intake, config: PosSettings) -> Any | None:
    """Receive new files; nothing if the build holds all there are."""
    intake.notes += intake.landing.receive(
        config.folder, list(PATTERNS.values()), settle_seconds=config.settle_seconds, at=intake.at
    )
    files = intake.unread_files()
    return pos(intake, config, files) if files else None
