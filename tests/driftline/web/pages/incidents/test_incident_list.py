"""The list of incidents begins with what matters most."""

from datetime import datetime, timedelta

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from inference.registry.services import create_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.alerts.services import resolve
from monitors.rules.models import Rule, Transition
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)


def open_incident(project: Project, title: str, severity: str, at: datetime) -> Incident:
    """Open an incident of a model of its own, as those of one model that overlap are one."""
    name = f"of-{title.replace(' ', '-')}"
    model = create_model(project=project, name=name, task="binary", actor="test")
    rule = Rule.objects.create(
        project=model.project, model=model, name=title, metric="log_loss", threshold=0.5, cooldown=DAY,
        notify_within=DAY, severity=severity,
    )  # fmt: skip
    fired = Transition.objects.create(
        rule=rule,
        model=model,
        kind="opened",
        window_start=at - DAY,
        window_end=at,
        value=0.7,
        n=9,
        threshold=0.5,
    )
    handle_transition(fired.pk)
    incident = Incident.objects.get(alerts__opened_by=fired)
    Incident.objects.filter(pk=incident.pk).update(title=title)
    return incident


@pytest.fixture
def incidents(project: Project) -> None:
    """Incidents that were opened in another order than that of their severities; two are resolved."""
    start = now() - 20 * DAY
    resolved = [
        open_incident(project, "old resolved", "critical", start + DAY),
        open_incident(project, "new resolved", "notice", start + 10 * DAY),
    ]
    open_incident(project, "critical", "critical", start + 2 * DAY)
    open_incident(project, "old warning", "warning", start + 3 * DAY)
    open_incident(project, "new warning", "warning", start + 4 * DAY)
    open_incident(project, "notice", "notice", start + 5 * DAY)
    for incident in resolved:
        resolve(incident=incident, actor="test", now=incident.opened_at + DAY)


def titles(client: Client, status: str) -> list[str]:
    table = markup(client.get(f"/incidents/?status={status}")).split("<tbody>")[1].split("</tbody>")[0]
    known = ["old resolved", "new resolved", "critical", "old warning", "new warning", "notice"]
    return sorted(
        (title for title in known if f">{title}<" in table), key=lambda title: table.index(f">{title}<")
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("", ["critical", "new warning", "old warning", "notice"]),
        ("all", ["critical", "new warning", "old warning", "notice", "new resolved", "old resolved"]),
        ("resolved", ["new resolved", "old resolved"]),
    ],
)
def test_lists_open_ones_by_severity_and_then_the_newest_first(
    client: Client, incidents: None, status: str, expected: list[str]
) -> None:
    assert titles(client, status) == expected


def test_a_viewer_sees_the_same_order(project: Project, incidents: None) -> None:
    assert titles(viewer_of(project), "")[0] == "critical"
