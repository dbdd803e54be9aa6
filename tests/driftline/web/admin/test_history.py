"""The History page of a row shows what the audit trail says of it."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.members import change_role
from driftline.base.accounts.models import AuditEntry, Membership, Project, User
from driftline.base.accounts.services import create_project, create_token, revoke_token
from driftline.base.clock import now
from driftline.web.admin.history import MAX_ENTRIES, HistoryAdmin
from inference.registry.models import Model
from monitors.alerts.sending.channel_services import create_channel, replay, send_test
from monitors.rules.models import Rule
from monitors.rules.services import create_rule, update_rule
from tests.driftline.web.admin.histories import actions_of, history_of
from tests.worlds.approvals import make_model

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def project(person: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=person)


@pytest.fixture
def model(project: Project, operator: Client) -> Model:
    return make_model(project)


@pytest.fixture
def rule(project: Project, model: Model) -> Rule:
    return create_rule(
        project=project,
        model=model,
        actor="ada",
        name="income moved",
        metric="psi",
        feature="income",
        threshold=0.2,
    )


def test_says_who_changed_a_rule_when_and_what(operator: Client, rule: Rule) -> None:
    update_rule(rule=rule, actor="grace", threshold=0.4)

    page = history_of(operator, rule)

    shown = [(entry.action, entry.actor) for entry, _ in page.context["rows"]]
    assert shown == [("rule.update", "grace"), ("rule.create", "ada")]
    assert "<del>0.2</del> → 0.4" in page.content.decode()
    assert "UTC" in page.content.decode()


def test_has_nothing_of_another_project_or_kind(operator: Client, rule: Rule, person: User) -> None:
    shop = create_project(slug="shop", name="Shop", owner=person)
    AuditEntry.objects.create(actor="eve", action="rule.delete", subject=rule.name, project=shop)
    AuditEntry.objects.create(
        actor="eve", action="channel.delete", subject=rule.name, project=rule.model.project
    )

    assert actions_of(operator, rule) == ["rule.create"]


def test_is_found_for_rows_that_the_trail_names_otherwise(
    operator: Client, project: Project, model: Model, person: User
) -> None:
    token, _ = create_token(project=project, name="ci", scopes=["read"], actor="ada")
    revoke_token(token=token, actor="ada", now=now())
    channel, _ = create_channel(
        project=project, kind="email", name="team", target="team@bank.example", actor="ada"
    )
    delivery = send_test(channel=channel, actor="ada")
    replay(delivery=delivery, actor="ada")
    ada = User.objects.create_user("ada@bank.example")
    membership = Membership.objects.create(project=project, user=ada, role="viewer")
    change_role(member=membership, role="editor", scopes=set(Scope), actor=str(person))

    assert actions_of(operator, token) == ["token.revoke", "token.create"]
    assert "delivery.replay" in actions_of(operator, delivery)
    assert actions_of(operator, membership) == ["member.role"]
    assert actions_of(operator, ada) == ["member.role"]
    assert "model.create" in actions_of(operator, model)
    assert "project.create" in actions_of(operator, project)


def test_says_that_there_is_none(operator: Client, project: Project) -> None:
    ada = User.objects.create_user("ada@bank.example")

    assert "The audit trail has no entry about this user." in history_of(operator, ada).content.decode()


def test_is_bounded(operator: Client, rule: Rule) -> None:
    AuditEntry.objects.bulk_create(
        AuditEntry(actor="ada", action="rule.update", subject=rule.name, project=rule.model.project)
        for _ in range(MAX_ENTRIES + 1)
    )

    page = history_of(operator, rule)

    assert len(page.context["rows"]) == MAX_ENTRIES
    assert f"These are the newest {MAX_ENTRIES}" in page.content.decode()


def test_shows_the_trail_only_to_those_who_may_see_it(rule: Rule) -> None:
    looker = User.objects.create_user("looker@bank.example", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_rule"))
    client = Client()
    client.force_login(looker)

    page = history_of(client, rule)

    assert (page.status_code, page.context["rows"]) == (200, [])
    assert "Only those who may see audit entries" in page.content.decode()


def test_an_address_without_a_row_leads_back(operator: Client, rule: Rule) -> None:
    assert operator.get(reverse("admin:monitors_rule_history", args=["abc"])).status_code == 302


def test_every_list_of_the_admin_has_it() -> None:
    others = [model for model, shown in admin.site._registry.items() if not isinstance(shown, HistoryAdmin)]

    assert others == []


def test_the_rest_is_found_by_the_subject(operator: Client, rule: Rule) -> None:
    AuditEntry.objects.bulk_create(
        AuditEntry(actor="ada", action="rule.update", subject=rule.name, project=rule.model.project)
        for _ in range(MAX_ENTRIES)
    )

    rest = operator.get(history_of(operator, rule).context["more"])

    assert {entry.subject for entry in rest.context["cl"].result_list} == {rule.name}
