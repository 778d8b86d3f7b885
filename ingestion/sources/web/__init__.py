"""web: the click stream of the web site, JSON lines in a folder.

<folder>/events-<yyyy-mm-dd>.jsonl -> landing/web -> raw_web.events
"""

from typing import Any

from ingestion.folder import open_folder
from ingestion.intake import Intake
from ingestion.sources.web.contracts import PATTERNS, TABLES
from ingestion.sources.web.helpers import read_files
from ingestion.sources.web.settings import WebSettings

SETTINGS = WebSettings
FROM_FILES = True
SYSTEM = "json"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "open_source", "read_files"]


def open_source(intake: Intake, config: WebSettings) -> Any | None:
    """Click-stream files that the build does not hold yet."""
    return open_folder(intake, config, TABLES, PATTERNS, read_files)
