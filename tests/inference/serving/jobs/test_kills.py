"""`kill -9` of the processes that run jobs: each acknowledged job ends, and is in the log once."""

import os
import signal
from pathlib import Path

import msgspec
import pytest

from driftline.base.accounts.models import Project
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Model, Version
from inference.serving.job_limits import JobLimits
from inference.serving.options import EngineOptions
from inference.serving.plan import PlanModel, PlanVersion
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.running import (
    Response,
    Server,
    publish,
    rows_body,
    running_server,
    token,
)
from tests.waiting import wait_until
from tests.worlds.approvals import make_model

COINS = "/v2/models/coins/infer"
JOBS, KILLS, ROWS = 24, 4, 2

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]


@pytest.fixture
def model(transactional_db: None) -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"), "coins")


@pytest.fixture
def slow(model: Model, tmp_path: Path) -> PlanVersion:
    """A coin that takes some ten milliseconds to fall, in the registry and on the disk."""
    signature = classifier_signature(3)
    version = Version.objects.create(
        model=model, version="1", signature=msgspec.to_builtins(signature), sha256="0" * 64
    )
    return store(tmp_path, constant_classifier(0.75, 3, slowness=20), signature, id=version.pk, version="1")


def kill_one(server: Server) -> None:
    """Kill the process that runs most jobs, and wait for the one in its place."""
    [victim, *_] = sorted(server.status_files(), key=lambda status: -status["jobs_running"])
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: victim["pid"] not in [status["pid"] for status in server.status_files()])


def waiting(server: Server) -> int:
    return len(os.listdir(server.home / "jobs" / "open"))


@pytest.mark.e2e
def test_loses_no_job_that_was_acknowledged_and_logs_none_twice(
    model: Model, slow: PlanVersion, tmp_path: Path
) -> None:
    publish(tmp_path, [PlanModel(model.pk, 1, "coins", 1, "1", [], [slow])], [token("dl_infer")])
    options = EngineOptions(jobs=JobLimits(max_starts=KILLS + 1))
    body = rows_body(*[[1, 2, 3]] * ROWS)
    with running_server(tmp_path, workers=2, options=options) as server:
        jobs: list[Response] = []
        for _ in range(KILLS):
            jobs += [
                server.ask(COINS, body, headers={"prefer": "respond-async"}) for _ in range(JOBS // KILLS)
            ]
            left = waiting(server)
            wait_until(lambda most=left - 1: waiting(server) <= max(most, 0))  # it is in the midst of it
            kill_one(server)
        wait_until(lambda: waiting(server) == 0)
        answers = [server.ask(job.headers["location"], method="GET") for job in jobs]

    while drain_once(tmp_path)[1]:
        pass
    accepted = {f"{job.json['prediction_id']}:{row}" for job in jobs for row in range(ROWS)}
    stored = list(PredictionRow.objects.filter(model_id=model.pk).values_list("prediction_id", flat=True))
    assert [job.status for job in jobs] == [202] * JOBS
    assert [answer.status for answer in answers] == [200] * JOBS
    assert {tuple(answer.json["outputs"][0]["data"]) for answer in answers} == {(1,) * ROWS}
    assert sorted(stored) == sorted(accepted)
