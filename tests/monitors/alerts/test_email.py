"""An alert e-mail as it is received: subject, threading headers, and two parts that both tell everything."""

import re
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.models import DeploymentChange, Model
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.definitions.models import Reference
from monitors.metrics.store.models import ChangePoint, MetricPoint
from monitors.rules.models import Rule
from tests.monitors.alerts.conftest import DAY, Fire
from tests.worlds.points import store_points

ADA = "ada@example.com"
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def mailbox(settings: Any, tmp_path: Path) -> Path:
    """The folder of the file backend, which is what runs by default."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    return tmp_path / "mail"


def received(mailbox: Path) -> list[EmailMessage]:
    """Send what is due, then parse what the files hold, oldest first."""
    outbox.send_due_deliveries()
    raw = [part for path in sorted(mailbox.iterdir()) for part in path.read_bytes().split(b"-" * 79 + b"\n")]
    parser = BytesParser(EmailMessage, policy=policy.default)
    return [parser.parsebytes(text) for text in raw if text.strip()]


def part(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    return str(found.get_content())


class TestOpening:
    @pytest.mark.slow
    def test_has_the_subject_and_headers_of_an_alert(self, fire: Fire, email: Channel, mailbox: Path) -> None:
        handling.handle_transition(fire().pk)

        [message] = received(mailbox)

        incident, delivery = Incident.objects.get(), Delivery.objects.get()
        assert (
            message["Subject"]
            == f"[critical] flight-delay: Log loss 0.61 above 0.55 (opened, INC-{incident.pk})"
        )
        assert message["To"] == "oncall@example.com"
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["Message-ID"] == f"<{delivery.event_id}@localhost>"
        assert message["References"] == f"<incident-{incident.pk}@localhost>"
        assert message["List-Unsubscribe"].endswith("/p/airport/settings/channels>")

    def test_tells_the_story_in_the_first_line_and_everything_in_both_parts(
        self, fire: Fire, email: Channel, model: Model, mailbox: Path, now: Any
    ) -> None:
        DeploymentChange.objects.create(
            model=model,
            generation=2,
            kind="promote",
            before={"champion": "1"},
            after={"champion": "2"},
            event_time=now - 2 * DAY,
            actor=ADA,
        )
        ChangePoint.objects.create(
            model=model, role="champion", version="1", span="day", detector="adwin", error="wrong_share",
            at=now - 3 * DAY, noticed_at=now, before=0.091, after=0.153, n_before=31, n_after=3,
        )  # fmt: skip
        opened = fire(
            detail={
                "feature": "",
                "point": {"coverage": 0.97},
                "causes": [
                    {"kind": "fault", "feature": "temp", "score": 0.3, "evidence": "missing in 30% of rows"},
                    {"kind": "drift", "feature": "dep_hour", "score": 0.42, "evidence": "later by two hours"},
                ],
            }
        )
        handling.handle_transition(opened.pk)

        [message] = received(mailbox)

        text, html = part(message, "plain"), part(message, "html")
        assert text.splitlines()[0].startswith(
            "Log loss of flight-delay is 0.61, above 0.55, on 812 rows between 20"
        )
        for said in (
            "critical",
            "flight-delay, champion version 1",
            "97%",
            "Broken data",
            "temp (score 0.3): missing in 30% of rows",
            "dep_hour (score 0.42): later by two hours",
            "promote by ada@example.com, champion 1 to 2",
            "The share of wrong answers of version 1 rose from 9.1% to 15.3%, as ADWIN noticed",
            f"/p/airport/incidents/{Incident.objects.get().pk}",
            "the rule log loss (Log loss above 0.55 for 1 day) fired",
        ):
            assert said in text
            assert said in html

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("kind", "fields", "said"),
        [
            ("period", {"start": BEGIN, "end": BEGIN + 20 * DAY}, "the log from 1 Jan 2026 to 20 Jan 2026"),
            ("trailing", {"length": 28, "gap": 7}, "the last 28 days before each window"),
            ("same_hours", {"length": 16}, "the same hours of the 16 weeks before each window"),
        ],
        ids=["period", "trailing", "same_hours"],
    )
    def test_says_of_a_reference_that_is_a_part_of_the_log_which_part(
        self, kind: str, fields: Any, said: str, fire: Fire, model: Model, email: Channel, mailbox: Path
    ) -> None:
        version = model.versions.get()
        Reference.objects.create(
            model=model, version=version, kind=kind, state="ready", is_active=True, **fields
        )

        handling.handle_transition(fire().pk)

        [message] = received(mailbox)
        assert f"Reference: {said}" in part(message, "plain")
        assert said in part(message, "html")
        assert "of version 1" in part(message, "plain")

    def test_is_small_and_loads_nothing(self, fire: Fire, email: Channel, mailbox: Path) -> None:
        handling.handle_transition(fire().pk)

        [message] = received(mailbox)

        html = part(message, "html")
        assert len(html) < 100_000
        assert not any(loads in html for loads in ("<img", "<script", "<link", "<style", "url("))

    def test_escapes_what_people_named(self, fire: Fire, rule: Rule, email: Channel, mailbox: Path) -> None:
        Rule.objects.filter(pk=rule.pk).update(name="<img src=x onerror=alert(1)>\r\nBcc: x@example.com")
        handling.handle_transition(
            fire(detail={"causes": [{"feature": "<b>", "score": 1, "evidence": "{{7*7}}"}]}).pk
        )

        [message] = received(mailbox)

        html = part(message, "html")
        assert message["Bcc"] is None
        assert "<img" not in html
        assert "&lt;b&gt; (score 1): {{7*7}}" in html

    def test_names_the_metric_of_a_long_subject_by_its_common_short_name(
        self, fire: Fire, rule: Rule, email: Channel, mailbox: Path
    ) -> None:
        Rule.objects.filter(pk=rule.pk).update(metric="psi", feature="dep_delay")
        rule.refresh_from_db()
        handling.handle_transition(fire().pk)

        [message] = received(mailbox)

        assert (
            message["Subject"] == "[critical] flight-delay: PSI of dep_delay 0.61 above 0.55 "
            f"(opened, INC-{Incident.objects.get().pk})"
        )

    @pytest.mark.parametrize("length", [10, 40, 100])
    def test_keeps_the_subject_short(
        self, fire: Fire, model: Model, email: Channel, mailbox: Path, length: int
    ) -> None:
        Model.objects.filter(pk=model.pk).update(name="m" * length)
        handling.handle_transition(fire().pk)

        [message] = received(mailbox)

        assert len(message["Subject"]) < 78
        assert message["Subject"].endswith(f"(opened, INC-{Incident.objects.get().pk})")


class TestActs:
    def test_are_links_in_both_parts_and_the_runbook_too(
        self, fire: Fire, rule: Rule, email: Channel, mailbox: Path
    ) -> None:
        Rule.objects.update(runbook="https://wiki.example.com/drift", owner="risk team")

        handling.handle_transition(fire().pk)

        [message] = received(mailbox)
        text, html = part(message, "plain"), part(message, "html")
        assert "Runbook: https://wiki.example.com/drift" in text
        assert '<a href="https://wiki.example.com/drift"' in html
        links = re.findall(r"- ([\w ]+): (http\S+/p/airport/act/\S+)", text)
        assert [words for words, _ in links] == [
            "Acknowledge",
            "Snooze for a day",
            "Silence the model",
            "Assign to me",
        ]
        assert all(f'href="{url}"' in html for _, url in links)


class TestThread:
    @pytest.mark.slow
    def test_later_messages_of_an_incident_refer_to_the_same_root(
        self, fire: Fire, email: Channel, mailbox: Path
    ) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)
        handling.handle_transition(fire("resolved", value=0.5).pk)

        first, second = received(mailbox)

        assert first["References"] == second["References"] == second["In-Reply-To"]
        assert first["Message-ID"] != second["Message-ID"]

    def test_a_replay_keeps_the_message_id(self, fire: Fire, email: Channel, mailbox: Path) -> None:
        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()
        channel_services.replay(delivery=Delivery.objects.get(), actor=ADA)

        first, again = received(mailbox)

        assert first["Message-ID"] == again["Message-ID"]

    @pytest.mark.slow
    def test_the_last_message_tells_how_long_and_how_bad_it_was(
        self, fire: Fire, email: Channel, model: Model, mailbox: Path, now: Any
    ) -> None:
        handling.handle_transition(fire(age=5 * DAY, value=0.61).pk)
        Delivery.objects.update(state="sent")  # the opening was news when it was sent
        for age, value, status in ((4, 0.72, "critical"), (3, 9.9, "insufficient"), (2, 0.5, "ok")):
            store_points(
                MetricPoint(
                    model=model, role="champion", span="day", metric="log_loss", value=value, n=800, status=status,
                    start=now - (age + 1) * DAY,
                )
            )  # fmt: skip

        handling.handle_transition(fire("resolved", value=0.5, age=DAY).pk)

        [message] = received(mailbox)
        assert part(message, "plain").splitlines()[0] == (
            "Resolved after 5 d 0 h: flight-delay: Log loss 0.61 above 0.55. At worst it was 0.72."
        )
        assert "(resolved, INC-" in message["Subject"]


class TestChannel:
    @pytest.mark.parametrize(
        "target",
        [
            "",
            "nobody",
            "a@",
            "a@b c.com",
            "a@example.com\r\nBcc: b@example.com",
            "a@example.com,b@example.com",
        ],
    )
    def test_needs_an_address(self, project: Project, target: str) -> None:
        with pytest.raises(Problem) as refused:
            channel_services.create_channel(project=project, kind="email", name="x", target=target, actor=ADA)

        assert refused.value.errors[0].pointer == "/target"

    def test_has_no_secret(self, project: Project) -> None:
        channel, secret = channel_services.create_channel(
            project=project, kind="email", name="x", target="a@example.com", actor=ADA
        )

        assert (bytes(channel.secret), secret) == (b"", None)

    def test_sends_a_test(self, email: Channel, mailbox: Path) -> None:
        channel_services.send_test(channel=email, actor=ADA)

        [message] = received(mailbox)

        assert message["Subject"] == "[test] Driftline can reach you"
        assert message["References"] is None
        assert "on call" in part(message, "plain")

    def test_a_mail_server_that_is_away_is_tried_again(
        self, fire: Fire, email: Channel, settings: Any
    ) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
        handling.handle_transition(fire().pk)

        outbox.send_due_deliveries()

        delivery = Delivery.objects.get()
        assert delivery.state == "pending"
        assert delivery.reason.startswith("The mail server could not be used: ")
