"""Which till file holds what."""

from collections.abc import Sequence

from ingestion.landing import LandedFile
from ingestion.sources.pos.contracts import table_of


def files_by_table(files: Sequence[LandedFile]) -> dict[str, list[LandedFile]]:
    """Files by the table they belong to."""
    found: dict[str, list[LandedFile]] = {}
    for file in files:
        found.setdefault(table_of(file.name).name, []).append(file)
    return found
