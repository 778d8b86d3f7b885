"""Reading the CRM's Web API (OData v4) with dlt's REST client, by delta link.

The first answer to `Prefer: odata.track-changes` holds all rows and ends with a delta link; asking
that link gives what changed and what was deleted since, and the next link. A link that has expired
is answered with an error: then all rows are read again, and what is no longer among them was
deleted.
"""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from ingestion.http import CheckedSession, told
from ingestion.intake import Intake, TableLoad
from ingestion.sources.crm.contracts import LOGICAL_NAMES
from ingestion.sources.crm.settings import CrmSettings
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import ClientCredentials, StatusError

_EXPIRED = "0x80044352"
_LINK, _LINK_AT, _ATTRIBUTES = "delta_link", "delta_link_at", "attributes"


class Crm:
    """The CRM's Web API during one load."""

    def __init__(self, intake: Intake, config: CrmSettings) -> None:
        from dlt.sources.helpers.rest_client.client import RESTClient

        base = config.base_url.rstrip("/") + "/"
        parts = urlsplit(base)
        tokens = ClientCredentials(
            intake.settings,
            token_url=config.token_url or f"{parts.scheme}://{parts.netloc}/token",
            client_id=config.client_id,
            client_secret=config.client_secret.get_secret_value(),
        )
        self._config = config
        self._notes = intake.notes
        self._session = CheckedSession(intake.settings, base, tokens)
        self._client = RESTClient(base_url=base, session=self._session)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def read(self, load: TableLoad) -> None:
        """Changes and deletions since the last load, or all rows."""
        with told("crm"):
            attributes = self._attributes(load)
            columns = self._columns(load, attributes)
            before = load.state.get(_LINK)
            link = None
            changes = 0
            if before:
                try:
                    link, changes = self._read_pages(load, before, None)
                except StatusError as error:
                    if not _is_expired(error):
                        raise
                    self._notes.append(
                        f"{load.table.name}: the CRM no longer knows what changed since the last"
                        " load; all rows were read again"
                    )
            if link is None:
                link, changes = self._read_pages(load, load.table.name, columns)
                load.rows.keep_only_read()
        load.state[_ATTRIBUTES] = attributes
        if changes or not before or self._is_old(load):
            load.state[_LINK] = link
            load.state[_LINK_AT] = load.at.isoformat()

    def read_option_labels(self, load: TableLoad) -> None:
        """All option labels; there are few."""
        with told("crm"):
            response = self._client.get("EntityDefinitions/optionsets")
            answer = response.json()
        rows = answer.get("value") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise KlantbeeldError(f"{load.table.name}: the CRM's answer holds no list of labels")
        load.rows.add_page(rows)
        load.rows.keep_only_read()

    def _read_pages(self, load: TableLoad, path: str, columns: list[str] | None) -> tuple[str, int]:
        """Read all pages; the delta link they end with, and how many rows they held."""
        from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

        prefer = f"odata.track-changes,odata.maxpagesize={self._config.page_rows}"
        pages = self._client.paginate(
            path,
            params={"$select": ",".join(columns)} if columns else None,
            headers={"Prefer": prefer},
            paginator=JSONLinkPaginator(next_url_path="['@odata.nextLink']"),
            data_selector="$",
        )
        deleted: list[str] = []
        link, rows = None, 0
        for page in pages:
            answer = page[0] if page else None
            if not isinstance(answer, dict) or not isinstance(answer.get("value"), list):
                raise KlantbeeldError(f"{load.table.name}: the CRM's answer holds no list of rows")
            found = answer["value"]
            # Only an answer to a delta link tells deletions, and such answers are short.
            gone = [row for row in found if _is_deletion(row)] if columns is None else []
            deleted += [str(row["id"]) for row in gone]
            load.rows.add_page([row for row in found if not _is_deletion(row)] if gone else found)
            rows += len(found)
            link = answer.get("@odata.deltaLink")
        if not link:
            raise KlantbeeldError(
                f"{load.table.name}: the CRM gave no delta link",
                "Switch change tracking on for this table in the CRM.",
            )
        load.rows.delete(pa.table({load.table.key[0]: pa.array(deleted, pa.string())}))
        return str(link), rows

    def _attributes(self, load: TableLoad) -> list[str]:
        """The columns that the CRM has for this table."""
        name = LOGICAL_NAMES[load.table.name]
        response = self._client.get(
            f"EntityDefinitions(LogicalName='{name}')/Attributes", params={"$select": "LogicalName"}
        )
        answer = response.json()
        found = answer.get("value") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise KlantbeeldError(
                f"{load.table.name}: the CRM's answer holds no list of columns",
                "Check base_url: another service may be answering there.",
            )
        return sorted(str(row["LogicalName"]) for row in found)

    def _columns(self, load: TableLoad, attributes: list[str]) -> list[str]:
        """What to select; remarks on columns that came or went since the last load."""
        table = load.table
        present = [column for column in table.columns if column.name in attributes]
        gone = sorted({column.name for column in table.columns} - set(attributes))
        essential = [c.name for c in table.columns if c.is_required or c.name in table.key]
        if missing := [name for name in essential if name in gone]:
            raise KlantbeeldError(
                f"{table.name}: the source no longer has {', '.join(missing)}, without which no row"
                " can be loaded",
                "If it was renamed, change ingestion/sources/crm/contracts.py.",
            )
        # A CRM has hundreds of columns by nature; what matters is which are new since we last
        # looked.
        known = set(load.state.get(_ATTRIBUTES, attributes))
        if new := sorted(set(attributes) - known - {column.name for column in table.columns}):
            self._notes.append(
                f"{table.name}: new at the source and kept out: {', '.join(new)}. To load it, add a"
                " Column to ingestion/sources/crm/contracts.py and load with --reload."
            )
        if gone:
            self._notes.append(
                f"{table.name}: gone at the source and now empty in what is loaded:"
                f" {', '.join(gone)}."
            )
        return [column.source_name for column in present]

    def _is_old(self, load: TableLoad) -> bool:
        since = load.state.get(_LINK_AT)
        limit = timedelta(hours=self._config.delta_hours)
        return since is None or load.at - datetime.fromisoformat(since) > limit


def _is_deletion(row: Any) -> bool:
    return isinstance(row, dict) and str(row.get("@odata.context", "")).endswith("/$deletedEntity")


def _is_expired(error: StatusError) -> bool:
    if error.status == 410:
        return True
    if error.status != 400 or error.response is None:
        return False
    try:
        code = error.response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(code == _EXPIRED)
