from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPORTED
from tests.flows.installation.running import Installation
from tests.ports import free_port

Tell = Callable[[str], None]


@pytest.fixture(scope="session")
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The installation that the tests share: a start takes ten seconds."""
    folder: Path = tmp_path_factory.mktemp("installation")
    installation = Installation(folder / "home", free_port())
    try:
        yield installation
    finally:
        installation.end()
    assert installation.processes() == []


@pytest.fixture
def installation(home_of_its_own: Installation) -> Installation:
    """The shared installation, up and answering, whatever the test before did to it."""
    home_of_its_own.start()
    return home_of_its_own


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Note a line that the run prints at its end: the counts are what these tests are for."""
    return lambda line: record_property(REPORTED, line)
