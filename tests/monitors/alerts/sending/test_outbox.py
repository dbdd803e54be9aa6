"""Deliveries arrive at least once under a stable id, are retried for a day, and are marked with what happened."""

from collections import Counter
from datetime import datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.outbound.transport import DEADLINE_SECONDS
from driftline.base.work.lease import LEASE
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.alerts.sending.outbox import RETRY_AFTER, attempt, claim_delivery, finish_attempt, retry_delay
from tests.monitors.alerts.conftest import Fire
from tests.monitors.alerts.receiver import Answer, Receiver, trickle

ADA = "ada@example.com"
SECOND = timedelta(seconds=1)


def let_time_pass() -> None:
    """Make every delivery due, as if leases had ended and waits were over."""
    Delivery.objects.update(next_attempt_at=Now() - SECOND)
    Delivery.objects.exclude(lease_until=None).update(lease_until=Now() - SECOND)


@pytest.fixture
def delivery(webhook: Channel, fire: Fire) -> Delivery:
    handling.handle_transition(fire().pk)
    return Delivery.objects.get()


class TestSending:
    def test_a_receiver_can_verify_what_arrives(self, delivery: Delivery, receiver: Receiver) -> None:
        assert outbox.send_due_deliveries() == 1

        sent = receiver.verified()
        delivery.refresh_from_db()
        assert receiver.received[0].body == delivery.body.encode()
        assert (delivery.state, delivery.attempts_made, delivery.reason) == ("sent", 1, "")
        assert delivery.sent_at is not None
        assert sent["event"] == "incident.opened"
        assert receiver.ids == [sent["event_id"]] == [delivery.event_id]
        assert receiver.received[0].headers["driftline-hop"] == "1"
        assert receiver.received[0].headers["accept-encoding"] == "identity"

    def test_tells_the_whole_story(self, delivery: Delivery, receiver: Receiver, fire: Fire) -> None:
        outbox.send_due_deliveries()

        sent, incident = receiver.verified(), Incident.objects.get()
        assert sent["schema_version"] == 1
        assert sent["project"] == {"slug": "airport"}
        assert sent["model"] == {"name": "flight-delay", "version": "1", "stage": "champion"}
        assert sent["incident"]["id"] == incident.pk
        assert sent["incident"]["url"].endswith(f"/p/airport/incidents/{incident.pk}")
        assert (sent["alert"]["metric"], sent["alert"]["value"], sent["alert"]["threshold"]) == (
            "log_loss",
            0.61,
            0.55,
        )
        assert sent["window"]["n"] == 812
        assert sent["text"].startswith("[critical] Log loss of flight-delay is 0.61, above 0.55, on 812 rows")

    def test_nothing_is_sent_twice(self, delivery: Delivery, receiver: Receiver) -> None:
        outbox.send_due_deliveries()

        assert outbox.send_due_deliveries() == 0
        assert len(receiver.received) == 1

    def test_keeps_what_the_receiver_answered(self, delivery: Delivery, receiver: Receiver) -> None:
        receiver.answers = [Answer(500, body=b"\x00busy" + b"!" * 5000)]

        outbox.send_due_deliveries()

        tried = delivery.attempts.get()
        assert (tried.succeeded, tried.status) == (False, 500)
        assert "busy!" in tried.answer
        assert tried.duration_ms >= 0

    @pytest.mark.slow
    @pytest.mark.django_db(transaction=True)
    def test_workers_that_race_send_each_delivery_once(
        self, project: Project, webhook: Channel, receiver: Receiver
    ) -> None:
        for _ in range(20):
            channel_services.send_test(channel=webhook, actor=ADA)

        def work() -> None:
            outbox.send_due_deliveries()
            connection.close()

        workers = [Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        assert Counter(receiver.ids).most_common(1)[0][1] == 1
        assert Delivery.objects.filter(state="sent").count() == len(receiver.ids) == 20


class TestRetrying:
    @pytest.mark.slow
    def test_goes_on_until_the_receiver_takes_it_with_the_same_id_and_bytes(
        self, delivery: Delivery, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(503), Answer(500), Answer(404), Answer(200)]

        for _ in range(4):
            outbox.send_due_deliveries()
            let_time_pass()

        delivery.refresh_from_db()
        assert [tried.status for tried in delivery.attempts.order_by("pk")] == [503, 500, 404, 200]
        assert (delivery.state, delivery.attempts_made) == ("sent", 4)
        assert len(set(receiver.ids)) == len({received.body for received in receiver.received}) == 1
        for index in range(4):
            receiver.verified(index)

    def test_waits_longer_each_time(self, delivery: Delivery, receiver: Receiver) -> None:
        receiver.answers = [Answer(500)]

        outbox.send_due_deliveries()

        assert outbox.send_due_deliveries() == 0
        waits = Delivery.objects.annotate(now=Now()).values_list("next_attempt_at", "now")[0]
        assert 3 * SECOND < waits[0] - waits[1] <= 6 * SECOND

    @pytest.mark.slow
    def test_gives_up_after_a_day_and_the_channel_shows_it(
        self, delivery: Delivery, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(500)]

        for _ in range(len(RETRY_AFTER) + 3):
            outbox.send_due_deliveries()
            let_time_pass()

        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempts_made) == ("failed", len(RETRY_AFTER) + 1)
        assert delivery.reason == "The receiver answered 500: taken"
        assert len(receiver.received) == len(RETRY_AFTER) + 1
        assert Channel.objects.get().enabled

    def test_takes_more_than_a_day(self) -> None:
        planned = sum((retry_delay(number, None, jitter=0.0) for number in range(1, 8)), timedelta())

        assert timedelta(hours=27) < planned < timedelta(hours=29)

    @pytest.mark.parametrize(("jitter", "wait"), [(-0.2, 240), (0.0, 300), (0.2, 360)])
    def test_scatters_the_waits(self, jitter: float, wait: int) -> None:
        assert retry_delay(2, None, jitter=jitter) == timedelta(seconds=wait)

    def test_leaves_the_receiver_alone_for_as_long_as_it_asks(
        self, delivery: Delivery, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(429, {"Retry-After": "7200"})]

        outbox.send_due_deliveries()

        due, now = Delivery.objects.annotate(now=Now()).values_list("next_attempt_at", "now")[0]
        assert timedelta(minutes=119) < due - now <= timedelta(hours=2)

    @pytest.mark.slow
    def test_a_slow_receiver_holds_up_no_other(
        self,
        delivery: Delivery,
        receiver: Receiver,
        email: Channel,
        monkeypatch: pytest.MonkeyPatch,
        mailoutbox: list[Any],
    ) -> None:
        monkeypatch.setattr(
            "monitors.alerts.channels.webhook.transport.post.__kwdefaults__", {"deadline": 0.3}
        )
        receiver.answers = [trickle(b"HTTP/1.1 200 OK\r\n")]
        channel_services.send_test(channel=email, actor=ADA)

        outbox.send_due_deliveries()

        assert len(mailoutbox) == 1
        assert dict(Delivery.objects.values_list("event", "state")) == {
            "incident.opened": "pending",
            "test": "sent",
        }

    def test_a_fault_of_ours_in_one_channel_stops_no_other(
        self, delivery: Delivery, email: Channel, mailoutbox: list[Any]
    ) -> None:
        Channel.objects.filter(pk=delivery.channel_id).update(kind="pigeon")
        channel_services.send_test(channel=email, actor=ADA)

        outbox.send_due_deliveries()

        delivery.refresh_from_db()
        assert len(mailoutbox) == 1
        assert (delivery.state, delivery.reason) == ("pending", "internal_error: KeyError('pigeon')")


