"""A run with a challenger that a pipeline trains: from the order to the promotion, and what can go wrong between."""

import json
import re
from datetime import timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest
from django.test import Client

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import create_token
from inference.registry.files.datasets import path_of as dataset_path
from inference.registry.models import Dataset, Deployment
from monitors.feed.models import FeedEvent
from monitors.workflows import selectors, services
from monitors.workflows.context import run_folder
from monitors.workflows.models import RemoteTraining, Run, RunState
from monitors.workflows.schemas import RunOut
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import (
    Pipeline,
    error_of,
    let_pass,
    looked_at,
    train,
)
from tests.monitors.workflows.remote.service import Service
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


class TestRun:
    @pytest.mark.slow
    def test_goes_on_with_the_onnx_that_comes_back_and_promotes_it(
        self, run: Run, pipeline: Pipeline, turned_world: World
    ) -> None:
        assert (run.state, run.needs, run.waiting_for) == ("waiting", "pipeline", "the pipeline")
        assert run.lease_token is None
        rows = pipeline.rows()
        assert pipeline.progress(progress=0.4, message="epoch 4 of 10")[0] == 200
        assert looked_at(run).waiting_for == "the pipeline (40%): epoch 4 of 10"

        status, answer = pipeline.artifact(
            train(rows), metrics='{"roc_auc": 0.9}', lineage="https://mlflow.example.com/runs/7"
        )

        assert status == 201, answer
        run = looked_at(run)
        assert (run.state, run.needs) == ("waiting", "traffic"), RunOut.of(run)
        for day in (11, 12):
            turned_world.send_day(day)
        run = looked_at(run)
        steps = {
            step.name: step for step in RunOut.of(selectors.get_run(model=run.model, run_id=run.pk)).steps
        }
        assert run.state == "promoted", steps
        assert all(step.state == "done" and step.attempts == 1 for step in steps.values())
        assert steps["train"].evidence["metrics"] == {"roc_auc": 0.9}
        assert steps["validate"].evidence["metrics"]["log_loss"]["difference"] < 0
        assert Deployment.objects.get(model=run.model).champion == run.challenger
        lineage = run.challenger.lineage
        assert (lineage["trainer"], lineage["uri"]) == ("remote", "https://mlflow.example.com/runs/7")
        reference = Dataset.objects.get(version=run.challenger, kind="reference")
        assert reference.rows == steps["snapshot"].evidence["holdout_rows"]
        assert pq.read_table(dataset_path(reference))["probability"].null_count == 0
        assert not run_folder(run.pk).exists()

    def test_tells_the_pipeline_all_that_a_challenger_has_to_be(
        self, run: Run, pipeline: Pipeline, service: Service
    ) -> None:
        order, [asked] = pipeline.order, service.asked

        key = asked.headers["webhook-id"]
        assert re.fullmatch(rf"driftline-run-{run.pk}-[0-9a-f]{{12}}", key)
        assert run.steps.get(name="train").evidence["key"] == key
        assert (order["run"], order["model"], order["task"]) == (run.pk, "flight-delay", "binary")
        assert order["trigger"] == {
            "text": "ada",
            "rule": None,
            "url": f"{run.model.project.url}/models/flight-delay/runs/{run.pk}",
        }
        assert order["snapshot"]["columns"] == ["wind", "load", "carrier", "label", "time"]
        snapshot = run.steps.get(name="snapshot").evidence
        assert order["snapshot"]["rows"] == snapshot["training_rows"] == len(pipeline.rows())
        assert order["job"]["classes"] == ["late", "on_time"]
        assert [tensor["name"] for tensor in order["job"]["layout"]["inputs"]] == ["wind", "load", "carrier"]
        assert pipeline.rows()["time"].max() < pd.Timestamp(snapshot["holdout_start"])

    def test_lets_the_pipeline_read_its_order_again(self, run: Run, pipeline: Pipeline) -> None:
        status, order = pipeline.read_order()

        assert (status, order) == (200, pipeline.order)

    def test_shows_the_order_to_nobody_who_may_not_read_rows(
        self, run: Run, pipeline: Pipeline, client: Client
    ) -> None:
        project = run.model.project
        _, deploy = create_token(project=project, name="ci", scopes=[Scope.DEPLOY], actor="ada")

        pipeline.token = deploy

        assert pipeline.read_order()[1]["code"] == "insufficient_scope"

    def test_shows_the_token_nowhere(self, run: Run, pipeline: Pipeline) -> None:
        described = json.dumps(str(RunOut.of(selectors.get_run(model=run.model, run_id=run.pk))))
        audited = json.dumps(list(AuditEntry.objects.values_list("after", flat=True)))

        assert pipeline.token not in described + audited
        assert pipeline.token not in str(RemoteTraining.objects.values().get())


class TestFailure:
    def test_fails_the_run_with_its_reason_and_people_hear_of_it(self, run: Run, pipeline: Pipeline) -> None:
        onnx = train(pipeline.rows())
        assert pipeline.failed("out of memory on worker 3")[0] == 200
        assert pipeline.failed("out of memory on worker 3")[0] == 200
        assert pipeline.artifact(onnx)[1]["code"] == "training_failed"

        run = looked_at(run)

        assert run.state == "failed"
        assert error_of(run) == "The pipeline gave up: out of memory on worker 3"
        assert "out of memory on worker 3" in FeedEvent.objects.get(kind="run.failed").text


class TestSilence:
    def test_until_the_deadline_fails_the_run(self, run: Run, pipeline: Pipeline) -> None:
        let_pass(run, deadline=timedelta(seconds=1))
        assert pipeline.progress(progress=0.9)[1]["code"] == "deadline_passed"
        assert pipeline.snapshot().json()["code"] == "deadline_passed"

        run = looked_at(run)

        assert run.state == "failed"
        assert "sent no model by" in error_of(run)


class TestTokenOfAFinishedRun:
    def test_opens_nothing_and_says_what_happened(self, run: Run, pipeline: Pipeline) -> None:
        onnx = train(pipeline.rows())
        services.cancel(run=run, actor="ada")

        answers = [
            pipeline.progress(progress=0.5)[1],
            pipeline.artifact(onnx)[1],
            pipeline.failed("too late")[1],
            pipeline.read_order()[1],
            pipeline.snapshot().json(),
        ]

        assert {answer["code"] for answer in answers} == {"run_finished"}
        assert answers[0]["detail"].startswith(f"Run {run.pk} is cancelled already")
        assert run.model.versions.count() == 1

    @pytest.mark.parametrize("path", ["", "/versions", "/deployment", "/runs"])
    def test_never_opened_anything_else(
        self, run: Run, pipeline: Pipeline, client: Client, path: str
    ) -> None:
        headers = {"Authorization": f"Bearer {pipeline.token}"}

        assert client.get(f"/api/v1/models/flight-delay{path}", headers=headers).status_code == 401

    def test_in_a_url_is_refused(self, run: Run, pipeline: Pipeline) -> None:
        url = f"/api/v1/runs/{run.pk}/snapshot?key={pipeline.token}"

        assert pipeline.snapshot(url).status_code == 400


def test_a_run_that_trains_here_takes_no_artifact(turned_world: World, client: Client) -> None:
    run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
    project = turned_world.model.project
    _, token = create_token(project=project, name="ci", scopes=[Scope.DEPLOY], actor="ada")

    answer = client.post(
        f"/api/v1/runs/{run.pk}/progress",
        {"progress": 0.1},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "no_pipeline")
    assert run.state == RunState.QUEUED
