"""What an incident says once the champion was changed because of it."""

from datetime import datetime, timedelta

import pytest

from driftline.base.accounts.models import Project
from driftline.base.periods import floor
from inference.registry.deployments import rollback
from inference.registry.models import Deployment, DeploymentChange, Model, Version
from monitors.alerts.incidents.way_back import change_since
from monitors.alerts.models import Delivery, Incident
from monitors.alerts.sending.notifying import notify
from monitors.alerts.story import REMINDER
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.monitors.alerts.conftest import DAY, HOUR, Fire, Make
from tests.worlds.incidents import open_incident

MORNING = datetime.fromisoformat("2026-12-03T06:56:00Z")


@pytest.fixture
def incident(fire: Fire) -> Incident:
    return open_incident(fire(age=timedelta(0)))


def roll_back(model: Model, at: datetime = MORNING) -> None:
    """Roll version 2 back to version 1, when the newest event was at that time."""
    newer = Version.objects.create(model=model, version="2")
    deployment = Deployment.objects.get(model=model)
    deployment.previous, deployment.champion = deployment.champion, newer
    deployment.save()
    rollback(model=model, expected_generation=None, actor="ada")
    DeploymentChange.objects.filter(model=model).update(event_time=at)


def measure_hour(model: Model, start: datetime, value: float) -> None:
    point = MetricPoint(
        model=model, metric="log_loss", value=value, n=120, status="ok", start=start, end=start + HOUR, span="hour",
        role="champion",
    )  # fmt: skip
    save_points([point])


def test_says_nothing_before_a_change(incident: Incident) -> None:
    assert change_since(incident) is None


def test_says_at_once_what_was_done_and_when_it_may_end(incident: Incident) -> None:
    roll_back(incident.model)

    change = change_since(incident)

    assert change is not None
    assert change.ends_earliest == floor(MORNING, "day") + 2 * DAY
    assert change.sentence == (
        "Rolled back to version 1, 2026-12-03 06:56 UTC; the incident ends after 2 good days in a row, once their "
        "labels have come, 2026-12-05 00:00 UTC at the earliest. No whole hour since has a value yet."
    )


def test_shows_the_first_figures_of_whole_hours_since_on_its_page(
    incident: Incident, model: Model, project: Project
) -> None:
    roll_back(model)
    measure_hour(model, floor(MORNING, "hour"), 0.61)
    measure_hour(model, floor(MORNING, "hour") + HOUR, 0.48)

    page = markup(viewer_of(project).get(f"/incidents/{incident.pk}"))

    assert (
        "Since then Log loss was 0.48 on 120 rows in the hour from 2026-12-03 07:00 UTC, limit 0.55." in page
    )


def test_says_so_to_the_api_and_in_the_messages_that_follow(
    incident: Incident, project: Project, make: Make
) -> None:
    channel = make("opsgenie")
    roll_back(incident.model)
    said = "Rolled back to version 1, 2026-12-03 06:56 UTC; the incident ends after 2 good days in a row"

    answer = viewer_of(project).get(f"/api/v1/incidents/{incident.pk}").json()
    notify(incident, incident.opening, REMINDER, [channel])

    assert answer["change_since"].startswith(said)
    assert said in Delivery.objects.get(event=REMINDER).body


def test_says_nothing_of_a_change_before_it_or_once_it_is_resolved(fire: Fire, model: Model) -> None:
    roll_back(model)
    later = open_incident(fire(age=timedelta(0)))
    assert change_since(later) is None

    DeploymentChange.objects.filter(model=model).update(at=later.created_at + HOUR)
    later.status = Incident.Status.RESOLVED
    assert change_since(later) is None
