"""The page of an incident: its alerts, who closed it, and what is left of a rule that was deleted."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule, delete_rule
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day

pytestmark = pytest.mark.slow

ONE_DAY = timedelta(days=1)
CAUSES = [{"kind": "fault", "feature": "income", "score": 0.2, "evidence": "missing in 20% of rows"}]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner@bank.example")


@pytest.fixture
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture
def client(owner: User) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client


@pytest.fixture
def rules(project: Project) -> list[Rule]:
    """Rules about broken data and drift that fire about the same feature, in windows of one and three days."""
    model = make_model(project)
    log(model, rows_of_a_day(DAY, 3))
    rules = []
    for metric, days in (("faulty_features", 1), ("drifted_features", 3)):
        rule = create_rule(
            project=project, model=model, actor="test", name=metric, metric=metric, threshold=0,
            severity="critical" if days == 1 else "notice",
        )  # fmt: skip
        fired = Transition.objects.create(
            rule=rule, model=model, kind="opened", window_start=DAY + 2 * ONE_DAY, window_end=DAY + 3 * ONE_DAY,
            value=1, n=300, threshold=0,
            detail={
                "feature": "", "point": {"counted": ["income"]}, "causes": CAUSES,
                "since": (DAY + (3 - days) * ONE_DAY).isoformat(),
            },
        )  # fmt: skip
        handle_transition(fired.pk)
        rules.append(rule)
    return rules


def page(client: Client) -> str:
    return markup(client.get(reverse("incident", args=[Incident.objects.get().pk])))


@pytest.mark.usefixtures("rules")
def test_lists_the_alerts_and_says_since_when_what_names_it_is_so(client: Client) -> None:
    shown = page(client)

    assert "<h1>approvals: income fails quality checks</h1>" in shown
    assert "approvals: income drifted" in shown
    assert shown.count(">firing<") + shown.count(">Firing<") == 2
    assert f'<dt>Since</dt><dd><time datetime="{DAY + 2 * ONE_DAY:%Y-%m-%dT%H:%M:%SZ}"' in shown


@pytest.mark.usefixtures("rules")
def test_says_of_the_metric_that_names_it_since_when_that_is_beyond_its_limit(client: Client) -> None:
    said = f"is above 0 since {DAY + 2 * ONE_DAY:%-d %b %Y} 00:00 UTC"

    assert said in page(client)


@pytest.mark.usefixtures("rules")
def test_says_who_closed_it_and_that_it_is_still_above_its_limit(client: Client) -> None:
    incident = Incident.objects.get()

    client.post(reverse("incident", args=[incident.pk]), {"action": "resolve"})

    incident.refresh_from_db()
    shown = page(client)
    assert incident.closed_at is not None
    assert (
        f"Closed by {incident.closed_by}, still above its limit, on {incident.closed_at:%-d %b %Y %H:%M}"
        in shown
    )
    assert f'<dt>Closed</dt><dd><time datetime="{incident.closed_at:%Y-%m-%dT%H:%M}' in shown
    assert "recovered" not in shown


def test_stays_when_its_rules_are_deleted(client: Client, rules: list[Rule]) -> None:
    asked = markup(client.get(reverse("rule_delete", args=["approvals", rules[0].pk])))
    assert f"INC-{Incident.objects.get().pk} is closed unless another rule keeps it open." in asked

    for rule in rules:
        delete_rule(rule=rule, actor="owner")

    shown = page(client)

    assert "faulty_features (deleted)" in shown
    assert "Closed: owner deleted the rule drifted_features" in shown
    assert client.get(reverse("incidents") + "?status=all").status_code == 200


def test_an_incident_of_missing_data_says_what_lacks_it(client: Client, project: Project) -> None:
    model = make_model(project)
    log(model, rows_of_a_day(DAY, 3))
    rule = create_rule(
        project=project, model=model, actor="test", name="ranks badly", metric="roc_auc", operator="below",
        threshold=0.8, no_data="alert",
    )  # fmt: skip
    fired = Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=DAY, window_end=DAY + ONE_DAY, value=None, n=0,
        threshold=0.8, detail={"no_data": True, "since": DAY.isoformat()},
    )  # fmt: skip
    handle_transition(fired.pk)

    incident = markup(client.get(reverse("incident", args=[Incident.objects.get().pk])))
    overview = markup(client.get("/"))

    assert "ROC AUC of approvals is without data since" in incident
    assert "approvals: no data for ROC AUC" in overview


def test_an_incident_of_a_condition_shows_the_comparison_that_decided(
    client: Client, project: Project
) -> None:
    model = make_model(project)
    log(model, rows_of_a_day(DAY, 3))
    accuracy = {"metric": "accuracy", "operator": "below", "threshold": 0.8}
    rule = create_rule(
        project=project, model=model, actor="test", name="either",
        condition={"any": [{"metric": "psi", "feature": "income", "limit": "calibrated"}, accuracy]},
    )  # fmt: skip
    fired = Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=DAY, window_end=DAY + ONE_DAY, value=0.6, n=300,
        threshold=0.8, detail={"comparison": accuracy, "since": DAY.isoformat()},
    )  # fmt: skip
    handle_transition(fired.pk)

    shown = " ".join(markup(client.get(reverse("incident", args=[Incident.objects.get().pk]))).split())

    assert "Accuracy of approvals is below 0.8 since" in shown
    assert (
        "Population stability index of income is beyond its calibrated limit or Accuracy is below 0.8 for"
        in shown
    )
