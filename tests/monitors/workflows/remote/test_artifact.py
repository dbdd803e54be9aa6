"""The ONNX that a pipeline sends: taken once, opened within bounds, refused by name."""

from datetime import timedelta

import pytest

from driftline.base.accounts.models import Project
from monitors.workflows.context import run_folder
from monitors.workflows.models import RemoteTraining, Run, Workflow
from tests.monitors.workflows.remote.conftest import (
    Pipeline,
    error_of,
    let_pass,
    looked_at,
    train,
    train_to_answer_nan,
)

pytestmark = pytest.mark.slow


class TestArtifact:
    def test_again_is_a_repeat_and_another_is_refused(self, run: Run, pipeline: Pipeline) -> None:
        rows = pipeline.rows()
        onnx = train(rows)

        answers = [pipeline.artifact(one) for one in (onnx, onnx, train(rows, c=0.5))]

        assert [status for status, _ in answers] == [201, 200, 409]
        assert answers[2][1]["code"] == "artifact_taken"
        run = looked_at(run)
        assert run.needs == "traffic"
        assert [pipeline.artifact(one)[0] for one in (onnx, train(rows, c=0.5))] == [200, 409]
        assert run.model.versions.count() == 2

    def test_is_opened_by_nothing_once_the_run_has_its_model(
        self, run: Run, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = pipeline.rows()
        assert pipeline.artifact(train(rows))[0] == 201
        opened: list[object] = []
        monkeypatch.setattr("inference.registry.versions.inspect_artifact", lambda *_, **__: opened.append(1))

        answers = [pipeline.artifact(content) for content in (train(rows), train(rows, c=0.5), b"no onnx")]

        assert [status for status, _ in answers] == [200, 409, 409]
        assert {answer["code"] for _, answer in answers[1:]} == {"artifact_taken"}
        assert opened == []

    def test_is_refused_after_the_deadline_even_as_a_repeat(self, run: Run, pipeline: Pipeline) -> None:
        onnx = train(pipeline.rows())
        assert pipeline.artifact(onnx)[0] == 201
        let_pass(run, deadline=timedelta(seconds=1))

        assert pipeline.artifact(onnx)[1]["code"] == "deadline_passed"

    def test_is_refused_unread_after_many_that_were_refused(self, run: Run, pipeline: Pipeline) -> None:
        RemoteTraining.objects.filter(run=run).update(artifact_tries=19)

        answers = [pipeline.artifact(b"no onnx") for _ in range(2)]

        assert answers[0][1]["code"] != "too_many_artifacts"
        assert (answers[1][0], answers[1][1]["code"]) == (409, "too_many_artifacts")

    def test_for_a_project_that_is_full_is_refused_until_it_holds_less(
        self, run: Run, pipeline: Pipeline
    ) -> None:
        onnx = train(pipeline.rows())
        projects = Project.objects.filter(pk=run.model.project_id)
        projects.update(max_bytes=10, stored_bytes=10)

        status, answer = pipeline.artifact(onnx)

        training = RemoteTraining.objects.get(run=run)
        assert (status, answer["code"], training.artifact_tries) == (429, "quota_reached", 0)
        assert "of a quota of" in training.message
        projects.update(stored_bytes=5)
        assert pipeline.artifact(onnx)[0] == 201

    def test_that_is_no_onnx_is_refused_and_the_run_waits_on(self, run: Run, pipeline: Pipeline) -> None:
        refused = [
            pipeline.artifact(content) for content in (b"\x80\x04pickle", b"", b"\x08\x08 no protobuf")
        ]

        assert [400 <= status < 500 for status, _ in refused] == [True] * 3, refused
        assert looked_at(run).needs == "pipeline"
        assert pipeline.artifact(train(pipeline.rows()))[0] == 201

    def test_of_another_signature_is_refused_with_what_differs(self, run: Run, pipeline: Pipeline) -> None:
        status, answer = pipeline.artifact(train(pipeline.rows(), columns=("wind", "carrier")))

        assert status == 422, answer
        assert "load" in answer["detail"] or "input" in answer["detail"]
        assert looked_at(run).needs == "pipeline"

    def test_sent_with_the_token_of_another_run_is_refused(self, run: Run, pipeline: Pipeline) -> None:
        onnx = train(pipeline.rows())
        pipeline.order["callback"]["artifact"] = f"https://d.example/api/v1/runs/{run.pk + 1}/artifact"

        status, answer = pipeline.artifact(onnx)

        assert (status, answer["code"]) == (403, "other_run")
        assert f"run {run.pk} alone" in answer["detail"]

    def test_that_is_another_on_the_disk_afterwards_is_not_registered(
        self, run: Run, pipeline: Pipeline
    ) -> None:
        rows = pipeline.rows()
        assert pipeline.artifact(train(rows))[0] == 201
        (run_folder(run.pk) / "artifact.onnx").write_bytes(train(rows, c=0.5))

        run = looked_at(run)

        assert (run.state, run.model.versions.count()) == ("failed", 1)
        assert "not the one announced" in error_of(run)

    def test_is_not_opened_with_more_memory_than_the_machine_has(
        self, run: Run, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert pipeline.artifact(train(pipeline.rows()))[0] == 201
        monkeypatch.setattr("monitors.workflows.starting.training.memory_of_machine_mb", lambda: 1024)
        Workflow.objects.filter(model=run.model).update(memory_mb=2048)

        assert "the worker's machine has 1,024" in error_of(looked_at(run))

    def test_with_metrics_that_are_no_numbers_is_refused(self, run: Run, pipeline: Pipeline) -> None:
        status, answer = pipeline.artifact(train(pipeline.rows()), metrics='{"auc": "high"}')

        assert (status, answer["errors"][0]["pointer"]) == (422, "/metrics")

    @pytest.mark.slow
    def test_that_answers_nan_for_held_out_rows_fails_the_run(self, run: Run, pipeline: Pipeline) -> None:
        assert pipeline.artifact(train_to_answer_nan(pipeline.rows()))[0] == 201

        run = looked_at(run)

        assert run.state == "failed"
        assert "no finite number" in error_of(run)
