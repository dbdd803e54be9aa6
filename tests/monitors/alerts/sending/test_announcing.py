"""Messages about runs, versions and the like: who gets them, and that each service takes them."""

import json
import re
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.db import transaction
from django.test import Client
from jsonschema import Draft202012Validator

from driftline.base.accounts.models import Membership, Project, Role, User
from driftline.base.errors import Problem
from inference.registry.models import Model
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending import channel_services, outbox
from monitors.feed.kinds import DEFAULT_OF_CHANNELS, KINDS
from monitors.feed.models import FeedEvent
from monitors.feed.services import record_event
from monitors.workflows.ending.reporting import (
    remind_of_waiting_runs,
    report_end,
    report_rollback,
    report_start,
    report_waiting,
)
from monitors.workflows.models import Run
from tests.markup import markup
from tests.monitors.alerts.checking_receiver import CHECKS
from tests.monitors.alerts.conftest import SPECIAL, Fire, Make
from tests.monitors.alerts.receiver import Answer, Receiver

ADA = "ada@example.com"
PAYLOAD = {
    "type": "object",
    "required": ["schema_version", "event", "event_id", "sent_at", "project", "model", "links", "text"],
    "properties": {
        "schema_version": {"const": 1},
        "event": {"enum": list(KINDS)},
        "event_id": {"type": "string", "pattern": "^evt_[0-9a-f]+$"},
        "sent_at": {"type": "string", "format": "date-time"},
        "project": {"type": "object", "required": ["slug"]},
        "model": {"type": ["object", "null"], "required": ["name"]},
        "links": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^http"}},
        "text": {"type": "string"},
        "run": {
            "type": "object",
            "required": [
                "id",
                "state",
                "trigger",
                "champion",
                "challenger",
                "reason",
                "verdict",
                "is_reminder",
            ],
        },
        "channel": {"type": "object", "required": ["id", "name", "kind", "reason"]},
    },
    "additionalProperties": False,
}


@pytest.fixture
def run(model: Model, now: Any) -> Run:
    champion = model.versions.get()
    challenger = model.versions.create(version="2")
    return Run.objects.create(
        model=model, trigger="rule log loss", state="waiting", needs="person", data_until=now, champion=champion,
        challenger=challenger, waiting_for="a person to approve the promotion",
        verdict={"decision": "promote", "reasons": ["Log loss is 0.05 better (0.03 to 0.07)."]},
    )  # fmt: skip


def report_all(run: Run) -> None:
    report_start(run, actor=ADA)
    report_waiting(run)
    for state in ("promoted", "rejected", "failed", "cancelled"):
        run.state = state
        report_end(run, actor=ADA, reason=f"because {SPECIAL}")
    report_rollback(run, actor=ADA, reason="it was worse")


def test_what_the_gate_found_is_said_once_in_the_words_of_pages_and_apart_for_missing_labels(
    run: Run,
) -> None:
    latency = "p99 latency 5 ms against 4 ms: within the limit of 9 ms."
    run.verdict = {"decision": "inconclusive", "reasons": [
        "roc_auc 0.8 against 0.7: better beyond its interval.", latency, "Labels are selective (80% arrived).",
        "roc_auc 0.7 against 0.7: the interval includes no difference.", latency,
    ]}  # fmt: skip

    report_waiting(run)

    facts = FeedEvent.objects.get().facts
    assert [fact for fact in facts if fact[0] in ("Found", "Missing labels at their worst")] == [
        ["Found", "ROC AUC 0.8 against 0.7: better beyond its interval."],
        ["Found", latency],
        ["Missing labels at their worst", "Labels are selective (80% arrived)."],
        ["Missing labels at their worst", "ROC AUC 0.7 against 0.7: the interval includes no difference."],
    ]


def test_that_missing_labels_leave_it_open_is_said_however_much_was_found(run: Run) -> None:
    found = [f"Segment branch:{number}: too few to judge." for number in range(20)]
    run.verdict = {"decision": "inconclusive", "reasons": [*found, "Labels are selective (80% arrived)."]}

    report_waiting(run)

    assert [
        "Missing labels at their worst",
        "Labels are selective (80% arrived).",
    ] in FeedEvent.objects.get().facts


def sent(receiver: Receiver) -> list[dict[str, Any]]:
    outbox.send_due_deliveries()
    return [json.loads(request.body) for request in receiver.received]


