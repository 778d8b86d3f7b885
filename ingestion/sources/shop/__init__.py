"""shop: the web shop's PostgreSQL.

public.customers, addresses, categories, products, orders, order_lines, returns -> raw_shop.<same>
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dlt

from ingestion.intake import Intake
from ingestion.sources.shop.contracts import TABLES
from ingestion.sources.shop.helpers import Shop, connect
from ingestion.sources.shop.settings import ShopSettings

SETTINGS = ShopSettings
FROM_FILES = False
SYSTEM = "postgres"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "open_source", "shop"]


@dlt.source(name="shop", max_table_nesting=0)
def shop(intake: Intake, config: ShopSettings, database: Shop) -> Iterator[Any]:
    """All tables, by `updated_at`, and the keys that are gone."""
    for table in TABLES:
        yield intake.resource(table, database.read, lag=timedelta(minutes=config.lag_minutes))


def open_source(intake: Intake, config: ShopSettings) -> Any | None:
    """Connect; what there is to load turns out on the way."""
    database = connect(config, TABLES)
    intake.on_exit(database.close)
    return shop(intake, config, database)
