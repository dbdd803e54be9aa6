"""A real Airflow trains the challengers of whole runs."""

from collections.abc import Iterator

import pytest

from monitors.workflows.engine import advance
from monitors.workflows.models import Run
from tests.orchestrators.airflow import Airflow
from tests.orchestrators.whole_runs import WholeRuns, assert_promoted_once, finish
from tests.waiting import is_running
from tests.worlds.turning_flights import World

pytestmark = [pytest.mark.orchestrators, pytest.mark.e2e]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    with Airflow.running(tmp_path_factory.mktemp("airflow")) as running:
        yield running


class TestRunsWithAirflow(WholeRuns):
    def test_train_anew_where_the_scheduler_is_killed_with_its_task(
        self, run: Run, server: Airflow, turned_world: World
    ) -> None:
        with server.held():
            advance(run_id=run.pk)
            process = server.held_process()
            with server.killed("pipelines"):
                assert not is_running(process)

        assert_promoted_once(finish(run, turned_world), server)
