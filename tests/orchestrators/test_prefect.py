"""A real Prefect trains the challengers of whole runs."""

from collections.abc import Iterator

import pytest

from tests.orchestrators.prefect import Prefect
from tests.orchestrators.whole_runs import WholeRuns

pytestmark = [pytest.mark.orchestrators, pytest.mark.e2e]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    with Prefect.running(tmp_path_factory.mktemp("prefect")) as running:
        yield running


class TestRunsWithPrefect(WholeRuns):
    pass
