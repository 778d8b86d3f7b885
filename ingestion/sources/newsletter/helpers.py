"""Reading the newsletter tool's API with dlt's `rest_api`: pages by cursor, filtered by time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingestion.http import CheckedSession, told
from ingestion.intake import Intake, TableLoad
from ingestion.sources.newsletter.contracts import DELETIONS, SINCE, SINCE_DEFAULT
from ingestion.sources.newsletter.settings import NewsletterSettings
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import StaticToken

_DELETED_UNTIL = "deletions_read_until"


class Newsletter:
    """The newsletter tool's API during one load."""

    def __init__(self, intake: Intake, config: NewsletterSettings) -> None:
        self._intake = intake
        self._config = config
        self._lag = timedelta(minutes=config.lag_minutes)
        self._session = CheckedSession(
            intake.settings, config.base_url, StaticToken(config.token.get_secret_value())
        )
        self._deletions: dict[datetime | None, pa.Table] = {}

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def read(self, load: TableLoad) -> None:
        """Rows that changed since the last load."""
        for page in self._pages(load.table.name, load.since):
            load.rows.add_page(page)

    def read_with_deletions(self, load: TableLoad) -> None:
        """Rows that changed, and then those of subscribers who were deleted.

        The rows first: a deletion that comes in between is then seen after what it deletes.
        """
        self.read(load)
        until = load.state.get(_DELETED_UNTIL)
        since = datetime.fromisoformat(until) - self._lag if until else None
        deletions = self._deleted(since)
        load.rows.delete(deletions, at="deleted_at")
        if deletions.num_rows:
            import pyarrow.compute as pc

            load.state[_DELETED_UNTIL] = pc.max(deletions["deleted_at"]).as_py().isoformat()

    def _deleted(self, since: datetime | None) -> pa.Table:
        """Deletions as subscriber_key and deleted_at; read once for all who ask the same."""
        if since not in self._deletions:
            found = self._intake.validator(DELETIONS, compare=False)
            for page in self._pages(DELETIONS.name, since):
                found.add_page(page)
            outcome = found.finish()
            if outcome.counts.rows_quarantined:
                # A deletion that is passed over would keep a person who wants to be forgotten.
                raise KlantbeeldError(
                    f"deletions: {outcome.counts.rows_quarantined} cannot be read",
                    "Compare the API's answer with ingestion/sources/newsletter/contracts.py.",
                )
            batches = [batch.select(["subscriber_key", "deleted_at"]) for batch in found.batches()]
            found.close()
            self._deletions[since] = (
                pa.concat_tables(batches)
                if batches
                else pa.table({"subscriber_key": [], "deleted_at": []})
            )
        return self._deletions[since]

    def _pages(self, name: str, since: datetime | None) -> Iterator[list[Any]]:
        from dlt.sources.rest_api import rest_api_resources

        params: dict[str, Any] = {"limit": self._config.page_rows}
        if since is not None:
            moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            params[SINCE.get(name, SINCE_DEFAULT)] = moment
        (resource,) = rest_api_resources(
            {
                "client": {"base_url": self._config.base_url, "session": self._session},
                "resources": [
                    {
                        "name": name,
                        "endpoint": {
                            "path": f"v1/{name}",
                            "params": params,
                            # The whole answer is one item: rows never pass through Python.
                            "data_selector": "$",
                            "paginator": {
                                "type": "cursor",
                                "cursor_path": "next_cursor",
                                "cursor_param": "cursor",
                            },
                        },
                    }
                ],
            }
        )
        with told("newsletter"):
            answers = 0
            for answers, answer in enumerate(resource, start=1):  # noqa: B007
                rows = answer.get("data") if isinstance(answer, dict) else None
                if not isinstance(rows, list):
                    raise _no_rows(name)
                yield rows
            # An empty list is an answer too, but not of this API: it must not pass for no news.
            if not answers:
                raise _no_rows(name)


def _no_rows(name: str) -> KlantbeeldError:
    return KlantbeeldError(
        f"{name}: the newsletter tool's answer holds no list of rows",
        "Check base_url: another service may be answering there.",
    )
