"""newsletter: the newsletter tool's API.

GET /v1/subscribers, /v1/lists, /v1/opt_ins, /v1/events -> raw_newsletter.<same>
GET /v1/deletions -> those subscribers' rows disappear from raw_newsletter
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dlt

from ingestion.intake import Intake
from ingestion.sources.newsletter.contracts import LISTS, TABLES
from ingestion.sources.newsletter.helpers import Newsletter
from ingestion.sources.newsletter.settings import NewsletterSettings

SETTINGS = NewsletterSettings
FROM_FILES = False
SYSTEM = "http"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "newsletter", "open_source"]


@dlt.source(name="newsletter", max_table_nesting=0)
def newsletter(intake: Intake, config: NewsletterSettings, api: Newsletter) -> Iterator[Any]:
    """All tables by the time of their last change."""
    lag = timedelta(minutes=config.lag_minutes)
    for table in TABLES:
        read = api.read if table is LISTS else api.read_with_deletions
        yield intake.resource(table, read, lag=lag)


def open_source(intake: Intake, config: NewsletterSettings) -> Any | None:
    """Open a session; what there is to load turns out on the way."""
    api = Newsletter(intake, config)
    intake.on_exit(api.close)
    return newsletter(intake, config, api)
