"""Slack with a bot token: one message an incident, which is edited as it changes, with what happened in its thread."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from driftline.base.accounts.models import Project, User
from driftline.base.errors import Problem
from driftline.operations.configuration.exporting import export
from inference.registry.models import Model
from monitors.alerts import services
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.masking import mask_target, without_target
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, due_notifications, outbox
from monitors.alerts.sending.announcing import announce
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.stored_routing import save_routing
from monitors.alerts.story import ACKNOWLEDGED
from monitors.feed.models import FeedEvent
from tests.monitors.alerts.checking_receiver import BOT_TOKEN, FIRST_TS, ROOM
from tests.monitors.alerts.conftest import ADA, Fire, Make, live, muted_by
from tests.monitors.alerts.receiver import Answer, Receiver

pytestmark = pytest.mark.slow

POST, UPDATE = "/chat.postMessage", "/chat.update"


def calls(receiver: Receiver) -> list[tuple[str, Any]]:
    return [(request.path, json.loads(request.body)) for request in receiver.received]


def refusal(error: str) -> Answer:
    return Answer(body=json.dumps({"ok": False, "error": error}).encode())


def accepted(ts: str) -> Answer:
    return Answer(body=json.dumps({"ok": True, "channel": ROOM, "ts": ts}).encode())


def title_of(call: Any) -> str:
    return str(call["blocks"][0]["text"]["text"])


def open_incident(fire: Fire, *, age: timedelta = timedelta(hours=3)) -> Incident:
    handling.handle_transition(fire(age=age).pk)
    outbox.send_due_deliveries()
    return Incident.objects.get()


class TestOneMessage:
    def test_is_edited_as_the_incident_changes_and_answered_in_its_thread(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("slack bot")

        live(fire, person, now)

        sent = calls(receiver)
        at_top = [call for path, call in sent if path == POST and "thread_ts" not in call]
        edits = [call for path, call in sent if path == UPDATE]
        replies = [call for path, call in sent if path == POST and "thread_ts" in call]
        assert [title_of(call).partition(":")[0] for call in at_top] == ["Critical"]
        assert [title_of(call).partition(":")[0] for call in edits] == ["Acknowledged", "Resolved"]
        assert {(call["channel"], call["ts"]) for call in edits} == {(ROOM, FIRST_TS)}
        assert [title_of(call).partition(":")[0] for call in replies] == ["Acknowledged", "Resolved"]
        assert {(call["channel"], call["thread_ts"]) for call in replies} == {(ROOM, FIRST_TS)}
        assert "Acknowledged by" in json.dumps(edits[0]), "the edited message says who looks after it"

    def test_offers_no_acknowledgement_any_more_once_somebody_did(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("slack bot")

        live(fire, person, now)

        opened, edited = calls(receiver)[0][1], calls(receiver)[1][1]
        assert '"Acknowledge"' in json.dumps(opened)
        assert '"Acknowledge"' not in json.dumps(edited)

    def test_is_not_edited_by_a_reminder_which_is_in_its_thread(
        self, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        make("slack bot")
        open_incident(fire)

        due_notifications.send_due_notifications(at=database_time() + timedelta(days=1))
        outbox.send_due_deliveries()

        path, reminder = calls(receiver)[-1]
        assert len(receiver.received) == 2
        assert (path, reminder["thread_ts"]) == (POST, FIRST_TS)
        assert title_of(reminder).startswith("Reminder")

    def test_is_not_edited_back_by_an_older_message_that_is_sent_again(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("slack bot")
        live(fire, person, now)
        edits = len([path for path, _ in calls(receiver) if path == UPDATE])

        channel_services.replay(delivery=Delivery.objects.earliest("pk"), actor=ADA)
        outbox.send_due_deliveries()

        assert len([path for path, _ in calls(receiver) if path == UPDATE]) == edits
        assert calls(receiver)[-1][1]["thread_ts"] == FIRST_TS
        assert Delivery.objects.earliest("pk").state == "sent"

    def test_is_still_edited_after_its_first_message_was_sent_again(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("slack bot")
        incident = open_incident(fire)
        channel_services.replay(delivery=Delivery.objects.get(), actor=ADA)
        outbox.send_due_deliveries()

        services.acknowledge(incident=incident, actor=ADA, user=person, now=now)
        outbox.send_due_deliveries()

        edit = next(call for path, call in calls(receiver) if path == UPDATE)
        assert (edit["channel"], edit["ts"]) == (ROOM, FIRST_TS)
        assert all("thread_ts" in call for path, call in calls(receiver)[1:] if path == POST)

    @pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed"])
    def test_is_posted_anew_where_slack_lost_it_and_the_new_one_is_edited_from_then_on(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime, error: str
    ) -> None:
        make("slack bot")
        incident = open_incident(fire)
        receiver.answers = [refusal(error), accepted("1764340000.000200")]

        services.acknowledge(incident=incident, actor=ADA, user=person, now=now)
        outbox.send_due_deliveries()
        handling.handle_transition(fire("resolved", value=0.4).pk)
        outbox.send_due_deliveries()

        assert [path for path, _ in calls(receiver)] == [POST, UPDATE, POST, UPDATE, POST]
        anew, edit, reply = (call for _, call in calls(receiver)[2:])
        assert "thread_ts" not in anew
        assert (edit["ts"], reply["thread_ts"]) == ("1764340000.000200", "1764340000.000200")

    def test_begins_anew_in_a_room_that_the_channel_was_moved_to(
        self, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        channel = make("slack bot")
        open_incident(fire)
        channel_services.update_channel(channel=channel, actor=ADA, target=f"{BOT_TOKEN}:{ROOM}")

        handling.handle_transition(fire("resolved", value=0.4).pk)
        outbox.send_due_deliveries()

        path, last = calls(receiver)[-1]
        assert (path, last["channel"], "thread_ts" in last) == (POST, ROOM, False)

    def test_is_begun_by_the_opening_although_a_later_message_is_due_first(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("slack bot")
        receiver.answers.insert(0, Answer(503))
        incident = open_incident(fire)
        services.acknowledge(incident=incident, actor=ADA, user=person, now=now)

        outbox.send_due_deliveries()

        assert len(receiver.received) == 1, "the acknowledgement waits for the opening"
        waiting = Delivery.objects.latest("pk")
        assert (waiting.event, waiting.attempts_made, waiting.attempts.count()) == (ACKNOWLEDGED, 0, 0)
        assert waiting.next_attempt_at > Delivery.objects.earliest("pk").next_attempt_at
        for _ in range(2):
            Delivery.objects.update(next_attempt_at=Now())
            outbox.send_due_deliveries()
        assert [path for path, _ in calls(receiver)] == [POST, POST, UPDATE, POST]
        assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}

    def test_lets_a_run_answer_while_the_end_of_the_incident_is_muted(
        self, make: Make, fire: Fire, receiver: Receiver, project: Project
    ) -> None:
        make("slack bot")
        incident = open_incident(fire)
        transition = incident.alerts.get().opened_by
        assert transition is not None
        at = database_time()
        routes = [{"mute_time_intervals": ["nights"]}]
        save_routing(project=project, document=muted_by(at) | {"route": {"routes": routes}}, actor=ADA)
        services.resolve(incident=incident, actor=ADA, now=at)

        announce(run_event(project, "run-7", transition=transition.pk))
        outbox.send_due_deliveries()

        assert Delivery.objects.get(event="incident.resolved").state == "pending"
        assert title_of(calls(receiver)[-1][1]) == "A run waits for approval"
        assert Delivery.objects.latest("pk").state == "sent"


class TestRun:
    def test_is_in_the_thread_of_the_incident_that_started_it(
        self, make: Make, fire: Fire, receiver: Receiver, project: Project
    ) -> None:
        make("slack bot")
        incident = open_incident(fire)
        transition = incident.alerts.get().opened_by
        assert transition is not None

        announce(run_event(project, "run-7", transition=transition.pk))
        outbox.send_due_deliveries()

        path, reply = calls(receiver)[-1]
        assert (path, reply["thread_ts"]) == (POST, FIRST_TS)
        assert title_of(reply) == "A run waits for approval"

    def test_has_a_thread_of_its_own_where_no_incident_started_it(
        self, make: Make, receiver: Receiver, project: Project
    ) -> None:
        make("slack bot")

        for _ in range(2):
            announce(run_event(project, "run-7"))
            outbox.send_due_deliveries()

        first, second = (call for _, call in calls(receiver))
        assert "thread_ts" not in first
        assert second["thread_ts"] == FIRST_TS

    @pytest.mark.parametrize("kind", ["deployment.changed", "version.created", "reference.changed"])
    def test_alone_has_a_thread_and_other_events_of_a_model_stand_in_the_channel(
        self, make: Make, receiver: Receiver, project: Project, model: Model, kind: str
    ) -> None:
        channel = make("slack bot")
        channel_services.update_channel(channel=channel, actor=ADA, events=[kind])

        for number in range(2):
            announce(
                FeedEvent.objects.create(
                    project=project, model=model, kind=kind, event_id=f"evt_{number}",
                    subject=f"model-{model.pk}", text=f"flight-delay: change {number}",
                )
            )  # fmt: skip
            outbox.send_due_deliveries()

        assert [(path, "thread_ts" in call) for path, call in calls(receiver)] == [(POST, False)] * 2


def run_event(project: Project, subject: str, **run: Any) -> FeedEvent:
    return FeedEvent.objects.create(
        project=project,
        kind="run.waiting_for_approval",
        event_id=f"evt_{FeedEvent.objects.count()}",
        subject=subject,
        text="flight-delay: run 7 waits for a person",
        data={"run": {"id": 7, **run}},
    )


class TestRefusals:
    @pytest.mark.parametrize(
        ("error", "is_enabled"),
        [
            ("token_revoked", False),
            ("is_archived", False),
            ("channel_not_found", True),
            ("not_in_channel", True),
        ],
    )
    def test_say_what_slack_said_and_turn_off_what_it_refuses_for_good(
        self, make: Make, fire: Fire, receiver: Receiver, error: str, is_enabled: bool
    ) -> None:
        make("slack bot")
        receiver.answers = [refusal(error)]

        open_incident(fire)

        delivery = Delivery.objects.get()
        assert delivery.reason == f"Slack refused chat.postMessage: {error}"
        assert Channel.objects.get().enabled is is_enabled

    def test_of_the_rate_pause_the_channel(self, make: Make, fire: Fire, receiver: Receiver) -> None:
        make("slack bot")
        receiver.answers = [refusal("ratelimited")]

        open_incident(fire)

        assert Delivery.objects.get(next_attempt_at__gt=Now() + timedelta(seconds=50)).state == "pending"

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"ok": true}', b'{"ok": false}'])
    def test_an_answer_that_is_none_of_slack_is_a_failure(
        self, make: Make, fire: Fire, receiver: Receiver, body: bytes
    ) -> None:
        make("slack bot")
        receiver.answers = [Answer(body=body)]

        open_incident(fire)

        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts_made) == ("pending", 1)
        assert "no answer of its API" in delivery.reason

    def test_keep_the_token_out_of_what_is_stored(self, make: Make, fire: Fire, receiver: Receiver) -> None:
        make("slack bot")
        receiver.answers = [Answer(500, body=f"no such token {BOT_TOKEN}".encode())]

        open_incident(fire)

        delivery = Delivery.objects.get()
        assert BOT_TOKEN not in delivery.reason + delivery.attempts.get().answer


class TestTarget:
    @pytest.mark.parametrize(
        "target",
        ["xoxb-", BOT_TOKEN, f"{BOT_TOKEN}:", f"{BOT_TOKEN}:#two words", "xoxb-a b:#x", f"{BOT_TOKEN}:#a\n"],
    )
    def test_is_refused_in_a_sentence_where_it_is_no_token_with_a_channel(self, target: str) -> None:
        with pytest.raises(Problem) as refused:
            KINDS["slack"].check_target(target)

        assert refused.value.errors[0].pointer == "/target"
        assert "xoxb-…:#alerts" in refused.value.errors[0].detail

    def test_shows_the_room_and_no_token(self) -> None:
        assert mask_target(f"{BOT_TOKEN}:#alerts") == f"…{BOT_TOKEN[-4:]}:#alerts"

    def test_hides_the_token_beside_a_room_with_a_longer_name(self) -> None:
        room = "#" + "alerts-of-the-flight-delay-model-in-production-at-the-airport"
        target = f"{BOT_TOKEN}:{room}"

        assert len(room) > len(BOT_TOKEN)
        assert mask_target(target) == f"…{BOT_TOKEN[-4:]}:{room}"
        assert BOT_TOKEN not in without_target(f"no such token {BOT_TOKEN}", target)

    def test_is_in_no_exported_configuration(self, make: Make, project: Project) -> None:
        make("slack bot")

        assert export(project)["channels"] == {
            "ops": {
                "kind": "slack",
                "min_severity": "warning",
                "events": Channel.objects.get().events,
                "enabled": True,
            }
        }
