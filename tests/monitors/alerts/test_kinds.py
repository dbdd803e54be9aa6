"""The kinds of channel for other services: each message is one that the service takes, for any incident."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from driftline.base.accounts.models import Project, User
from driftline.base.errors import Problem
from monitors.alerts import services, silences
from monitors.alerts.channels import KINDS
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, due_notifications, outbox
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.story import Story
from monitors.rules.models import Rule
from tests.monitors.alerts.checking_receiver import BOT_TOKEN, CHECKS, GOTIFY_TOKEN, KEY, OPSGENIE_KEY
from tests.monitors.alerts.conftest import ADA, DAY, SPECIAL, Fire, Make, live
from tests.monitors.alerts.receiver import Answer, Receiver

PAGERS = ["pagerduty", "opsgenie"]
SHOW_STATE = [*PAGERS, "slack bot"]


def sent(receiver: Receiver) -> list[Any]:
    return [json.loads(request.body) for request in receiver.received]


@pytest.mark.parametrize("kind", CHECKS)
class TestEachKind:
    @pytest.mark.slow
    def test_takes_an_incident_from_its_opening_to_its_end(
        self, kind: str, make: Make, fire: Fire, person: User, now: datetime
    ) -> None:
        make(kind)

        live(fire, person, now)

        events = [
            "incident.opened",
            *(["incident.acknowledged"] if kind in SHOW_STATE else []),
            "incident.resolved",
        ]
        deliveries = Delivery.objects.order_by("pk")
        assert [(one.event, one.state, one.reason) for one in deliveries] == [
            (event, "sent", "") for event in events
        ]

    @pytest.mark.slow
    def test_takes_a_reminder(self, kind: str, make: Make, fire: Fire) -> None:
        make(kind)
        handling.handle_transition(fire().pk)

        due_notifications.send_due_notifications(at=database_time() + timedelta(days=1))
        outbox.send_due_deliveries()

        deliveries = Delivery.objects.order_by("pk").values_list("event", "state", "reason")
        assert list(deliveries) == [("incident.opened", "sent", ""), ("incident.reminder", "sent", "")]

    def test_takes_the_test_and_shows_the_answer(self, kind: str, make: Make) -> None:
        delivery = channel_services.send_test(channel=make(kind), actor=ADA)
        outbox.send_due_deliveries()

        delivery.refresh_from_db()
        assert (delivery.state, delivery.reason) == ("sent", "")

    @pytest.mark.slow
    @pytest.mark.parametrize("text", [SPECIAL, "&" * 200, "飛" * 200, "[" * 200])
    def test_takes_any_text(
        self, kind: str, make: Make, fire: Fire, rule: Rule, person: User, now: datetime, text: str
    ) -> None:
        make(kind)
        Rule.objects.update(name=text[:120], feature=text, segment=text)
        causes = [
            {"feature": f"{text}{number}", "score": 0.5, "evidence": text * 20, "kind": kind_of_cause}
            for number in range(300)
            for kind_of_cause in ("fault", "drift")
        ]

        handling.handle_transition(fire(detail={"causes": causes, "feature": text}).pk)
        Incident.objects.update(title=text)
        outbox.send_due_deliveries()
        handling.handle_transition(fire("resolved", value=0.4).pk)
        outbox.send_due_deliveries()

        assert [one.reason for one in Delivery.objects.order_by("pk")] == ["", ""]

    def test_stays_within_the_limits_with_hundreds_of_lines(
        self,
        kind: str,
        make: Make,
        fire: Fire,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        make(kind)
        lines = [f"{'x<&*' * 400} {number}" for number in range(300)]
        for name in ("fault_lines", "cause_lines"):
            monkeypatch.setattr(Story, name, property(lambda _: lines))

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.reason) == ("sent", "")
        assert f"/incidents/{delivery.incident_id}" in delivery.body

    def test_leads_to_the_incident(self, kind: str, make: Make, fire: Fire, receiver: Receiver) -> None:
        make(kind)

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        url = f"/p/airport/incidents/{Incident.objects.get().pk}"
        assert url in receiver.received[0].body.decode()

    def test_says_which_feature_how_sure_and_what_is_being_done(
        self, kind: str, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        make(kind)
        causes = [{"feature": "dest", "score": 0.82, "evidence": "PSI 0.4, limit 0.1", "kind": "drift"}]

        handling.handle_transition(fire(detail={"causes": causes}).pk)
        outbox.send_due_deliveries()

        said = receiver.received[0].body.decode()
        for fact in ("Likely causes", "dest", "score 0.82", "PSI 0.4, limit 0.1", "Nothing by itself"):
            assert fact in said.replace("\\\\", ""), fact

    @pytest.mark.slow
    def test_pauses_all_that_waits_for_a_receiver_that_limits_the_rate(
        self, kind: str, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        channel = make(kind, limit=1)
        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()
        for _ in range(5):
            channel_services.send_test(channel=channel, actor=ADA)

        outbox.send_due_deliveries()

        assert len(receiver.received) == 2, "one is refused, and the others are not tried"
        waiting = Delivery.objects.filter(state="pending")
        assert waiting.count() == 4, "a test is tried once"
        assert waiting.filter(next_attempt_at__lt=Now() + timedelta(seconds=25)).count() == 0

    @pytest.mark.parametrize(
        ("status", "is_enabled"), [(401, False), (403, False), (410, False), (500, True)]
    )
    def test_is_disabled_by_a_receiver_that_refuses_it_for_good(
        self, kind: str, make: Make, fire: Fire, receiver: Receiver, status: int, is_enabled: bool
    ) -> None:
        make(kind)
        receiver.answers = [Answer(status, body=b"no such integration")]

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        channel = Channel.objects.get()
        assert channel.enabled is is_enabled
        assert ("no such integration" in channel.disabled_reason) is not is_enabled

    def test_stores_no_target_with_a_message(self, kind: str, make: Make, fire: Fire) -> None:
        channel = make(kind)
        handling.handle_transition(fire().pk)
        channel_services.send_test(channel=channel, actor=ADA)

        stored = " ".join(Delivery.objects.values_list("body", flat=True))

        assert KEY not in stored
        assert OPSGENIE_KEY not in stored
        assert BOT_TOKEN not in stored
        assert GOTIFY_TOKEN not in stored

    def test_waits_out_an_hour_of_refusals(
        self, kind: str, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        make(kind)
        checked = receiver.answers
        receiver.answers = [Answer(429, {"Retry-After": "3600"}, b"slow down")]
        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()
        receiver.answers = checked
        assert outbox.send_due_deliveries() == 0

        Delivery.objects.update(next_attempt_at=Now())
        outbox.send_due_deliveries()

        assert Delivery.objects.get().state == "sent"


class TestTeams:
    @pytest.mark.parametrize(
        "words",
        [
            b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413",
            b"Bad payload received by generic incoming webhook. Error code 42",
        ],
    )
    def test_an_answer_of_200_with_an_error_is_a_failure(
        self, make: Make, fire: Fire, receiver: Receiver, words: bytes
    ) -> None:
        make("teams")
        receiver.answers = [Answer(200, body=words)]

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts_made) == ("pending", 1)
        assert delivery.reason == f"Teams answered 200 with an error: {words.decode()}"

    def test_an_error_that_names_the_rate_limit_pauses_the_channel(
        self, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        make("teams")
        receiver.answers = [Answer(200, body=b"failed: Microsoft Teams endpoint returned HTTP error 429")]

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        assert Delivery.objects.get(next_attempt_at__gt=Now() + timedelta(seconds=50)).state == "pending"

    def test_the_1_of_an_old_connector_is_no_error(self, make: Make, fire: Fire, receiver: Receiver) -> None:
        make("teams")
        receiver.answers = [Answer(200, body=b"1")]

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        assert Delivery.objects.get().state == "sent"


class TestPagers:
    @pytest.mark.slow
    def test_pagerduty_triggers_acknowledges_and_resolves_one_alert(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("pagerduty")

        incident = live(fire, person, now)

        key = f"driftline-inc-{incident.pk}"
        assert [(event["event_action"], event["dedup_key"]) for event in sent(receiver)] == [
            ("trigger", key), ("acknowledge", key), ("resolve", key),
        ]  # fmt: skip
        assert sent(receiver)[0]["payload"]["severity"] == "critical"

    @pytest.mark.slow
    def test_opsgenie_creates_acknowledges_and_closes_one_alert(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("opsgenie")

        incident = live(fire, person, now)

        alias = f"driftline-inc-{incident.pk}"
        assert sent(receiver)[0]["alias"] == alias
        assert [request.path for request in receiver.received] == [
            "/v2/alerts",
            f"/v2/alerts/{alias}/acknowledge?identifierType=alias",
            f"/v2/alerts/{alias}/close?identifierType=alias",
        ]

    @pytest.mark.parametrize("kind", PAGERS)
    def test_a_test_leaves_no_open_alert(self, kind: str, make: Make, receiver: Receiver) -> None:
        channel_services.send_test(channel=make(kind), actor=ADA)
        outbox.send_due_deliveries()

        if kind == "pagerduty":
            assert [event["event_action"] for event in sent(receiver)] == ["trigger", "resolve"]
        else:
            assert [request.path.rpartition("/")[2] for request in receiver.received] == [
                "alerts",
                "close?identifierType=alias",
            ]

    @pytest.mark.parametrize("kind", PAGERS)
    def test_a_pager_that_was_never_paged_gets_no_acknowledgement(
        self, kind: str, make: Make, fire: Fire, person: User, now: datetime, project: Project
    ) -> None:
        make(kind)
        silences.create_silence(
            project=project, model=None, start=now - DAY, end=now + DAY, reason="works", actor=ADA
        )
        handling.handle_transition(fire().pk)

        services.acknowledge(incident=Incident.objects.get(), actor=ADA, user=person, now=now)

        assert [one.event for one in Delivery.objects.all()] == ["incident.opened"]

    @pytest.mark.parametrize("kind", PAGERS)
    @pytest.mark.parametrize("target", ["", "short", "https://events.pagerduty.com", f"ap:{KEY}", f"{KEY}\n"])
    def test_a_key_that_cannot_be_one_is_refused(self, kind: str, target: str) -> None:
        with pytest.raises(Problem) as refused:
            KINDS[kind].check_target(target)

        assert refused.value.errors[0].pointer == "/target"


class TestAlertmanager:
    def test_an_alert_lasts_until_its_incident_ends(
        self, make: Make, fire: Fire, receiver: Receiver, person: User, now: datetime
    ) -> None:
        make("alertmanager")

        live(fire, person, now)

        [opened], resolved = sent(receiver)
        assert datetime.fromisoformat(opened["endsAt"]) > now + 300 * DAY
        ended = [alert for alert in resolved if alert["labels"] == opened["labels"]]
        assert len(ended) == 1, "the labels are those of the opening, by which the alert is known"
        assert datetime.fromisoformat(ended[0]["endsAt"]) < now + DAY


class TestChats:
    @pytest.mark.parametrize("kind", ["slack", "discord", "teams"])
    def test_no_name_of_a_feature_becomes_a_link_or_a_mention(
        self, kind: str, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        make(kind)
        causes = [{"feature": SPECIAL, "score": 0.5, "kind": "drift"}]

        handling.handle_transition(fire(detail={"causes": causes}).pk)
        outbox.send_due_deliveries()

        text = json.dumps(sent(receiver)[0], ensure_ascii=False)
        assert "<!channel>" not in text or kind != "slack"
        assert "[x](https://evil.example)" not in text or kind == "slack", "Slack knows no such links"

    @pytest.mark.parametrize("kind", ["slack", "discord", "teams"])
    def test_lead_to_the_runbook_and_to_what_acts(
        self, kind: str, make: Make, fire: Fire, receiver: Receiver
    ) -> None:
        make(kind)
        Rule.objects.update(runbook="https://wiki.example.com/drift_(x)")

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        text = json.dumps(sent(receiver)[0])
        assert Delivery.objects.get().state == "sent"
        assert re.search(r"https://wiki\.example\.com/drift_(\(x\)|%28x%29)", text)
        for words in ("Acknowledge", "Snooze for a day", "Silence the model", "Assign to me"):
            assert words in text
        assert text.count("/p/airport/act/") == 4
