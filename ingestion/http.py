"""dlt's REST client on the product's own HTTP session."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from ingestion.intake import SourceUnavailable
from klantbeeld.errors import KlantbeeldError
from klantbeeld.http import HttpError, RetryPolicy, StatusError, TokenProvider, session
from klantbeeld.settings import Settings

# Some seconds of patience: the next run tries again anyway, and other sources are waiting.
_RETRY = RetryPolicy(attempts=4, base_seconds=0.5, cap_seconds=8.0, longest_wait_seconds=60.0)


class CheckedSession(requests.Session):
    """Sends through a guarded session, and raises for a status that is not a success.

    dlt raises from a hook that runs inside `send`: a 429 or a 401 would be an exception before the
    guarded session could wait or renew its token. So the hook is taken off, and the last answer is
    checked here.
    """

    def __init__(
        self, settings: Settings, base_url: str, token_provider: TokenProvider | None
    ) -> None:
        super().__init__()
        self.trust_env = False
        self._guarded = session(
            settings, base_url=base_url, token_provider=token_provider, retry=_RETRY
        )
        self.headers = self._guarded.headers

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and raise unless the answer is a success."""
        request.hooks = {"response": []}
        response = self._guarded.send(request, **kwargs)
        response.raise_for_status()
        return response

    def close(self) -> None:
        """Close all connections."""
        self._guarded.close()
        super().close()


@contextmanager
def told(source: str) -> Iterator[None]:
    """Turn what dlt makes of an HTTP failure into what a person can act on.

    Raises:
        SourceUnavailable: The system cannot be reached, is in trouble, or refuses us.
        KlantbeeldError: It refused this one request.
    """
    try:
        yield
    except Exception as error:
        found = _root(error)
        if isinstance(found, StatusError) and found.status not in (401, 403, 429):
            if found.status < 500:
                raise found from None
        elif isinstance(found, KlantbeeldError) and not isinstance(found, HttpError):
            raise found from None
        if isinstance(found, HttpError):
            raise SourceUnavailable(f"{source}: {found.message}", found.hint) from None
        if isinstance(found, requests.RequestException):
            raise SourceUnavailable(
                f"{source}: the answer is not what its API promises ({type(found).__name__})",
                "Check base_url: another service may be answering there.",
            ) from None
        raise


def _root(error: BaseException) -> BaseException | None:
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, KlantbeeldError | requests.RequestException):
            return current
        current = current.__cause__
    return None