class TestChoice:
    def test_is_of_what_asks_for_a_person_unless_somebody_chose(self, webhook: Channel, run: Run) -> None:
        report_all(run)

        assert webhook.events == list(DEFAULT_OF_CHANNELS)
        assert list(Delivery.objects.order_by("pk").values_list("event", flat=True)) == [
            "run.waiting_for_approval", "run.promoted", "run.rejected", "run.failed", "run.rolled_back",
        ]  # fmt: skip

    def test_of_one_event_brings_that_alone(self, webhook: Channel, run: Run, fire: Fire) -> None:
        channel_services.update_channel(channel=webhook, actor=ADA, events=["run.started"])

        report_all(run)
        handling.handle_transition(fire().pk)

        assert [one.event for one in Delivery.objects.all()] == ["run.started"]

    def test_of_nothing_leaves_the_test(self, webhook: Channel, run: Run) -> None:
        channel_services.update_channel(channel=webhook, actor=ADA, events=[])

        report_all(run)
        channel_services.send_test(channel=webhook, actor=ADA)

        assert [one.event for one in Delivery.objects.all()] == ["test"]

    @pytest.mark.parametrize("events", [["run.exploded"], ["run.failed", "run.failed"], ["incident.opened"]])
    def test_of_what_is_no_event_is_refused(self, webhook: Channel, events: list[str]) -> None:
        with pytest.raises(Problem) as refused:
            channel_services.update_channel(channel=webhook, actor=ADA, events=events)

        assert refused.value.errors[0].pointer == "/events"

    def test_does_not_reach_other_projects_or_channels_that_are_off(self, webhook: Channel, run: Run) -> None:
        other = Project.objects.create(slug="bank", name="Bank")
        channel_services.create_channel(
            project=other, kind="email", name="theirs", target="b@example.com", actor=ADA
        )
        channel_services.update_channel(channel=webhook, actor=ADA, enabled=False)

        report_all(run)

        assert not Delivery.objects.exists()


class TestMessage:
    def test_is_written_with_its_cause_or_not_at_all(self, webhook: Channel, run: Run) -> None:
        with suppress(ZeroDivisionError), transaction.atomic():
            report_waiting(run)
            assert Delivery.objects.exists()
            raise ZeroDivisionError

        assert not FeedEvent.objects.exists()
        assert not Delivery.objects.exists()

    def test_has_one_id_for_all_channels_and_the_feed(
        self, webhook: Channel, email: Channel, run: Run
    ) -> None:
        report_waiting(run)

        assert set(Delivery.objects.values_list("event_id", flat=True)) == {FeedEvent.objects.get().event_id}
        assert Delivery.objects.count() == 2


class TestRunThatWaits:
    def test_leads_to_the_page_where_it_is_approved(
        self, webhook: Channel, run: Run, receiver: Receiver
    ) -> None:
        report_waiting(run)

        [payload] = sent(receiver)

        assert payload["event"] == "run.waiting_for_approval"
        assert payload["links"]["run"].endswith(f"/p/airport/models/flight-delay/runs/{run.pk}")
        assert payload["run"]["challenger"] == "2"
        assert payload["run"]["verdict"]["decision"] == "promote"
        assert payload["event_id"] == FeedEvent.objects.get().event_id

    @pytest.mark.slow
    def test_is_answered_at_a_link_by_a_person_with_the_role_alone(
        self, webhook: Channel, run: Run, receiver: Receiver, project: Project, person: User
    ) -> None:
        report_waiting(run)
        [payload] = sent(receiver)
        approve = urlsplit(payload["links"]["approve"])
        address = f"{approve.path}?{approve.query}"
        visitor = Client()

        unknown = visitor.get(address)
        visitor.force_login(person)
        membership = Membership.objects.create(project=project, user=person, role=Role.VIEWER)
        refused = visitor.post(approve.path, {"action": "approve"})
        Membership.objects.filter(pk=membership.pk).update(role=Role.ADMIN)
        asked = visitor.get(address)
        run.refresh_from_db()
        assert (unknown.status_code, refused.status_code) == (302, 403)
        assert unknown["Location"].startswith("/accounts/login/?next=")
        assert (
            "Version 2 will answer a share of the requests, which grows as its rollout plan says."
            in markup(asked)
        )
        assert (run.needs, run.approved_by) == ("person", ""), "opening the link changes nothing"

        visitor.post(approve.path, {"action": "approve"})

        run.refresh_from_db()
        assert run.approved_by == person.email
        assert "will answer every request" not in markup(visitor.get(address))

    def test_says_in_a_mail_what_a_person_needs_to_decide(self, email: Channel, run: Run) -> None:
        report_waiting(run)
        outbox.send_due_deliveries()

        [letter] = mail.outbox
        assert (
            letter.subject == f"[run] flight-delay: run {run.pk} waits for a person to approve the promotion"
        )
        assert "Verdict of the gate: promote" in letter.body
        assert "Log loss is 0.05 better" in letter.body
        assert "If it is approved: version 2 answers a share of the requests" in letter.body
        assert f"/models/flight-delay/runs/{run.pk}" in letter.body
        for answer in ("Approve", "Reject"):
            assert re.search(rf"{answer}…: http\S+/runs/{run.pk}\?confirm={answer.lower()}", letter.body)

    def test_and_its_end_are_one_thread_of_mails(self, email: Channel, run: Run) -> None:
        report_waiting(run)
        run.state = "promoted"
        report_end(run, actor=ADA, reason="the gate was passed")
        outbox.send_due_deliveries()

        assert len({letter.extra_headers["References"] for letter in mail.outbox}) == 1
        assert len({letter.extra_headers["Message-ID"] for letter in mail.outbox}) == 2

    def test_joins_the_thread_of_the_incident_that_started_it(
        self, email: Channel, run: Run, fire: Fire
    ) -> None:
        run.transition = fire()
        handling.handle_transition(run.transition.pk)

        report_waiting(run)
        outbox.send_due_deliveries()

        opened, waits = mail.outbox
        assert waits.subject.startswith("[run] ")
        assert opened.extra_headers["References"] == waits.extra_headers["References"]

    def test_reminds_once_a_day_until_somebody_answers(self, webhook: Channel, run: Run, now: Any) -> None:
        report_waiting(run)

        reminded = [
            remind_of_waiting_runs(now + hours) for hours in (timedelta(hours=23), timedelta(hours=25))
        ]
        FeedEvent.objects.update(at=now)
        again = remind_of_waiting_runs(now + timedelta(hours=23))
        Run.objects.update(state="running", needs="")

        assert (reminded, again) == ([0, 1], 0)
        assert remind_of_waiting_runs(now + timedelta(days=9)) == 0
        newest = FeedEvent.objects.latest("pk")
        assert newest.data["run"]["is_reminder"] is True
        assert "still waits" in newest.text


