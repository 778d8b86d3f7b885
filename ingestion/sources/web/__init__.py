"""web: the click stream of the web site, JSON lines in a folder.

<folder>/events-<yyyy-mm-dd>.jsonl -> landing/web -> raw_web.events
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dlt

from ingestion.intake import Intake
from ingestion.landing import LandedFile
from ingestion.sources.web.contracts import EVENTS, PATTERN, TABLES
from ingestion.sources.web.helpers import read_files
from ingestion.sources.web.settings import WebSettings

SETTINGS = WebSettings
FROM_FILES = True
SYSTEM = "json"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "open_source", "read_files", "web"]


@dlt.source(name="web", max_table_nesting=0)
def web(intake: Intake, config: WebSettings, files: list[LandedFile]) -> Iterator[Any]:
    """Landed click-stream files that the build does not hold yet."""
    max_bytes = config.max_file_megabytes * 2**20
    yield intake.resource(EVENTS, partial(read_files, intake, files, max_bytes))
    yield intake.landed({EVENTS.name: files})


def open_source(intake: Intake, config: WebSettings) -> Any | None:
    """Receive new files; nothing if the build holds all there are."""
    intake.notes += intake.landing.receive(
        config.folder, [PATTERN], settle_seconds=config.settle_seconds, at=intake.at
    )
    files = intake.unread_files()
    return web(intake, config, files) if files else None
