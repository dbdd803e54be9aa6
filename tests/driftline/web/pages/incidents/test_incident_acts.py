"""What people do about an incident on its page, and what they see of it on the list and the page of its rule."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from driftline.base.clock import now
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Rule, RuleState, Transition
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.points import store_points

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
DAYS = (5, 1)
"""How many days ago the windows ended that fired."""


@pytest.fixture
def midnight() -> datetime:
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def rule(project: Project, model: Model) -> Rule:
    rule = Rule.objects.create(
        project=project, model=model, name="income moves", metric="psi", feature="income", threshold=0.2,
        cooldown=DAY, notify_within=30 * DAY, judged_span="day", min_rows=50, recover_windows=1,
        runbook="https://wiki.bank.example/drift", owner="credit team", description="Prices <moved>.\nAsk sales.",
    )  # fmt: skip
    RuleState.objects.create(rule=rule)
    return rule


def point_of(rule: Rule, start: datetime, value: float) -> MetricPoint:
    return MetricPoint(
        model=rule.model, role="champion", span="day", start=start, metric="psi", feature="income", value=value,
        n=500, status="ok",
    )  # fmt: skip


@pytest.fixture
def incidents(rule: Rule, midnight: datetime) -> list[Incident]:
    """Two incidents of the rule, the first of which is over."""
    for days, value in zip(DAYS, (0.3, 0.6), strict=True):
        end = midnight - days * DAY
        values = {"rule": rule, "model": rule.model, "n": 500, "threshold": 0.2}
        store_points(*(point_of(rule, end + day * DAY, value) for day, value in ((-1, value), (0, 0.1))))
        fired = Transition.objects.create(
            kind="opened", window_start=end - DAY, window_end=end, value=value, **values
        )
        handle_transition(fired.pk)
        if days == DAYS[0]:
            over = Transition.objects.create(
                kind="resolved", window_start=end, window_end=end + DAY, value=0.1, **values
            )
            handle_transition(over.pk)
    return list(Incident.objects.order_by("pk"))


@pytest.fixture
def incident(incidents: list[Incident]) -> Incident:
    """The one that is open."""
    return incidents[1]


def do(client: Client, incident: Incident, **form: str) -> str:
    answer = client.post(f"/incidents/{incident.pk}", form, follow=True)
    incident.refresh_from_db()
    return markup(answer)


class TestPage:
    def test_assigns_to_a_member(self, client: Client, incident: Incident) -> None:
        shown = do(client, incident, action="assign", assignee="owner@bank.example")

        assert str(incident.assignee) == "owner@bank.example"
        assert "<dt>Assigned to</dt><dd>owner@bank.example</dd>" in shown

    def test_refuses_to_assign_to_a_stranger(self, client: Client, incident: Incident) -> None:
        User.objects.create_user("eve@theirs.example")

        shown = do(client, incident, action="assign", assignee="eve@theirs.example")

        assert "is no member of this project" in shown
        assert incident.assignee is None

    def test_shows_a_comment_as_text(self, client: Client, incident: Incident) -> None:
        shown = do(client, incident, action="comment", text="late feed\n<script>alert(1)</script>")

        assert "late feed<br>&lt;script&gt;alert(1)&lt;/script&gt;" in shown
        assert "owner@bank.example" in shown.split("Timeline")[1]

    def test_snoozes_and_ends_the_snooze(self, client: Client, incident: Incident) -> None:
        shown = do(client, incident, action="snooze", length="1d")
        assert "Snoozed until" in shown
        assert incident.snoozed_until is not None

        do(client, incident, action="end_snooze")
        assert incident.snoozed_until is None

    def test_of_one_marked_as_expected_leads_to_a_new_reference_and_to_the_rule(
        self, client: Client, incident: Incident
    ) -> None:
        shown = do(client, incident, action="judge", judgement="expected", reason="new prices")

        assert incident.close_reason == "Closed as expected by owner@bank.example: new prices"
        assert "/models/approvals/reference" in shown.split("Expected, says")[1]
        assert f"/models/approvals/rules/{incident.rule.pk}" in shown.split("Expected, says")[1]

    @pytest.mark.parametrize(
        "form",
        [
            {"action": "nothing"},
            {"action": "snooze", "length": "10y"},
            {"action": "judge", "judgement": "perhaps"},
            {"action": "comment", "text": ""},
            {"action": "replay", "delivery": "-1"},
            {"action": "replay", "delivery": "9" * 40},
        ],
    )
    def test_refuses_what_is_no_act(self, client: Client, incident: Incident, form: dict[str, str]) -> None:
        before = Incident.objects.values().get(pk=incident.pk)

        answer = client.post(f"/incidents/{incident.pk}", form, follow=True)

        assert answer.status_code in (200, 404)
        assert Incident.objects.values().get(pk=incident.pk) == before

    def test_shows_the_runbook_owner_and_description_of_its_rule(
        self, client: Client, incident: Incident
    ) -> None:
        shown = markup(client.get(f"/incidents/{incident.pk}"))

        assert '<a href="https://wiki.bank.example/drift" rel="noreferrer">' in shown
        assert "credit team" in shown
        assert "Prices &lt;moved&gt;.<br>Ask sales." in shown

    def test_offers_a_viewer_nothing_to_do(self, project: Project, incident: Incident) -> None:
        shown = markup(viewer_of(project).get(f"/incidents/{incident.pk}"))

        assert 'name="action"' not in shown


class TestList:
    def test_narrows_to_those_assigned_to_me(
        self, client: Client, project: Project, incidents: list[Incident]
    ) -> None:
        other = User.objects.create_user("bob@bank.example")
        Membership.objects.create(project=project, user=other, role=Role.EDITOR)
        do(client, incidents[0], action="assign", assignee="bob@bank.example")
        do(client, incidents[1], action="assign", assignee="owner@bank.example")

        shown = markup(client.get("/incidents/?status=all&assignee=me"))

        assert f"/incidents/{incidents[1].pk}" in shown.split("<tbody>")[1]
        assert f"/incidents/{incidents[0].pk}" not in shown.split("<tbody>")[1]
        assert "?status=resolved&amp;assignee=me" in shown, "other filters keep it"

    def test_that_is_empty_says_that_nothing_is_assigned(self, client: Client, incident: Incident) -> None:
        assert "no such incident is assigned to you" in markup(client.get("/incidents/?assignee=me"))


class TestRulePage:
    def page(self, client: Client, rule: Rule, query: str = "") -> str:
        return markup(client.get(f"/models/approvals/rules/{rule.pk}{query}"))

    def test_says_before_any_alert_what_is_counted(self, client: Client, rule: Rule) -> None:
        assert "It has not fired yet." in self.page(client, rule)

    def test_counts_false_alarms_and_suggests_a_limit_that_keeps_the_others(
        self, client: Client, rule: Rule, incidents: list[Incident]
    ) -> None:
        do(client, incidents[0], action="judge", judgement="false_alarm")

        shown = self.page(client, rule).split('id="precision"')[1]

        assert "Of its last 2 alerts 1 was a false alarm: precision 50%." in shown
        assert "With the limit 0.3 it would not have fired in that false alarm" in shown
        assert 'href="?threshold=0.3"' in shown

    def test_tries_a_limit_without_saving_it(
        self, client: Client, rule: Rule, incidents: list[Incident]
    ) -> None:
        assert "It would have fired 2 times" in self.page(client, rule)

        shown = self.page(client, rule, "?threshold=0.3")

        assert "It would have fired 1 time in" in shown
        assert 'name="threshold" value="0.3"' in shown
        rule.refresh_from_db()
        assert rule.threshold == 0.2

    @pytest.mark.parametrize("text", ["nan", "inf", "x" * 500, "1e999"])
    def test_refuses_a_limit_that_is_no_number(self, client: Client, rule: Rule, text: str) -> None:
        answer = client.get(f"/models/approvals/rules/{rule.pk}?threshold={text}")

        assert answer.status_code == 400
        assert "use a number such as 0.25" in answer.content.decode()

    @pytest.mark.parametrize(
        "address", ["javascript:alert(1)", "ftp://a.example", "wiki", "https://", "http://a b"]
    )
    def test_refuses_a_runbook_that_is_no_page(self, client: Client, rule: Rule, address: str) -> None:
        form: dict[str, Any] = {
            "do": "save", "name": "r", "metric": "psi", "feature": "income", "span": "auto", "operator": "above",
            "threshold": "0.2", "for_windows": "1", "recover_windows": "1", "min_rows": "50",
            "severity": "warning", "action": "notify", "cooldown_hours": "1", "notify_within_hours": "1",
            "runbook": address,
        }  # fmt: skip

        answer = client.post(f"/models/approvals/rules/{rule.pk}", form)

        assert answer.status_code == 422
        rule.refresh_from_db()
        assert rule.runbook == "https://wiki.bank.example/drift"


class TestSilencing:
    def test_mutes_alerts_with_labels_alone(
        self, client: Client, project: Project, rule: Rule, incident: Incident
    ) -> None:
        Rule.objects.create(
            project=project, model=rule.model, name="age moves", metric="psi", feature="age", threshold=0.2,
            cooldown=DAY, notify_within=DAY,
        )  # fmt: skip
        form = {"model": "approvals", "length": "1w", "reason": "known", "matchers": "feature=income"}

        shown = markup(client.post("/settings/silences", form | {"do": "preview"}))
        assert "It mutes 1 of 1 rule, and what is next notified of 1 open incident." in shown

        shown = markup(
            client.post(f"/settings/silences?incident={incident.pk}", form | {"do": "create"}, follow=True)
        )
        assert "approvals (feature=income) is silenced until" in shown
        assert "Notifications of alerts with feature=income are silenced until" in shown
        assert "Silenced until" in shown.split("Timeline")[1]

    @pytest.mark.parametrize("text", ["colour=red", "feature", "feature=", "feature=a\nfeature=b"])
    def test_refuses_what_is_no_label(self, client: Client, incident: Incident, text: str) -> None:
        form = {"model": "approvals", "length": "1w", "reason": "known", "matchers": text, "do": "create"}

        assert client.post("/settings/silences", form).status_code == 422
