"""A source that drops files in a folder: what is new is landed, sorted by table, and read.

    open_folder: [sources.<source>].folder -> landing/<source> -> raw_<source>.<table>

Here: what every such source does. Not here: how a file is read (`delimited`, or the source's own
`read_files`), how it is kept (`landing`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from ingestion.contracts import Table
from ingestion.intake import Intake, TableLoad
from ingestion.landing import LandedFile
from ingestion.settings import FolderSettings

ReadFiles = Callable[[Intake, list[LandedFile], int, TableLoad], None]


def open_folder(
    intake: Intake,
    config: FolderSettings,
    tables: Sequence[Table],
    patterns: Mapping[str, str],
    read_files: ReadFiles,
) -> Any | None:
    """Receive new files, and load those that the build does not hold; nothing if it holds all.

    Args:
        intake: The load.
        config: Where the files are.
        tables: The contracts, in the order in which they are loaded.
        patterns: Per table, what the names of its files look like: `**/receipts_*.csv`.
        read_files: Hands the lines of landed files to validation.
    """
    import dlt

    intake.notes += intake.landing.receive(
        config.folder,
        list(patterns.values()),
        settle_seconds=config.settle_seconds,
        at=intake.at,
    )
    by_table = files_by_table(intake.unread_files(), patterns)
    if not by_table:
        return None
    max_bytes = config.max_file_megabytes * 2**20

    @dlt.source(name=tables[0].source, max_table_nesting=0)
    def landed_files() -> Iterator[Any]:
        for table in tables:
            if found := by_table.get(table.name):
                yield intake.resource(table, partial(read_files, intake, found, max_bytes))
        yield intake.landed(by_table)

    return landed_files()


def files_by_table(
    files: Sequence[LandedFile], patterns: Mapping[str, str]
) -> dict[str, list[LandedFile]]:
    """Files by the table they belong to: the first whose pattern fits their name."""
    # Folders were looked at when the file was received.
    names = {table: pattern.rpartition("/")[2] for table, pattern in patterns.items()}
    found: dict[str, list[LandedFile]] = {}
    for file in files:
        own = file.name.rpartition("/")[2]
        for table, pattern in names.items():
            if fnmatchcase(own, pattern):
                found.setdefault(table, []).append(file)
                break
    return found
