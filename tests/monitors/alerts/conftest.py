from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Project, User
from inference.registry.models import Deployment, Model, Version
from monitors.alerts import services
from monitors.alerts.channels import opsgenie, pagerduty, slack_bot
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.rules.models import Rule, Transition
from tests.monitors.alerts.checking_receiver import BOT_TOKEN, CHECKS, GOTIFY_TOKEN, KEY, OPSGENIE_KEY, strict
from tests.monitors.alerts.receiver import Receiver

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
Fire = Callable[..., Transition]
ADA = "ada@example.com"
SPECIAL = "a*b_c <!channel> & [x](https://evil.example) `@everyone` \\ é 飛"
type Make = Callable[..., Channel]


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(slug="airport", name="Airport")


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def model(project: Project) -> Model:
    model = Model.objects.create(project=project, name="flight-delay", task="binary")
    version = Version.objects.create(model=model, version="1")
    Deployment.objects.update_or_create(model=model, defaults={"champion": version, "generation": 1})
    return model


@pytest.fixture
def rule(project: Project, model: Model) -> Rule:
    return Rule.objects.create(
        project=project,
        model=model,
        name="log loss",
        metric="log_loss",
        threshold=0.55,
        cooldown=3 * DAY,
        notify_within=DAY,
        severity="critical",
    )


@pytest.fixture
def fire(rule: Rule, now: datetime) -> Fire:
    """Write a transition of the rule, as judging does."""

    def write(
        kind: str = "opened", *, age: timedelta = timedelta(hours=1), value: float = 0.61, **fields: Any
    ) -> Transition:
        end = now - age
        values = {"rule": rule, "model": rule.model, "n": 812, "threshold": 0.55, **fields}
        return Transition.objects.create(
            kind=kind, window_start=end - DAY, window_end=end, value=value, **values
        )

    return write


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def webhook(project: Project, receiver: Receiver) -> Channel:
    """A webhook channel to the receiver, which knows its secret."""
    channel, receiver.secret = channel_services.create_channel(
        project=project, kind="webhook", name="pager", target=receiver.url, actor="ada@example.com"
    )
    return channel


@pytest.fixture
def email(project: Project) -> Channel:
    channel, _ = channel_services.create_channel(
        project=project, kind="email", name="on call", target="oncall@example.com", actor="ada@example.com"
    )
    return channel


@pytest.fixture
def make(project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a channel of a kind, to the receiver that checks as its service does."""
    base = receiver.url.removesuffix("/hook")
    monkeypatch.setitem(pagerduty.ENDPOINTS, "us", base)
    monkeypatch.setitem(opsgenie.ENDPOINTS, "eu", f"{base}/v2/alerts")
    monkeypatch.setattr(slack_bot, "API", base)
    targets = {
        "slack bot": f"{BOT_TOKEN}:#alerts",
        "pagerduty": KEY,
        "opsgenie": f"eu:{OPSGENIE_KEY}",
        "alertmanager": f"{base}/",
        "apprise": f"{base.replace('http', 'gotify')}/{GOTIFY_TOKEN}",
    }

    def channel(kind: str, *, limit: int | None = None, name: str = "ops") -> Channel:
        strict(CHECKS[kind], receiver, limit=limit)
        made, secret = channel_services.create_channel(
            project=project,
            kind=kind.split()[0],
            name=name,
            target=targets.get(kind, receiver.url),
            actor=ADA,
        )
        assert secret is None
        return made

    return channel


def live(fire: Fire, person: User, now: datetime) -> Incident:
    """Open an incident, acknowledge it and resolve it, and send what that brings."""
    handling.handle_transition(fire(age=timedelta(hours=3)).pk)
    outbox.send_due_deliveries()
    incident = Incident.objects.get()
    services.acknowledge(incident=incident, actor=ADA, user=person, now=now)
    outbox.send_due_deliveries()
    handling.handle_transition(fire("resolved", value=0.4).pk)
    outbox.send_due_deliveries()
    return incident


def muted_by(moment: datetime) -> dict[str, Any]:
    """Return a mute interval named `nights` that lasts from a moment's hour to two hours later."""
    start, end = moment.replace(minute=0), moment.replace(minute=0) + 2 * HOUR
    spans = (
        [f"{start:%H:%M}-{end:%H:%M}"]
        if start.date() == end.date() or not end.hour
        else [f"{start:%H:%M}-24:00", f"00:00-{end:%H:%M}"]
    )
    return {
        "time_intervals": [{"name": "nights", "times": [one.replace("-00:00", "-24:00") for one in spans]}]
    }
