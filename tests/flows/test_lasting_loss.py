"""A model whose owner asked for no floor, and whose answers become wrong while its inputs stay as they are."""

from datetime import timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Transition
from tests.worlds.approvals import DAY, FOUR_HOURS, give_reference, label, log, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

DAYS, ROWS, WRONG_FROM = 20, 200, 8


@pytest.fixture
def watched(project: Project, home: object) -> Model:
    model = create_model(project=project, name="watched", task="binary", actor="test")
    give_reference(model, days=30)
    add_default_rules(project=project, model=model, actor="test")
    return model


def live(model: Model, wrong_from: int) -> None:
    """Send days with their labels, which from one day on have nothing to do with the answers."""
    for number in range(DAYS):
        day = DAY + timedelta(days=number)
        rows = rows_of_a_day(day, ROWS, hours=FOUR_HOURS)
        labels = truths(rows, seed=number)
        if number >= wrong_from:
            coins = np.random.default_rng(number).integers(2, size=ROWS)
            labels = [replace(one, label=str(coin)) for one, coin in zip(labels, coins, strict=True)]
        log(model, rows)
        label(model, labels)
    work(model)
    for transition in Transition.objects.filter(model=model).order_by("pk"):
        handle_transition(transition.pk)


def test_opens_an_incident_by_the_default_rules(watched: Model) -> None:
    live(watched, wrong_from=WRONG_FROM)

    incident = Incident.objects.get(model=watched)
    assert (incident.rule.name, incident.severity) == ("Lasting loss of performance", "warning")
    assert abs(incident.since - (DAY + timedelta(days=WRONG_FROM))) <= timedelta(days=3)
    assert "Log loss" in Transition.objects.get(rule=incident.rule, kind="opened").detail["point"]["counted"]


def test_days_that_are_as_good_as_the_reference_open_none(watched: Model) -> None:
    live(watched, wrong_from=DAYS)

    assert not Incident.objects.filter(model=watched).exists()
