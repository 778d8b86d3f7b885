"""crm: the CRM's Web API.

    contacts, accounts, leads             -> raw_crm.<same>, by delta link
    EntityDefinitions/optionsets (labels) -> raw_crm.option_labels

What the product itself writes in the CRM (`cdp_customerprofiles`) is not read back here.
"""

from collections.abc import Iterator
from typing import Any

import dlt

from ingestion.intake import Intake
from ingestion.sources.crm.contracts import OPTION_LABELS, TABLES
from ingestion.sources.crm.helpers import Crm
from ingestion.sources.crm.settings import CrmSettings

SETTINGS = CrmSettings
FROM_FILES = False
SYSTEM = "http"

__all__ = ["FROM_FILES", "SETTINGS", "SYSTEM", "TABLES", "crm", "open_source"]


@dlt.source(name="crm", max_table_nesting=0)
def crm(intake: Intake, api: Crm) -> Iterator[Any]:
    """All tables by delta link, and the labels of their options."""
    for table in TABLES:
        yield intake.resource(table, api.read_option_labels if table is OPTION_LABELS else api.read)


def open_source(intake: Intake, config: CrmSettings) -> Any | None:
    """Open a session; what there is to load turns out on the way."""
    api = Crm(intake, config)
    intake.on_exit(api.close)
    return crm(intake, api)
