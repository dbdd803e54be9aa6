"""What operators do in the admin is asked for first, is done by the services, and leaves an audit row."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import AuditEntry, DirectoryToken, Membership, Project, User
from driftline.base.accounts.services import create_token
from driftline.base.clock import now
from driftline.operations.backup.making import MADE
from driftline.operations.capacity.samples import record_disk
from driftline.operations.models import Heartbeat
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.channel_services import create_channel, send_test
from monitors.definitions.models import Monitor
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from monitors.summaries.models import Summary
from tests.worlds.approvals import log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class World:
    """A model with a rule and a channel to which a message was sent."""

    project: Project
    model: Model
    rule: Rule
    channel: Channel


@pytest.fixture
def world(settings: Any, tmp_path: Path) -> World:
    settings.HOME = tmp_path
    project = Project.objects.create(slug="bank", name="Bank")
    model = make_model(project)
    rule = create_rule(
        project=project,
        model=model,
        actor="test",
        name="income moved",
        metric="psi",
        feature="income",
        threshold=0.2,
    )
    channel, _ = create_channel(
        project=project, kind="email", name="team", target="team@bank.example", actor="test"
    )
    send_test(channel=channel, actor="ada")
    return World(project, model, rule, channel)


@pytest.fixture
def operator(world: World) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator@bank.example"))
    return client


def ask(client: Client, row: Any, act: str) -> Any:
    """Open the question of an act to one row."""
    return client.get(address_of(row, act))


def confirm(client: Client, row: Any, act: str) -> str:
    """Answer it with yes, and give the page that follows."""
    answer = client.post(address_of(row, act), {"confirmed": "yes"}, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def address_of(row: Any, act: str) -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{act}_one", args=[row.pk])


def address_of_page(row: Any) -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])


def test_a_failed_message_is_sent_again(operator: Client, world: World) -> None:
    delivery = world.channel.deliveries.get()
    Delivery.objects.update(state=Delivery.State.FAILED, reason="the receiver answers 500")
    listed = operator.get(reverse("admin:monitors_delivery_changelist"), {"state__exact": "failed"})

    page = confirm(operator, delivery, "send_again")

    assert "the receiver answers 500" in listed.content.decode()
    assert "is sent again" in page
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.PENDING
    assert AuditEntry.objects.filter(action="delivery.replay", actor="operator@bank.example").exists()


def test_a_question_changes_nothing(operator: Client, world: World) -> None:
    page = ask(operator, world.rule, "disable")

    world.rule.refresh_from_db()
    assert (page.status_code, world.rule.enabled) == (200, True)
    assert "judges nothing until it is enabled again" in page.content.decode()


def test_rules_that_are_ticked_are_disabled_together(operator: Client, world: World) -> None:
    url = reverse("admin:monitors_rule_changelist")
    ticked = {"action": "disable_of_list", "_selected_action": [str(world.rule.pk)]}

    question = operator.post(url, ticked).content.decode()
    operator.post(url, ticked | {"confirmed": "yes"})

    assert 'name="_selected_action"' in question
    world.rule.refresh_from_db()
    assert not world.rule.enabled
    assert AuditEntry.objects.filter(action="rule.update", subject=world.rule.name).exists()


def test_what_cannot_be_done_is_said(operator: Client, world: World) -> None:
    delivery = world.channel.deliveries.get()
    Channel.objects.update(enabled=False, disabled_reason="Disabled by ada")

    page = confirm(operator, delivery, "send_again")

    assert "is disabled (Disabled by ada); enable it first" in page


@pytest.mark.slow
def test_a_day_is_rebuilt(operator: Client, world: World) -> None:
    log(world.model, rows_of_a_day(datetime(2026, 1, 8, tzinfo=UTC), 60))
    work(world.model)
    day = Summary.objects.filter(model=world.model, span="day", segment="").earliest("start")

    page = confirm(operator, day, "rebuild")

    assert "is rebuilt by the workers" in page
    assert TouchedPeriod.objects.filter(model=world.model).exists()
    assert AuditEntry.objects.filter(action="window.rebuild").exists()


def test_a_token_is_revoked(operator: Client, world: World) -> None:
    token, _ = create_token(project=world.project, name="old", scopes=["read"], actor="ada")

    confirm(operator, token, "revoke")

    token.refresh_from_db()
    assert token.revoked_at is not None


def test_a_token_for_scim_is_revoked(operator: Client, world: World) -> None:
    token = DirectoryToken.objects.create(provider="company", prefix="dl_12345678", digest="0" * 64)

    confirm(operator, token, "revoke")

    token.refresh_from_db()
    assert token.revoked_at is not None
    assert AuditEntry.objects.filter(action="scim_token.revoke", subject="dl_12345678").exists()


class TestATokenForScim:
    @pytest.fixture
    def token(self) -> DirectoryToken:
        return DirectoryToken.objects.create(
            provider="company", prefix="dl_12345678", digest="0" * 64, allowed_networks=["203.0.113.0/24"]
        )

    def test_shows_from_where_it_may_be_used_and_is_allowed_elsewhere(
        self, operator: Client, token: DirectoryToken
    ) -> None:
        url = address_of_page(token)
        shown = operator.get(url).content.decode()

        answer = operator.post(url, {"allowed_networks": "198.51.100.7, 2001:db8::/32\n198.51.100.7"})

        token.refresh_from_db()
        assert ("203.0.113.0/24" in shown, token.digest in shown, answer.status_code) == (True, False, 302)
        assert token.allowed_networks == ["198.51.100.7/32", "2001:db8::/32"]
        entry = AuditEntry.objects.get(action="scim_token.allow")
        assert (entry.actor, entry.before, entry.after) == (
            "operator@bank.example",
            ["203.0.113.0/24"],
            token.allowed_networks,
        )

    def test_is_changed_in_nothing_else(self, operator: Client, token: DirectoryToken) -> None:
        operator.post(
            address_of_page(token),
            {"allowed_networks": "", "provider": "evil", "prefix": "dl_evil", "digest": "1" * 64},
        )

        token.refresh_from_db()
        assert (token.allowed_networks, token.provider, token.prefix, token.digest) == (
            [],
            "company",
            "dl_12345678",
            "0" * 64,
        )

    @pytest.mark.parametrize("typed", ["everywhere", "203.0.113.0/33", "10.0.0.1/8", "<b>"])
    def test_keeps_its_networks_where_another_is_none(
        self, operator: Client, token: DirectoryToken, typed: str
    ) -> None:
        answer = operator.post(address_of_page(token), {"allowed_networks": typed})

        token.refresh_from_db()
        assert (answer.status_code, token.allowed_networks) == (200, ["203.0.113.0/24"])
        assert answer.context["adminform"].form.errors["allowed_networks"]

    def test_that_was_revoked_or_is_looked_at_by_staff_without_the_right_is_not_changed(
        self, operator: Client, token: DirectoryToken
    ) -> None:
        looker = User.objects.create_user("looker@bank.example", is_staff=True)
        looker.user_permissions.add(Permission.objects.get(codename="view_directorytoken"))
        client = Client()
        client.force_login(looker)
        seen = client.get(address_of_page(token)).content.decode()
        statuses = [client.post(address_of_page(token), {"allowed_networks": ""}).status_code]

        confirm(operator, token, "revoke")
        statuses.append(operator.post(address_of_page(token), {"allowed_networks": ""}).status_code)

        token.refresh_from_db()
        assert ("203.0.113.0/24" in seen, statuses) == (True, [403, 403])
        assert token.allowed_networks == ["203.0.113.0/24"]
        assert operator.get(address_of_page(token)).status_code == 200


def test_a_person_is_erased_once_the_key_was_typed_twice_and_that_was_asked(
    operator: Client, world: World
) -> None:
    url = reverse("admin:inference_erasure_add")
    typed = {"project": str(world.project.pk), "key": "person-7", "again": "person-8"}

    form = operator.get(url).content.decode()
    differing = operator.post(url, typed).content.decode()
    question = operator.post(url, typed | {"again": "person-7"}).content.decode()
    asked = Erasure.objects.exists()
    operator.post(url, typed | {"again": "person-7", "confirmed": "yes"})

    assert ("Erase…" in form, "Save" in form) == (True, False)
    assert "The two keys differ" in differing
    assert "person-7 in Bank" in question
    assert not asked
    assert Erasure.objects.get().requested_by == "operator@bank.example"


def test_staff_that_may_only_look_finds_no_button_and_is_refused(world: World) -> None:
    looker = User.objects.create_user("looker@bank.example", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_rule"))
    client = Client()
    client.force_login(looker)

    page = client.get(reverse("admin:monitors_rule_change", args=[world.rule.pk])).content.decode()
    refused = client.post(address_of(world.rule, "disable"), {"confirmed": "yes"})

    world.rule.refresh_from_db()
    assert "Disable" not in page
    assert (refused.status_code, world.rule.enabled) == (403, True)


class TestTheFirstPage:
    @pytest.mark.slow
    def test_says_what_needs_somebody(self, operator: Client, world: World) -> None:
        Delivery.objects.update(state=Delivery.State.FAILED)
        Heartbeat.objects.all().delete()

        lines = {line.what: line for line in operator.get(reverse("admin:index")).context["lines"]}

        assert lines["Messages"].needs_somebody
        assert lines["Messages"].says.startswith("1 failed")
        assert (lines["Workers"].needs_somebody, lines["Last backup"].needs_somebody) == (True, True)

    @pytest.mark.slow
    def test_names_the_model_that_takes_the_disk(self, operator: Client, world: World) -> None:
        log(world.model, rows_of_a_day(datetime(2026, 1, 8, tzinfo=UTC), 60))

        page = operator.get(reverse("admin:index"))

        [disk] = page.context["disk"]
        assert (disk.size.name, disk.size.rows, disk.size.log_bytes > 1_000) == (world.model.name, 60, True)
        assert "No rule has fired in 30 days" in page.content.decode()

    @pytest.mark.slow
    def test_measures_the_disk_once_in_some_minutes(self, operator: Client, world: World) -> None:
        def growth() -> str:
            [line] = [
                one for one in operator.get(reverse("admin:index")).context["lines"] if one.what == "Growth"
            ]
            return str(line.says)

        before = growth()
        record_disk(now() - timedelta(hours=3))

        assert growth() == before

    def test_knows_the_last_backup(self, operator: Client, world: World) -> None:
        AuditEntry.objects.create(actor="command line", action=MADE, subject="/backups/today")

        lines = {line.what: line for line in operator.get(reverse("admin:index")).context["lines"]}

        assert "/backups/today" in lines["Last backup"].says
        assert not lines["Last backup"].needs_somebody

    def test_shows_staff_without_all_rights_nothing_of_projects(self, world: World) -> None:
        client = Client()
        client.force_login(User.objects.create_user("looker@bank.example", is_staff=True))

        page = client.get(reverse("admin:index"))

        assert (page.status_code, "lines" in page.context) == (200, False)


def test_what_starts_something_is_refused_in_an_archived_project(operator: Client, world: World) -> None:
    Project.objects.update(archived_at=datetime(2026, 1, 1, tzinfo=UTC))
    Rule.objects.update(enabled=False)

    page = confirm(operator, world.rule, "enable")

    world.rule.refresh_from_db()
    assert ("is archived and read only" in page, world.rule.enabled) == (True, False)


def test_an_address_without_a_row_is_not_found(operator: Client) -> None:
    address = reverse("admin:monitors_rule_disable_one", args=["abc"])

    assert operator.get(address).status_code == 404


def test_a_change_of_a_monitor_is_in_the_trail(operator: Client, world: World) -> None:
    monitor = Monitor.objects.filter(model=world.model).earliest("pk")
    url = reverse("admin:monitors_monitor_change", args=[monitor.pk])
    form = operator.get(url).context["adminform"].form
    filled = {name: value for name, value in form.initial.items() if value is not None} | {"rule_spans": "[]"}

    answer = operator.post(url, filled | {"min_rows": monitor.min_rows + 1})

    assert answer.status_code == 302
    assert AuditEntry.objects.get(action="monitor.change").project == world.project


def test_a_membership_is_not_moved_to_another_project(operator: Client, world: World) -> None:
    other = Project.objects.create(slug="shop", name="Shop")
    person = User.objects.create_user("ada@bank.example")
    row = Membership.objects.create(project=world.project, user=person, role="viewer")

    operator.post(
        reverse("admin:accounts_membership_change", args=[row.pk]),
        {"project": other.pk, "user": person.pk, "role": "editor"},
    )

    row.refresh_from_db()
    assert (row.project, row.role) == (world.project, "editor")
