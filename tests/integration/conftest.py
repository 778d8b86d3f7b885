"""What tests on a whole home share: making a world and running it once is most of their time."""

from collections.abc import Iterator

import pytest

from tests.fixtures.living_home import CalmHome, calm_home


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalmHome]:
    """A home that was run once, undisturbed. Tests leave it as it is."""
    with calm_home(tmp_path_factory.mktemp("calm")) as made:
        yield made
