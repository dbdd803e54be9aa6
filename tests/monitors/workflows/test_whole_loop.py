"""The walk through the whole loop that `make test` takes: from rows of a model to the model that takes its place."""

import pytest

from inference.registry.models import Deployment
from monitors.alerts.incidents import handling
from monitors.alerts.models import Incident
from monitors.metrics.store.models import MetricPoint
from monitors.rules.services import create_rule
from monitors.summaries.models import Summary
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.starting import starts
from tests.worlds.approvals import work
from tests.worlds.turning_flights import World


@pytest.mark.cheap_process("the trainer, once")
def test_logged_rows_become_an_incident_and_a_challenger_that_is_promoted(world: World) -> None:
    model = world.model
    rule = create_rule(
        project=model.project,
        model=model,
        actor="ada",
        name="loss",
        metric="log_loss",
        threshold=0.7,
        action="retrain",
    )
    world.send_day(9, turned=False)
    for day in range(10, 15):
        world.send_day(day)

    work(model)

    assert Summary.objects.filter(model=model, span="day", role="champion").count() >= 5
    assert MetricPoint.objects.filter(model=model, metric="log_loss", span="day", value__gt=0.7).count() >= 1
    opened = rule.transitions.get(kind="opened")

    handling.handle_transition(opened.pk)
    run = starts.handle_transition(opened.pk)

    assert Incident.objects.get().model == model
    assert run is not None
    advance(run_id=run.pk)
    for day in (16, 17):
        world.send_day(day)
    services.wake_runs(model)
    advance(run_id=run.pk)

    run.refresh_from_db()
    assert run.state == "promoted"
    assert Deployment.objects.get(model=model).champion == run.challenger
