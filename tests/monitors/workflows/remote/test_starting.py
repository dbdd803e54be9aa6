"""How a run starts its pipeline: once, with the same order, whatever happens to worker and receiver."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from driftline.base.errors import Problem
from monitors.feed.models import FeedEvent
from monitors.workflows.hooks import set_pipeline, train_in_pipeline
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.services import configure_workflow
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import (
    SECRET,
    Pipeline,
    configure,
    error_of,
    let_pass,
    looked_at,
    train,
    verified,
)
from tests.monitors.workflows.remote.service import Service
from tests.monitors.workflows.worker import die_at
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


class TestStart:
    def test_has_a_key_that_the_same_number_of_another_database_has_not(
        self, run: Run, service: Service
    ) -> None:
        key = service.asked[0].headers["webhook-id"]
        training = RemoteTraining.objects.get(run=run)
        training.delete()
        Run.objects.filter(pk=run.pk).update(state="running", needs="", waiting_for="")

        looked_at(run)

        assert service.asked[1].headers["webhook-id"] != key

    def test_a_worker_killed_before_it_noted_the_start_sends_the_same_order_again(
        self, turned_world: World, service: Service
    ) -> None:
        configure(turned_world.model, service)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
        die_at("train", run)

        run = looked_at(run)

        first, second = service.asked
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert verified(first) == verified(second)
        assert run.needs == "pipeline"
        looked_at(run)
        assert len(service.asked) == 2, "a start that was noted is not repeated"

    def test_that_fails_is_tried_again_and_fails_the_run_by_name_in_the_end(
        self, turned_world: World, service: Service
    ) -> None:
        service.rules = lambda asked: (503, {"error": "the cluster is full"})
        configure(turned_world.model, service)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")

        run = looked_at(run)
        assert "could not be started yet" in run.waiting_for
        looked_at(run)
        assert len(service.asked) == 1, "it is not tried again at once"
        for _ in range(4):
            let_pass(run, next_start_at=timedelta(seconds=1))
            run = looked_at(run)

        assert (run.state, len(service.asked)) == ("failed", 5)
        assert error_of(run).startswith("The pipeline could not be started in 5 tries")
        assert "the cluster is full" in error_of(run)
        assert len({asked.headers["webhook-id"] for asked in service.asked}) == 1
        assert FeedEvent.objects.get(kind="run.failed").subject == f"run-{run.pk}"

    def test_by_a_receiver_that_hangs_is_cut_and_its_model_is_taken_all_the_same(
        self, turned_world: World, service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("driftline.base.outbound.json_calls.DEADLINE_SECONDS", 0.3)
        service.rules = lambda asked: (0, None)
        configure(turned_world.model, service)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")

        run = looked_at(run)

        assert run.needs == "pipeline"
        assert "timeout" in run.steps.get(name="train").evidence["last_failure"]
        pipeline = Pipeline(client, verified(service.asked[0]))
        assert pipeline.artifact(train(pipeline.rows()))[0] == 201
        assert looked_at(run).needs == "traffic"

    def test_of_a_receiver_that_answers_before_its_order_is_noted_loses_nothing(
        self, turned_world: World, service: Service, client: Client
    ) -> None:
        """A receiver may train and send within the request that orders it."""
        answers = []

        def at_once(asked: Any) -> tuple[int, Any]:
            pipeline = Pipeline(client, verified(asked))
            answers.append(pipeline.artifact(train(pipeline.rows())))
            connection.close()
            return 200, None

        service.rules = at_once
        configure(turned_world.model, service)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")

        run = looked_at(run)

        assert answers[0][0] == 201
        assert run.needs == "traffic"

    def test_keeps_the_parameters_of_the_first_order(
        self, turned_world: World, service: Service, client: Client
    ) -> None:
        service.rules = lambda asked: (503, None)
        configure(turned_world.model, service, parameters={"C": 0.5})
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
        looked_at(run)
        configure(turned_world.model, service, parameters={"C": 2.0})
        service.rules = lambda asked: (202, None)
        let_pass(run, next_start_at=timedelta(seconds=1))

        looked_at(run)

        first, second = service.asked
        assert verified(first) == verified(second)
        pipeline = Pipeline(client, verified(second))
        assert pipeline.artifact(train(pipeline.rows()))[0] == 201
        assert looked_at(run).challenger.lineage["parameters"] == {"C": 0.5}

    def test_with_another_secret_key_than_the_token_was_made_with_is_not_tried(
        self, turned_world: World, service: Service, settings: Any
    ) -> None:
        service.rules = lambda asked: (503, None)
        configure(turned_world.model, service, remote_secret=SECRET)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
        looked_at(run)
        RemoteTraining.objects.filter(run=run).update(token_digest="0" * 64)
        let_pass(run, next_start_at=timedelta(seconds=1))

        run = looked_at(run)

        assert (run.state, len(service.asked)) == ("failed", 1)
        assert "secret key is another" in error_of(run)

    def test_after_a_rotation_of_the_secret_key_has_the_same_token(
        self, turned_world: World, service: Service, client: Client, settings: Any
    ) -> None:
        service.rules = lambda asked: (503, None)
        configure(turned_world.model, service, remote_secret=SECRET)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
        looked_at(run)
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a new key"
        service.rules = lambda asked: (202, None)
        let_pass(run, next_start_at=timedelta(seconds=1))

        run = looked_at(run)

        first, second = service.asked
        assert (run.needs, verified(first)) == ("pipeline", verified(second))
        assert Pipeline(client, verified(second)).read_order() == (200, verified(second))

    def test_without_a_secret_says_that_one_is_missing(self, turned_world: World, service: Service) -> None:
        configure(turned_world.model, service, remote_secret="")
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")

        looked_at(run)

        assert "no secret" in run.steps.get(name="train").evidence["last_failure"]
        assert service.asked == []


class TestOperatorWithoutPipelines:
    def test_hands_no_rows_to_a_workflow_that_was_set_to_one_before(
        self, turned_world: World, service: Service, settings: Any
    ) -> None:
        configure(turned_world.model, service)
        settings.TRAINERS = ["sklearn_random_forest"]
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")

        run = looked_at(run)

        assert (run.state, service.asked) == ("failed", [])
        assert error_of(run) == "Trainer 'remote' is not allowed here; use another: sklearn_random_forest."

    def test_hands_no_rows_to_a_pipeline_that_was_started_before(
        self, run: Run, pipeline: Pipeline, settings: Any
    ) -> None:
        settings.TRAINERS = ["sklearn_random_forest"]

        answer = pipeline.snapshot()

        assert (answer.status_code, answer.json()["code"]) == (403, "trainer_not_allowed")
        assert looked_at(run).state == "failed"


class TestAnInstallationWithoutPipelines:
    @pytest.fixture(autouse=True)
    def left_out(self, monkeypatch: pytest.MonkeyPatch, pipeline: None) -> None:
        monkeypatch.setattr(set_pipeline, "_provided", None)
        monkeypatch.setattr(train_in_pipeline, "_provided", None)

    @pytest.fixture
    def pipeline(self, turned_world: World, service: Service) -> None:
        configure(turned_world.model, service)

    def test_fails_a_run_that_was_to_train_in_one(self, turned_world: World) -> None:
        run = looked_at(starts.start_run(model=turned_world.model, trigger="ada", actor="ada"))

        assert "DRIFTLINE_FEATURES leaves remote_training out" in error_of(run)

    def test_takes_no_settings_of_one_and_forgets_those_it_has(self, turned_world: World) -> None:
        model = turned_world.model
        with pytest.raises(Problem, match="trains in no pipelines"):
            configure_workflow(
                model=model, actor="ada", remote={"kind": "http", "url": "https://203.0.113.7"}
            )

        workflow = configure_workflow(model=model, actor="ada", remote={}, trainer="lightgbm")

        assert workflow.remote == {}
        assert workflow.remote_secret == b""
