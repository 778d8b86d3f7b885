"""What every test starts from: no telemetry, nobody's own settings, no deadlines."""

import os

import hypothesis
import pytest

# Before any of them is imported.
os.environ.update(
    DBT_SEND_ANONYMOUS_USAGE_STATS="false",
    RUNTIME__DLTHUB_TELEMETRY="false",
    DAGSTER_DISABLE_TELEMETRY="true",
    GX_ANALYTICS_ENABLED="false",
)
for _name in [name for name in os.environ if name.startswith("KLANTBEELD_")]:
    del os.environ[_name]

# Machines are shared: a slow example says nothing about the code.
hypothesis.settings.register_profile("klantbeeld", deadline=None)
hypothesis.settings.load_profile("klantbeeld")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Everything under tests/integration is an integration test."""
    if "integration" in item.path.parts:
        item.add_marker(pytest.mark.integration)
