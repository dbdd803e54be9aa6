"""The receiver of the guide, as it stands there, trains the challenger of a whole run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.remote.snapshot_file import snapshot_path
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import SECRET
from tests.monitors.workflows.remote.guide_receiver import guide_receiver
from tests.waiting import wait_until
from tests.worlds.turning_flights import World


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    with guide_receiver(tmp_path, SECRET) as address:
        yield address


@pytest.mark.slow
def test_the_receiver_of_the_guide_trains_a_challenger_that_is_promoted(
    turned_world: World, receiver: str, live_server: Any, settings: Any
) -> None:
    settings.PUBLIC_URL = live_server.url
    model = turned_world.model
    services.configure_workflow(
        model=model,
        actor="ada",
        trainer="remote",
        remote={"kind": "http", "url": receiver},
        remote_secret=SECRET,
        parameters={"C": 0.5},
    )
    run = starts.start_run(model=model, trigger="ada", actor="ada")

    advance(run_id=run.pk)
    wait_until(lambda: RemoteTraining.objects.exclude(artifact_sha256="").filter(run=run).first())
    wait_until(lambda: not snapshot_path(run.pk).exists(), what="the end of the snapshot, which nobody needs")
    advance(run_id=run.pk)
    for day in (11, 12):
        turned_world.send_day(day)
    advance(run_id=run.pk)

    training = RemoteTraining.objects.get(run=run)
    assert Run.objects.get(pk=run.pk).state == "promoted", training.failure
    assert (training.progress, training.message) == (0.5, "training")
