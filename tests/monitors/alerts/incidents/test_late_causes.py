"""Causes that take too long do not hold up the first message: it goes without, and the incident gets them later."""

import json
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from driftline.tasks import sweep
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.incidents.late_causes import add_late_causes
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import notifying
from monitors.rules.judging import current_breach
from monitors.rules.models import Transition
from tests.monitors.alerts.conftest import Fire

FOUND = [{"kind": "drift", "feature": "origin", "score": 0.7, "evidence": "moved"}]


def slow(**_: Any) -> list[dict[str, Any]]:
    """Rank causes with a question that takes half a minute."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")
    return FOUND


@pytest.fixture
def fired(fire: Fire, webhook: Channel, monkeypatch: pytest.MonkeyPatch) -> Transition:
    """A rule that fires while the causes cannot be ranked in time."""
    monkeypatch.setattr(notifying, "MAX_CAUSES_SECONDS", 0.1)
    monkeypatch.setattr(current_breach, "rank_causes", slow)
    return fire()


def test_the_first_message_goes_without(fired: Transition) -> None:
    handle_transition(fired.pk)

    delivery = Delivery.objects.get()
    assert (delivery.event, delivery.state) == ("incident.opened", "pending")
    assert json.loads(delivery.body)["causes"] == []
    assert Incident.objects.filter(causes_due_at__lte=Now()).exists()


def test_the_incident_gets_them_once(fired: Transition, monkeypatch: pytest.MonkeyPatch) -> None:
    handle_transition(fired.pk)
    incident = Incident.objects.get()
    monkeypatch.setattr(current_breach, "rank_causes", lambda **_: FOUND)

    tried = [add_late_causes(incident.pk), add_late_causes(incident.pk)]

    incident.refresh_from_db()
    assert tried == [True, False]
    assert (incident.causes, incident.causes_due_at) == (FOUND, None)
    assert incident.events.get(kind="causes").text == "Likely causes: origin"


@pytest.mark.slow
def test_the_sweep_asks_for_them_where_the_message_was_lost(
    fired: Transition, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    handle_transition(fired.pk)
    sent: list[tuple[str, Any]] = []
    monkeypatch.setattr("driftline.tasks.enqueue", lambda task, **given: sent.append((task, given)))

    sweep()

    assert ("monitors.rank_causes", {"incident_id": Incident.objects.get().pk}) in sent


@pytest.mark.slow
def test_are_left_out_where_they_cannot_be_ranked_at_all(
    fired: Transition, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle_transition(fired.pk)
    monkeypatch.setattr("monitors.alerts.incidents.late_causes.MAX_SECONDS", 0.1)

    add_late_causes(Incident.objects.get().pk)

    incident = Incident.objects.get()
    assert (incident.causes, incident.causes_due_at) == ([], None)
    assert "could not be ranked" in incident.events.get(kind="causes").text


def test_of_a_window_that_was_judged_without_them_are_asked_for(fire: Fire, webhook: Channel) -> None:
    handle_transition(fire(detail={"causes": [], "causes_are_late": True}).pk)

    assert Incident.objects.filter(causes_due_at__lte=Now()).exists()