class TestChannelThatIsDisabled:
    def test_is_told_by_the_others(self, webhook: Channel, email: Channel, receiver: Receiver) -> None:
        receiver.answers = [Answer(410)]
        channel_services.send_test(channel=webhook, actor=ADA)

        outbox.send_due_deliveries()
        outbox.send_due_deliveries()

        [letter] = mail.outbox
        assert letter.subject == "[channel] Airport: the channel pager is disabled, so nothing is sent to it"
        assert "410" in letter.body
        assert receiver.url not in letter.body

    def test_is_told_once(self, webhook: Channel, email: Channel, receiver: Receiver) -> None:
        receiver.answers = [Answer(410)]
        for _ in range(3):
            channel_services.send_test(channel=webhook, actor=ADA)

        outbox.send_due_deliveries()

        assert FeedEvent.objects.filter(kind="channel.disabled").count() == 1


class TestWebhook:
    def test_has_the_documented_shape(self, webhook: Channel, run: Run, receiver: Receiver) -> None:
        channel_services.update_channel(channel=webhook, actor=ADA, events=list(KINDS))
        report_all(run)
        record_event(
            project=run.model.project, kind="channel.disabled", subject="channel-0", text="off",
            data={"channel": {"id": 0, "name": "x", "kind": "email", "reason": "no such host"}},
        )  # fmt: skip

        payloads = sent(receiver)

        assert len(payloads) == 8
        for payload in payloads:
            Draft202012Validator(PAYLOAD).validate(payload)


@pytest.mark.parametrize("kind", CHECKS)
class TestEachKind:
    def test_takes_every_event(self, kind: str, make: Make, run: Run) -> None:
        channel_services.update_channel(channel=make(kind), actor=ADA, events=list(KINDS))

        report_all(run)
        outbox.send_due_deliveries()

        deliveries = Delivery.objects.order_by("pk")
        assert deliveries.count() == 7
        assert [(one.state, one.reason) for one in deliveries] == [("sent", "")] * 7

    def test_takes_any_text(self, kind: str, make: Make, run: Run) -> None:
        channel_services.update_channel(channel=make(kind), actor=ADA, events=list(KINDS))
        run.trigger, run.waiting_for = SPECIAL * 3, "&" * 200
        run.verdict = {"decision": SPECIAL, "reasons": ["[x](https://evil.example) <!channel> " * 90] * 60}

        report_waiting(run)
        outbox.send_due_deliveries()

        assert [(one.state, one.reason) for one in Delivery.objects.all()] == [("sent", "")]

    def test_leads_to_the_run(self, kind: str, make: Make, run: Run, receiver: Receiver) -> None:
        make(kind)

        report_waiting(run)
        outbox.send_due_deliveries()

        assert f"/models/flight-delay/runs/{run.pk}" in receiver.received[0].body.decode()