class TestCrashing:
    @pytest.mark.slow
    def test_between_sending_and_marking_repeats_the_same_id_and_body(
        self, webhook: Channel, receiver: Receiver, fire: Fire
    ) -> None:
        handling.handle_transition(fire().pk)
        for _ in range(25):
            channel_services.send_test(channel=webhook, actor=ADA)
        stored = dict(Delivery.objects.values_list("event_id", "body"))
        while crashed := claim_delivery():
            attempt(crashed)  # the worker dies here: nothing is marked

        assert outbox.send_due_deliveries() == 0  # the leases hold
        let_time_pass()
        outbox.send_due_deliveries()

        assert Counter(receiver.ids) == dict.fromkeys(stored, 2)
        assert {
            received.headers["webhook-id"]: received.body.decode() for received in receiver.received
        } == stored
        assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}

    def test_a_worker_that_lost_its_lease_marks_nothing(self, delivery: Delivery, receiver: Receiver) -> None:
        receiver.answers = [Answer(500), Answer(200)]
        stalled = claim_delivery()
        assert stalled is not None
        outcome = attempt(stalled)
        let_time_pass()
        outbox.send_due_deliveries()

        finish_attempt(stalled, outcome)

        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempts_made, delivery.attempts.count()) == ("sent", 1, 1)

    def test_a_lease_outlasts_an_attempt(self) -> None:
        assert timedelta(seconds=2 * DEADLINE_SECONDS) < LEASE


