"""A run that asks its service how the pipeline is, and ends it with itself."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from driftline import tasks
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run, Step
from monitors.workflows.remote.stopping import STOP_TRIES, stop_pipeline
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote import checking_services as checking
from tests.monitors.workflows.remote.checking_services import FLOW_RUN, PASSWORD, FakeService
from tests.monitors.workflows.remote.conftest import Pipeline, configure, train
from tests.monitors.workflows.remote.service import Asked, Service
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


@pytest.fixture
def prefect() -> FakeService:
    return FakeService(checking.prefect)


@pytest.fixture
def service(prefect: FakeService) -> Iterator[Service]:
    with Service(prefect) as running:
        yield running


@pytest.fixture
def run(turned_world: World, service: Service) -> Run:
    """A run that has started its flow."""
    remote = {"kind": "prefect", "url": f"{service.url}/api", "deployment": "retrain/default"}
    configure(turned_world.model, service, remote=remote, remote_secret=f"admin:{PASSWORD}")
    started = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
    advance(run_id=started.pk)
    return started


def looked_at(run: Run, *, after: timedelta = timedelta(minutes=1)) -> Run:
    """Let a worker look at a run after some time, in which nothing was asked."""
    RemoteTraining.objects.filter(run=run).update(asked_at=Now() - after)
    advance(run_id=run.pk)
    return Run.objects.get(pk=run.pk)


def error_of(run: Run) -> str:
    return run.steps.get(state=Step.State.FAILED).error


def test_a_run_waits_while_the_service_says_that_it_works_and_asks_only_now_and_then(
    run: Run, prefect: FakeService, service: Service
) -> None:
    prefect.runs = dict.fromkeys(prefect.runs, "RUNNING")

    looked_at(run)
    for _ in range(3):
        advance(run_id=run.pk)

    evidence = run.steps.get(name="train").evidence
    assert (evidence["external_id"], evidence["service_says"]) == (FLOW_RUN, "running")
    assert len(service.requests("GET", f"/flow_runs/{FLOW_RUN}")) == 1


def test_a_run_fails_a_moment_after_the_service_says_that_the_pipeline_did(
    run: Run, prefect: FakeService
) -> None:
    prefect.runs = dict.fromkeys(prefect.runs, "CRASHED")

    assert looked_at(run).needs == "pipeline", "what it sent last may still be on its way"
    RemoteTraining.objects.filter(run=run).update(ended_at=Now() - timedelta(minutes=2))
    run = looked_at(run)

    assert run.state == "failed"
    assert RemoteTraining.objects.get(run=run).stops_left == 0, "nothing is left to end"
    assert error_of(run) == f"Prefect 3 says that {FLOW_RUN} failed; look there for why."


def test_a_pipeline_that_ends_without_a_model_fails_the_run_after_a_while(
    run: Run, prefect: FakeService
) -> None:
    prefect.runs = dict.fromkeys(prefect.runs, "COMPLETED")

    assert looked_at(run).needs == "pipeline"
    RemoteTraining.objects.filter(run=run).update(ended_at=Now() - timedelta(minutes=11))
    run = looked_at(run)

    assert run.state == "failed"
    assert "succeeded, and it sent no model" in error_of(run)
    assert RemoteTraining.objects.get(run=run).stops_left == 0, "a success stays one"


def test_a_run_that_the_service_starts_again_is_waited_for_again(run: Run, prefect: FakeService) -> None:
    prefect.runs = dict.fromkeys(prefect.runs, "CRASHED")
    looked_at(run)
    prefect.runs = dict.fromkeys(prefect.runs, "RUNNING")

    looked_at(run)

    assert RemoteTraining.objects.get(run=run).ended_at is None


def test_a_model_that_comes_while_the_service_says_failed_is_taken(
    run: Run, prefect: FakeService, service: Service, client: Client
) -> None:
    """The flow crashed after it had sent its model: the answer about it is older than the model."""
    pipeline = Pipeline(client, prefect.orders[0])
    onnx = train(pipeline.rows())
    answers = []

    def crash(asked: Asked) -> tuple[int, Any]:
        if not answers:
            answers.append(pipeline.artifact(onnx)[0])
            connection.close()
        return prefect(asked)

    prefect.runs = dict.fromkeys(prefect.runs, "CRASHED")
    RemoteTraining.objects.filter(run=run).update(ended_at=Now() - timedelta(minutes=2))
    service.rules = crash

    run = looked_at(run)

    assert answers == [201]
    assert (run.state, run.needs) == ("waiting", "traffic")


def test_a_service_that_does_not_answer_for_a_while_changes_nothing(
    run: Run, prefect: FakeService, service: Service
) -> None:
    service.rules = lambda asked: (502, None)
    assert looked_at(run).needs == "pipeline"
    assert "502" in run.steps.get(name="train").evidence["service_says"]

    service.rules = prefect
    looked_at(run)

    assert run.steps.get(name="train").evidence["service_says"] == "running"


class TestCancelling:
    def test_ends_the_pipeline_too(self, run: Run, prefect: FakeService) -> None:
        services.cancel(run=run, actor="ada")
        training = RemoteTraining.objects.get(run=run)

        stop_pipeline(training.pk)

        assert list(prefect.runs.values()) == ["CANCELLED"]
        training.refresh_from_db()
        assert training.stops_left == 0

    def test_is_repeated_by_the_sweep_a_few_times_while_the_service_is_away(
        self, run: Run, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service.rules = lambda asked: (503, None)
        services.cancel(run=run, actor="ada")
        enqueued: list[tuple[str, int]] = []
        monkeypatch.setattr(
            tasks, "enqueue", lambda task, **what: enqueued.append((task, what.get("training_id", 0)))
        )
        training = RemoteTraining.objects.get(run=run)

        for _ in range(STOP_TRIES + 1):
            tasks.sweep()
            stop_pipeline(training.pk)
            tasks.sweep()
            stop_pipeline(training.pk)
            RemoteTraining.objects.filter(run=run).update(next_stop_at=Now() - timedelta(seconds=1))

        wanted = [one for one in enqueued if one[0] == "monitors.stop_pipeline"]
        assert wanted == [("monitors.stop_pipeline", training.pk)] * STOP_TRIES
        assert len(service.requests("GET", f"/flow_runs/{FLOW_RUN}")) == STOP_TRIES

    def test_while_the_start_is_under_way_ends_what_it_started(
        self, turned_world: World, prefect: FakeService, service: Service
    ) -> None:
        """The run is cancelled before the answer to its start has come, so that no name of it was noted."""
        model = turned_world.model
        remote = {"kind": "prefect", "url": f"{service.url}/api", "deployment": "retrain/default"}
        configure(model, service, remote=remote, remote_secret=f"admin:{PASSWORD}")
        run = starts.start_run(model=model, trigger="ada", actor="ada")

        def cancel_meanwhile(asked: Asked) -> tuple[int, Any]:
            answer = prefect(asked)
            if asked.path.endswith("create_flow_run"):
                services.cancel(run=Run.objects.get(pk=run.pk), actor="ada")
                stop_pipeline(RemoteTraining.objects.get(run=run).pk)
                connection.close()
            return answer

        service.rules = cancel_meanwhile
        advance(run_id=run.pk)

        assert RemoteTraining.objects.get(run=run).external_id == ""
        assert list(prefect.runs.values()) == ["CANCELLED"]

    def test_asks_again_for_a_start_that_has_not_arrived_yet(self, run: Run, prefect: FakeService) -> None:
        started = dict(prefect.runs)
        prefect.runs.clear()
        RemoteTraining.objects.filter(run=run).update(external_id="", started_at=None)
        services.cancel(run=run, actor="ada")
        training = RemoteTraining.objects.get(run=run)
        stop_pipeline(training.pk)
        assert RemoteTraining.objects.get(run=run).stops_left == STOP_TRIES - 1

        prefect.runs.update(started)
        RemoteTraining.objects.filter(run=run).update(next_stop_at=Now() - timedelta(seconds=1))
        stop_pipeline(training.pk)

        assert list(prefect.runs.values()) == ["CANCELLED"]

    def test_leaves_a_run_that_succeeded_as_it_is(
        self, run: Run, prefect: FakeService, service: Service
    ) -> None:
        prefect.runs = dict.fromkeys(prefect.runs, "COMPLETED")
        services.cancel(run=run, actor="ada")

        stop_pipeline(RemoteTraining.objects.get(run=run).pk)

        assert list(prefect.runs.values()) == ["COMPLETED"]
        assert service.requests("POST", "/set_state") == []
        assert RemoteTraining.objects.get(run=run).stops_left == 0

    def test_asks_nothing_of_an_address_that_the_secret_is_not_for(
        self, run: Run, turned_world: World, service: Service
    ) -> None:
        """The workflow was led elsewhere meanwhile: the new secret must not go to the old address."""
        with Service(lambda asked: (202, None)) as other:
            configure(turned_world.model, other)
            services.cancel(run=run, actor="ada")
            stop_pipeline(RemoteTraining.objects.get(run=run).pk)

        assert "authorization" not in service.asked[-1].headers
        assert other.asked == []
