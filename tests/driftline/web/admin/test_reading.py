"""The lists and pages of the admin are written for people, and keep what an operator chose."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.accounts.services import create_token
from driftline.base.clock import now
from driftline.web.admin.cells import in_words
from inference.registry.models import Model, Version
from monitors.alerts.models import Delivery
from monitors.alerts.sending.channel_services import create_channel, send_test
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from monitors.workflows.models import Run, RunState
from tests.worlds.approvals import make_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(operator: Client) -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


@pytest.fixture
def rule(model: Model) -> Rule:
    return create_rule(
        project=model.project,
        model=model,
        actor="ada",
        name="income moved",
        metric="psi",
        feature="income",
        threshold=0.2,
    )


def page_of(client: Client, row: Any) -> str:
    meta = row._meta
    page = client.get(reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk]))
    assert page.status_code == 200
    return str(page.content.decode())


class TestAnAct:
    def test_leads_back_to_the_list_as_it_was_filtered(self, operator: Client, rule: Rule) -> None:
        kept = urlencode({"_changelist_filters": "severity__exact=warning"})
        page = operator.get(reverse("admin:monitors_rule_change", args=[rule.pk]) + f"?{kept}")
        [address] = [
            button["path"] for button in page.context["actions_detail"] if button["title"] == "Disable"
        ]

        question = operator.get(address)
        answer = operator.post(address, {"confirmed": "yes"})

        address_of_list = f"{reverse('admin:monitors_rule_changelist')}?severity__exact=warning"
        assert f'href="{address_of_list}"' in question.content.decode()
        assert answer["Location"] == address_of_list

    def test_on_ticked_rows_does_so_too(self, operator: Client, rule: Rule) -> None:
        address = f"{reverse('admin:monitors_rule_changelist')}?severity__exact={rule.severity}"
        ticked = {
            "action": "disable_of_list",
            "_selected_action": [str(rule.pk)],
            "confirmed": "yes",
        }

        assert operator.post(address, ticked)["Location"] == address

    def test_that_cannot_be_done_is_not_asked_for(self, operator: Client, model: Model) -> None:
        champion = Version.objects.create(model=model, version="1")
        run = Run.objects.create(
            model=model, champion=champion, state=RunState.PROMOTED, trigger="manual", data_until=now()
        )

        page = operator.get(reverse("admin:monitors_run_cancel_one", args=[run.pk])).content.decode()

        assert f"Run {run.pk} is promoted already." in page
        assert ("within seconds" in page, 'name="confirmed"' in page) == (False, False)

    def test_names_the_state_of_a_run_in_words(self, operator: Client, model: Model) -> None:
        champion = Version.objects.create(model=model, version="1")
        run = Run.objects.create(
            model=model, champion=champion, state=RunState.ROLLED_BACK, trigger="manual", data_until=now()
        )

        page = operator.get(reverse("admin:monitors_run_cancel_one", args=[run.pk])).content.decode()

        assert f"Run {run.pk} is rolled back already." in page

    def test_sends_on_only_the_ticked_rows_to_which_it_can_be_done(
        self, operator: Client, model: Model
    ) -> None:
        other = Model.objects.create(project=model.project, name="churn", task=model.task, archived_at=now())
        address = reverse("admin:inference_model_changelist")
        ticked = {"action": "archive_of_list", "_selected_action": [str(model.pk), str(other.pk)]}

        page = operator.post(address, ticked)

        assert ("_selected_action", str(model.pk)) in page.context["hidden"]
        assert ("_selected_action", str(other.pk)) not in page.context["hidden"]
        assert "churn is archived already." in page.content.decode()

    def test_on_a_row_that_was_refused_is_not_reported_as_done(self, operator: Client, model: Model) -> None:
        answer = operator.post(
            reverse("admin:inference_model_restore_one", args=[model.pk]), {"confirmed": "yes"}, follow=True
        )

        assert f"{model.name} is not archived." in answer.content.decode()
        assert f"{model.name} is restored" not in answer.content.decode()


class TestAPage:
    def test_writes_scopes_limits_and_durations_in_words(
        self, operator: Client, project: Project, rule: Rule
    ) -> None:
        token, _ = create_token(project=project, name="ci", scopes=["infer", "log"], actor="ada")
        Rule.objects.filter(pk=rule.pk).update(cooldown=timedelta(days=28))

        token_page, rule_page = page_of(operator, token), page_of(operator, rule)

        assert ("infer, log" in token_page, "no limit" in token_page) == (True, True)
        assert ("28 days" in rule_page, "null</span>" in rule_page) == (True, False)

    def test_names_a_row_as_it_is_written(self, operator: Client, rule: Rule) -> None:
        page = page_of(operator, rule)

        assert "income moved" in page
        assert "Income moved" not in page

    def test_shows_the_state_of_a_message_above_its_text(self, operator: Client, project: Project) -> None:
        channel, _ = create_channel(
            project=project, kind="email", name="team", target="team@bank.example", actor="ada"
        )
        delivery = send_test(channel=channel, actor="ada")
        Delivery.objects.update(reason="the receiver answers 500", body="<p>text of the message</p>")

        page = page_of(operator, delivery)

        assert page.index("the receiver answers 500") < page.index("&lt;p&gt;text of the message")


class TestAList:
    def test_of_audit_entries_says_what_changed_and_when_in_which_zone(self, operator: Client) -> None:
        AuditEntry.objects.create(
            actor="ada",
            action="rule.update",
            subject="income",
            before={"threshold": 0.2, "enabled": True},
            after={"threshold": 0.4, "enabled": False},
        )

        page = operator.get(reverse("admin:accounts_auditentry_changelist")).content.decode()

        assert "enabled: yes → no; threshold: 0.2 → 0.4" in page
        assert " UTC</a>" in page

    def test_is_filtered_by_whether_something_happened(self, operator: Client, project: Project) -> None:
        page = operator.get(reverse("admin:accounts_apitoken_changelist"), {"revoked_at__isempty": "1"})

        [spec] = [
            one for one in page.context["cl"].filter_specs if "isempty" in str(one.expected_parameters())
        ]
        shown = [(one["display"], one["selected"]) for one in spec.choices(page.context["cl"])]
        assert (spec.title, shown) == ("revoked", [("All", False), ("no", True), ("yes", False)])

    def test_that_is_empty_says_so_in_english(self, operator: Client, project: Project) -> None:
        address = reverse("admin:monitors_rule_changelist")

        assert "There are no rules yet." in operator.get(address).content.decode()
        assert "No rule fits the search" in operator.get(address, {"q": "income"}).content.decode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        ([], "-"),
        (["infer", "log"], "infer, log"),
        ({"champion": "7", "shares": {}}, "champion: 7; shares: -"),
        ([{"feature": "age"}, {"feature": "income"}], "(feature: age), (feature: income)"),
        (timedelta(days=28), "28 days"),
        (timedelta(days=1, seconds=3_660), "1 day 1 hour 1 minute"),
        (timedelta(0), "none"),
    ],
)
def test_values_are_written_in_words(value: Any, words: str) -> None:
    assert in_words(value) == words
