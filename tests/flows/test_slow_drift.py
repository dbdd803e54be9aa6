"""Drift so slow that no window shows it: what windows say together, from the rows to the incident."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.alerts.story import OPENED, gather
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import METRICS
from monitors.rules.defaults import default_rules
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work

pytestmark = pytest.mark.slow

A_DAY = timedelta(days=1)
DAYS, ROWS, STEADY = 70, 200, 10
PER_DAY, MOST = 0.045 / ROWS**0.5, 1.6 / ROWS**0.5
"""What the income moves by in a day and in all: 0.045 and 1.6 standard errors of a day's mean."""


@pytest.fixture
def watched(project: Project, home: object) -> Model:
    """A model with a reference of 30 days and its default rules of drift, which notify of any past."""
    model = create_model(project=project, name="watched", task="binary", actor="test")
    give_reference(model, days=30)
    for fields in default_rules(model):
        if METRICS[fields["metric"]].kind == MonitorKind.DRIFT:
            create_rule(project=project, model=model, actor="test", **fields, notify_within=3650 * A_DAY)
    return model


def live(model: Model, shift: Callable[[int], float]) -> None:
    """Send days of which all rows come in the first hour."""
    for number in range(DAYS + 1):
        day = DAY + number * A_DAY
        rows = rows_of_a_day(day, ROWS, shift=shift(number))
        log(
            model,
            [replace(row, timestamp=rfc3339(day + timedelta(seconds=15 * i))) for i, row in enumerate(rows)],
        )
    work(model)
    for transition in Transition.objects.filter(model=model).order_by("pk"):
        handle_transition(transition.pk)


def test_a_trend_below_every_limit_opens_an_incident_with_its_onset(watched: Model) -> None:
    live(watched, lambda day: min(PER_DAY * max(day - STEADY, 0), MOST))

    incident = Incident.objects.get(model=watched)  # none of days that stand out one after the other
    assert incident.rule.name == "Slow feature drift"
    assert incident.severity == "notice"
    opened = Transition.objects.get(rule=incident.rule, kind="opened")
    point = opened.detail["point"]
    assert point["counted"] == ["income"]
    assert DAY < datetime.fromisoformat(point["onset"]) < opened.window_start
    assert opened.detail["causes"][0]["feature"] == "income"
    story = gather(
        event=OPENED, event_id="1", at=opened.at, incident=incident, transition=opened, causes=(), ongoing=()
    )
    said = dict(story.facts)["Evidence"]
    assert said.startswith("Since ")
    assert "within chance" in said
    assert "add up to 1 : " in said
    pages = viewer_of(watched.project)
    about = f"/models/{watched.name}"
    assert said in markup(pages.get(f"/incidents/{incident.pk}"))
    for path in ("drift", "features/income"):
        assert "within chance, add up to 1 : " in markup(pages.get(f"{about}/{path}"))
    assert "The windows add up to no slow drift" in markup(pages.get(f"{about}/features/region"))