class TestDisabling:
    def test_a_receiver_that_is_gone_disables_its_channel(
        self, delivery: Delivery, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(410, body=b"moved out")]
        channel_services.send_test(channel=delivery.channel, actor=ADA)

        outbox.send_due_deliveries()

        channel = Channel.objects.get()
        assert (channel.enabled, channel.disabled_reason) == (False, "The receiver answered 410: moved out")
        assert dict(Delivery.objects.values_list("event", "state")) == {
            "incident.opened": "failed",
            "test": "suppressed",
        }
        assert len(receiver.received) == 1

    def test_a_disabled_channel_gets_nothing_and_says_so(
        self, delivery: Delivery, receiver: Receiver
    ) -> None:
        channel = channel_services.update_channel(channel=delivery.channel, actor=ADA, enabled=False)

        outbox.send_due_deliveries()

        assert receiver.received == []
        for refused in (
            lambda: channel_services.send_test(channel=channel, actor=ADA),
            lambda: channel_services.replay(delivery=Delivery.objects.get(), actor=ADA),
        ):
            with pytest.raises(Problem, match="enable it first") as problem:
                refused()
            assert problem.value.code == "channel_disabled"

    def test_enabling_makes_what_was_missed_replayable(self, delivery: Delivery, receiver: Receiver) -> None:
        for enabled in (False, True):
            channel_services.update_channel(channel=delivery.channel, actor=ADA, enabled=enabled)
        assert outbox.send_due_deliveries() == 0

        channel_services.replay(delivery=Delivery.objects.get(), actor=ADA)
        outbox.send_due_deliveries()

        assert receiver.ids == [delivery.event_id]
        assert Channel.objects.get().disabled_reason == ""

    def test_a_channel_that_is_deleted_while_it_is_sent_to_breaks_nothing(
        self, delivery: Delivery, receiver: Receiver
    ) -> None:
        claimed = claim_delivery()
        assert claimed is not None
        channel_services.delete_channel(channel=delivery.channel, actor=ADA)

        finish_attempt(claimed, attempt(claimed))

        assert Delivery.objects.get().state == "sent"


class TestReplaying:
    @pytest.mark.parametrize("status", [200, 410])
    def test_keeps_id_and_body_whatever_became_of_it(
        self, delivery: Delivery, receiver: Receiver, project: Project, status: int
    ) -> None:
        receiver.answers = [Answer(status), Answer(200)]
        outbox.send_due_deliveries()
        channel_services.update_channel(channel=Channel.objects.get(), actor=ADA, enabled=True)

        again = channel_services.replay(delivery=Delivery.objects.get(), actor=ADA)
        outbox.send_due_deliveries()

        again.refresh_from_db()
        assert (again.state, again.attempts.count()) == ("sent", 2)
        assert receiver.ids == [delivery.event_id] * 2
        assert receiver.received[0].body == receiver.received[1].body
        assert project.audit.filter(action="delivery.replay").count() == 1


class TestTesting:
    def test_is_tried_once(self, webhook: Channel, receiver: Receiver) -> None:
        receiver.answers = [Answer(500, body=b"no such hook")]

        delivery = channel_services.send_test(channel=webhook, actor=ADA)
        outbox.send_due_deliveries()

        delivery.refresh_from_db()
        assert receiver.verified()["event"] == "test"
        assert (delivery.state, delivery.reason) == ("failed", "The receiver answered 500: no such hook")


class TestSecret:
    def test_is_shown_once_and_stored_encrypted(self, webhook: Channel, receiver: Receiver) -> None:
        assert receiver.secret is not None
        stored = bytes(Channel.objects.get().secret)

        assert receiver.secret.startswith("whsec_")
        assert receiver.secret.removeprefix("whsec_").encode() not in stored

    def test_that_cannot_be_read_is_a_failure_with_its_remedy(
        self, delivery: Delivery, receiver: Receiver, settings: Any
    ) -> None:
        settings.SECRET_KEY = "another installation's"

        outbox.send_due_deliveries()

        delivery.refresh_from_db()
        assert (delivery.state, receiver.received) == ("pending", [])
        assert delivery.reason.startswith("secret_unreadable: ")
        assert "DRIFTLINE_SECRET_KEY" in delivery.reason

    def test_signature_is_made_anew_for_each_attempt(
        self, delivery: Delivery, receiver: Receiver, now: datetime
    ) -> None:
        outbox.send_due_deliveries()

        stamp = int(receiver.received[0].headers["webhook-timestamp"])
        assert abs(stamp - now.timestamp()) < 60


class TestTurns:
    def test_are_taken_by_projects_so_that_one_with_many_messages_delays_no_other(
        self, delivery: Delivery, webhook: Channel
    ) -> None:
        """A hundred messages of one project were written first; the only one of another is sent second."""
        values = {"event": "test", "subject": "s", "body": "{}", "next_attempt_at": Now() - SECOND}
        Delivery.objects.bulk_create(
            Delivery(channel=webhook, event_id=f"crowd-{number}", **values) for number in range(100)
        )
        other = Project.objects.create(slug="other", name="Other")
        channel = Channel.objects.create(project=other, name="theirs", kind=webhook.kind)
        theirs = Delivery.objects.create(channel=channel, event_id="theirs", **values)
        let_time_pass()

        first, second = claim_delivery(), claim_delivery()

        assert first is not None
        assert second is not None
        assert first.channel == webhook
        assert second.pk == theirs.pk
