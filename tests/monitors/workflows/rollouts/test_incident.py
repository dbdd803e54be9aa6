"""A challenger that a run rolls back by itself is an incident, of which people are notified once."""

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from monitors.alerts import services
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.incidents.rollbacks import close_incidents
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.alerts.sending.due_notifications import send_due_notifications
from monitors.alerts.story import OPENED, gather
from monitors.feed.models import FeedEvent
from monitors.feed.services import record_event
from monitors.workflows.ending.reporting import report_end
from monitors.workflows.rollouts.services import roll_back_run
from tests.worlds.rollouts import STAGED, RolloutWorld, run_after_gate

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def world(project: Project) -> RolloutWorld:
    """A rollout at its first share."""
    world = run_after_gate(project)
    world.advance()
    return world


def fail(world: RolloutWorld) -> Incident:
    world.send(285, 15, failed=3)
    world.check()
    assert world.run.state == "rolled_back"
    return Incident.objects.get()


def notify() -> None:
    send_due_notifications()
    outbox.send_due_deliveries()


def add_email(project: Project, name: str, **more: Any) -> Channel:
    channel, _ = channel_services.create_channel(
        project=project, kind="email", name=name, target=f"{name}@bank.example", actor="ada", **more
    )
    return channel


def test_names_the_guard_with_its_numbers_and_the_run(world: RolloutWorld) -> None:
    incident = fail(world)

    assert (
        incident.title == f"{world.model.name}: version 2 was rolled back, the guard failures failed at 5.0%"
    )
    assert (incident.severity, incident.status) == ("warning", "open")
    [alert] = incident.alerts.all()
    assert (alert.rule, alert.metric, alert.state) == (None, "rollout", "firing")
    assert (alert.value, alert.n, alert.since) == (1, 15, world.rollout.since)
    [line] = incident.events.all()
    assert "20.00% of 15 requests failed, 0.00% of the champion's 285" in line.text


def test_is_not_opened_where_a_person_rolls_back(world: RolloutWorld) -> None:
    run = roll_back_run(run=world.run, actor="ada@bank.example")

    assert run.state == "rolled_back"
    assert not Incident.objects.exists()


def test_reaches_a_channel_in_one_message(world: RolloutWorld, project: Project) -> None:
    add_email(project, "ops")
    incident = fail(world)

    notify()
    notify()

    [letter] = mail.outbox
    assert letter.to == ["ops@bank.example"]
    assert "version 2 was rolled back" in letter.subject
    assert f"(opened, INC-{incident.pk})" in letter.subject
    assert "20.00% of 15 requests failed" in letter.body
    assert "You get this because a challenger was rolled back" in letter.body


def test_leaves_the_event_to_channels_that_it_does_not_go_to(world: RolloutWorld, project: Project) -> None:
    add_email(project, "people", min_severity="critical")
    fail(world)

    notify()

    assert list(Delivery.objects.values_list("event", flat=True)) == ["run.rolled_back"]
    assert "the guard failures failed at 5.0%" in mail.outbox[0].body


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {CALLBACK}))
def test_is_worded_for_every_kind_of_channel(world: RolloutWorld, project: Project, kind: str) -> None:
    incident = fail(world)
    channel = Channel.objects.create(
        project=project, kind=kind, name="ops", target="https://ops.example/hook"
    )
    story = gather(
        event=OPENED, event_id="evt_1", at=incident.opened_at, incident=incident, transition=incident.opening,
        causes=[], ongoing=[],
    )  # fmt: skip

    message = KINDS[kind].compose(story, channel)

    assert "was rolled back" in message.subject + message.body
    assert "20.00%" in message.body


def test_ends_with_the_next_version_that_is_promoted(world: RolloutWorld, project: Project) -> None:
    add_email(project, "ops")
    incident, run = fail(world), world.run
    notify()

    run.state = "promoted"
    report_end(run, actor=f"run {run.pk}", reason="the gate was passed")
    notify()

    incident.refresh_from_db()
    assert (incident.status, incident.closed_by) == ("resolved", f"run {run.pk}")
    assert incident.close_reason == f"Run {run.pk} promoted version 2"
    assert [one.subject.partition("(")[2] for one in mail.outbox if "INC" in one.subject] == [
        f"opened, INC-{incident.pk})",
        f"closed, INC-{incident.pk})",
    ]


def test_closes_no_incident_of_another_model(world: RolloutWorld, project: Project) -> None:
    incident = fail(world)
    other = project.models.create(name="other", task="binary")
    event = record_event(
        project=project, model=other, kind="run.started", subject="run-9", text="other",
        data={"run": {"id": 9, "challenger": "4"}},
    )  # fmt: skip

    close_incidents(event)

    incident.refresh_from_db()
    assert incident.status == "open"


def test_is_closed_by_a_person(world: RolloutWorld) -> None:
    incident = fail(world)

    services.resolve(incident=incident, actor="ada@bank.example", now=incident.opened_at)

    incident.refresh_from_db()
    assert (incident.status, incident.close_reason) == ("resolved", "Closed by ada@bank.example")


def test_is_shown_on_its_page_with_the_run_in_place_of_a_rule(world: RolloutWorld, project: Project) -> None:
    incident, user = fail(world), User.objects.create_user("ada@bank.example", "correct horse battery")
    Membership.objects.create(project=project, user=user, role=Role.EDITOR)
    client = Client()
    client.force_login(user)

    page = client.get(f"/p/bank/incidents/{incident.pk}").content.decode()
    overview = client.get("/p/bank/").content.decode()
    listed = client.get("/p/bank/incidents/").content.decode()

    assert "20.00% of 15 requests failed" in page
    assert f"/p/bank/models/{world.model.name}/runs/{world.run.pk}" in page
    assert "Failed requests" in page
    assert "(deleted)" not in page
    assert "version 2 was rolled back, the guard failures failed at 5.0%" in overview
    assert "version 2 was rolled back, the guard failures failed at 5.0%" in listed


def test_of_a_new_champion_that_is_worse_says_by_how_much(project: Project) -> None:
    world = run_after_gate(project)
    world.advance()
    for _ in range(2):
        world.let_pass(700)
        world.send(800, 250)
        world.check()
    world.send_pairs(600, new_is_wrong=0.3)

    world.check()

    incident = Incident.objects.get()
    assert world.run.state == "rolled_back"
    assert "was rolled back, after the promotion log_loss was" in incident.title
    assert FeedEvent.objects.get(kind="run.rolled_back").data["run"]["harm"]["guards"] == []


def test_that_cannot_be_opened_holds_no_rollback_up(
    world: RolloutWorld, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("a routing document of before")

    add_email(project, "ops")
    monkeypatch.setattr("monitors.alerts.incidents.rollbacks.schedule", fails)
    world.send(285, 15, failed=3)

    world.check()
    notify()

    assert world.run.state == "rolled_back"
    assert not Incident.objects.exists()
    assert list(Delivery.objects.values_list("event", flat=True)) == ["run.rolled_back"]


def test_does_not_count_guards_that_only_report(project: Project) -> None:
    world = run_after_gate(project, plan={**STAGED, "report_only": ["latency"]})
    world.advance()
    world.send(285, 15, failed=3)

    world.check()

    assert FeedEvent.objects.get(kind="run.rolled_back").data["run"]["harm"]["guards"] == ["failures"]
