"""The run's clock: one place that says what time it is.

Business time (`as_of`) comes from a file when the settings name one, so that a demo world, a test
or a replay of the past owns its date. Wall-clock time is for logs, leases and expiry only.
"""

import json
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from klantbeeld.errors import SettingsError
from klantbeeld.settings import Settings


class Clock:
    """Business time and wall-clock time of one home."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.as_of_file
        self._zone = ZoneInfo(settings.time_zone)

    def as_of(self) -> datetime:
        """The moment that a run speaks of, in UTC.

        Raises:
            SettingsError: `as_of_file` is missing or does not hold a time with its zone.
        """
        if self._file is None:
            return self.now()
        try:
            as_of = datetime.fromisoformat(json.loads(self._file.read_text())["as_of"])
        except FileNotFoundError:
            raise SettingsError(
                f"as_of_file: {self._file} does not exist",
                "Start the world that owns it (`klantbeeld demo start`) or remove the setting.",
            ) from None
        except (ValueError, KeyError, TypeError):
            raise SettingsError(
                f"as_of_file: {self._file} does not hold a time",
                'Expected JSON such as {"as_of": "2026-03-01T22:59:59+00:00"}.',
            ) from None
        if as_of.tzinfo is None:
            raise SettingsError(
                f"as_of_file: the time in {self._file} has no zone",
                "Write it with an offset, such as +00:00.",
            )
        return as_of.astimezone(UTC)

    def business_date(self) -> date:
        """The calendar date of `as_of` in the business time zone."""
        return self.as_of().astimezone(self._zone).date()

    def now(self) -> datetime:
        """Wall-clock time, in UTC."""
        return datetime.now(UTC)
