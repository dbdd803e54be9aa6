"""Incidents of a release that had one for each rule keep their story as one alert each, and go back."""

from datetime import timedelta

import pytest
from django.db import connection

from driftline.accounts.models import Project
from inference.registry.models import Model
from monitors.alerts.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, log, rows_of_a_day
from tests.worlds.incidents import open_incident
from tests.worlds.migrating import leaves, migrate

ONE_DAY = timedelta(days=1)
BEFORE = [("monitors", "0034_archived_references")]


@pytest.fixture
def fired(project: Project, model: Model) -> Transition:
    log(model, rows_of_a_day(DAY, 3))
    rule = create_rule(
        project=project, model=model, actor="test", name="income moved", metric="psi", feature="*",
        threshold=0.2, for_windows=3,
    )  # fmt: skip
    return Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=DAY, window_end=DAY + ONE_DAY,
        value=0.4, n=300, threshold=0.2, detail={"feature": "income", "causes": []},
    )  # fmt: skip


def rules_of_incidents() -> list[tuple[int, int]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rule_id, opened_by_id FROM monitors_incident")
        return list(cursor.fetchall())


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_an_incident_becomes_one_of_one_alert_and_back(fired: Transition) -> None:
    rule = Rule.objects.get(pk=fired.rule_id)
    incident = open_incident(fired)
    alert = incident.alerts.values().get()

    migrate(BEFORE)
    try:
        assert rules_of_incidents() == [(rule.pk, fired.pk)]
    finally:
        migrate(leaves())

    incident = Incident.objects.get()
    assert incident.since == fired.since
    changed = {"id", "title", "labels", "created_at", "last_window_end", "definition"}
    again = incident.alerts.values().get()
    assert again["definition"].items() <= alert["definition"].items()  # rules have had more fields since
    assert {name: value for name, value in again.items() if name not in changed} == {
        name: value for name, value in alert.items() if name not in changed
    }
    assert (incident.rule, incident.opening.value) == (rule, 0.4)


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_an_open_incident_of_before_is_resolved_by_its_rule(fired: Transition) -> None:
    Transition.objects.filter(pk=fired.pk).update(alerts_done_at=fired.at)
    open_incident(fired)
    migrate(BEFORE)
    migrate(leaves())

    day = fired.window_end - fired.window_start
    resolved = Transition.objects.create(
        rule=fired.rule, model=fired.model, kind="resolved", window_start=DAY + day, window_end=DAY + 2 * day,
        value=0.1, n=300, threshold=0.2,
    )  # fmt: skip
    handle_transition(resolved.pk)

    assert Incident.objects.get().status == "resolved"
