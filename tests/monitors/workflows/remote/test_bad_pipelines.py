"""What a pipeline does wrong: the run says what happened, people hear of it, and nothing is half promoted."""

from datetime import timedelta
from functools import partial

import pytest
from django.test import Client

from inference.registry.files import artifacts
from inference.registry.models import Deployment, DeploymentChange
from monitors.feed.models import FeedEvent
from monitors.workflows import services
from monitors.workflows.models import Run
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import (
    Pipeline,
    error_of,
    let_pass,
    looked_at,
    train,
    verified,
)
from tests.monitors.workflows.remote.service import Service

pytestmark = pytest.mark.slow


def assert_champion_alone(run: Run, *, versions: int = 1) -> None:
    """Check that nothing was promoted, and that nothing but the champion gets requests."""
    deployment = Deployment.objects.get(model=run.model)
    assert run.model.versions.count() == versions
    assert (deployment.champion, deployment.canary) == (run.champion, None)
    assert not deployment.shadows.exists()
    assert not DeploymentChange.objects.filter(model=run.model, kind="promote").exists()


def assert_people_hear(run: Run, words: str) -> None:
    """Check that the run has failed for this reason, on its page and as an event."""
    assert run.state == "failed"
    assert words in error_of(run)
    assert words in FeedEvent.objects.get(kind="run.failed", subject=f"run-{run.pk}").text


def test_that_sends_two_models_has_the_first_one_go_on(run: Run, pipeline: Pipeline) -> None:
    rows = pipeline.rows()
    first = pipeline.artifact(train(rows))[1]["artifact_sha256"]

    _, refusal = pipeline.artifact(train(rows, c=0.5))

    run = looked_at(run)
    assert f"has its model already, with the SHA-256 {first}" in refusal["detail"]
    assert run.steps.get(name="train").evidence["artifact_sha256"] == first
    assert (run.needs, run.challenger.sha256) == ("traffic", first)
    assert Deployment.objects.get(model=run.model).champion == run.champion


def test_that_never_answers_fails_the_run_at_its_deadline(run: Run, pipeline: Pipeline) -> None:
    let_pass(run, deadline=timedelta(seconds=1))

    run = looked_at(run)

    assert_people_hear(run, "The pipeline sent no model by")
    assert_champion_alone(run)


def test_that_answers_late_reads_why_the_run_had_failed(run: Run, pipeline: Pipeline) -> None:
    onnx = train(pipeline.rows())
    let_pass(run, deadline=timedelta(seconds=1))
    run = looked_at(run)

    status, refusal = pipeline.artifact(onnx)

    assert (status, refusal["code"]) == (409, "run_finished")
    assert f"Run {run.pk} is failed already: train: The pipeline sent no model by" in refusal["detail"]
    assert looked_at(run).state == "failed"
    assert_champion_alone(run)


def test_of_an_earlier_run_gives_its_model_to_no_later_one(
    run: Run, pipeline: Pipeline, service: Service, client: Client
) -> None:
    onnx = train(pipeline.rows())
    pipeline.failed("out of memory")
    looked_at(run)
    later = starts.start_run(model=run.model, trigger="ada", actor="ada")
    later = looked_at(later)
    addressed = verified(service.asked[-1])["callback"]["artifact"]

    to_its_own = pipeline.artifact(onnx)[1]
    pipeline.order["callback"]["artifact"] = addressed
    to_the_later = pipeline.artifact(onnx)[1]

    assert (to_its_own["code"], to_the_later["code"]) == ("run_finished", "other_run")
    assert (later.pk != run.pk, looked_at(later).waiting_for) == (True, "the pipeline")
    assert_champion_alone(later)


def test_that_sends_another_signature_is_shown_with_what_differs(run: Run, pipeline: Pipeline) -> None:
    words = "a model was refused: The model has no input 'load'; its inputs are 'wind, carrier'."
    pipeline.artifact(train(pipeline.rows(), columns=("wind", "carrier")))
    assert words in looked_at(run).waiting_for
    assert_champion_alone(run)
    let_pass(run, deadline=timedelta(seconds=1))

    run = looked_at(run)

    assert_people_hear(run, words)
    assert_champion_alone(run)


def test_that_sends_too_many_bytes_is_cut_off_and_shown(
    run: Run, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that announces more than 2 GiB is refused before: `tests/driftline/api/front/test_body_cap.py`."""
    onnx = train(pipeline.rows())
    small = partial(artifacts.receive, max_bytes=len(onnx) - 1)
    monkeypatch.setattr("inference.registry.versions.artifacts.receive", small)

    status, refusal = pipeline.artifact(onnx)

    assert (status, refusal["code"]) == (413, "artifact_too_large")
    run = looked_at(run)
    assert (run.needs, "a model was refused: The file is larger than" in run.waiting_for) == (
        "pipeline",
        True,
    )
    assert_champion_alone(run)


def test_of_a_run_that_was_cancelled_reads_that_and_changes_nothing(run: Run, pipeline: Pipeline) -> None:
    onnx = train(pipeline.rows())
    services.cancel(run=run, actor="ada")

    _, refusal = pipeline.artifact(onnx)

    assert refusal["detail"].startswith(f"Run {run.pk} is cancelled already")
    assert looked_at(run).state == "cancelled"
    assert_champion_alone(run)
