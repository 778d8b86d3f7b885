"""pos: the tills of the stores, files in a folder.

<folder>/<store>/receipts_<store>_<yyyymmdd>.csv -> landing/pos -> raw_pos.receipt_lines
<folder>/<store>/members_<store>_<yyyymmdd>.csv  -> landing/pos -> raw_pos.members
"""

from typing import Any

from ingestion.delimited import read_files
from ingestion.folder import open_folder
from ingestion.intake import Intake
from ingestion.sources.pos.contracts import PATTERNS, TABLES
from ingestion.sources.pos.settings import PosSettings

SETTINGS = PosSettings
FROM_FILES = True
SYSTEM = "csv"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "open_source", "read_files"]


def open_source(intake: Intake, config: PosSettings) -> Any | None:
    """Till files that the build does not hold yet."""
    return open_folder(intake, config, TABLES, PATTERNS, read_files)
