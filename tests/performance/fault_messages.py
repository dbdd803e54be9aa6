"""What the services of channels say of the messages about a fault: the part `--channels` of `faults_bench`.

A channel of every kind leads to a server that checks each request as the service does: its fields, its size, its
limits. Every incident of a fault is opened and updated by the windows of its replay, then a person acknowledges it, a
reminder is due, and it is resolved.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from driftline.base.accounts.models import Project
    from inference.registry.models import Model

LONG_AGO = timedelta(
    days=3_650
)  # the weeks of a replay are old, and every one of its windows is to be notified


@dataclass
class MessagesOfFaults:
    """How many messages of each event each kind of channel took, and what was refused."""

    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    openings_in_slack: int = 0
    incidents: int = 0

    def add(self, other: "MessagesOfFaults") -> None:
        self.taken += other.taken
        self.refused += other.refused
        self.openings_in_slack += other.openings_in_slack
        self.incidents += other.incidents

    def show(self) -> None:
        events = sorted({event for _, event in self.taken})
        print(
            f"\nmessages of {self.incidents} incidents, taken by each kind of channel; refused: {len(self.refused)}"
        )
        print(f"  {'channel':<14}" + "".join(f"{event.removeprefix('incident.'):>14}" for event in events))
        for kind in sorted({kind for kind, _ in self.taken}):
            print(f"  {kind:<14}" + "".join(f"{self.taken[kind, event]:>14}" for event in events))
        print(f"  messages in Slack that are in no thread: {self.openings_in_slack}")
        for refusal in self.refused[:10]:
            print(f"  {refusal}")


@contextmanager
def channels_of_all_kinds(project: "Project") -> Iterator[dict[str, Any]]:
    """Make a channel of every kind; yields the receivers by the channels' names."""
    from django.test import override_settings

    from monitors.alerts.channels import opsgenie, pagerduty, slack_bot
    from monitors.alerts.sending import channel_services
    from tests.monitors.alerts.checking_receiver import (
        BOT_TOKEN,
        CHECKS,
        GOTIFY_TOKEN,
        KEY,
        OPSGENIE_KEY,
        strict,
    )
    from tests.monitors.alerts.receiver import Receiver

    with ExitStack() as stack:
        stack.enter_context(override_settings(OUTBOUND_ALLOW=["127.0.0.1/32"]))
        receivers = {name: stack.enter_context(Receiver()) for name in [*CHECKS, "webhook"]}
        base = {name: receiver.url.removesuffix("/hook") for name, receiver in receivers.items()}
        stack.enter_context(patch.dict(pagerduty.ENDPOINTS, us=base["pagerduty"]))
        stack.enter_context(patch.dict(opsgenie.ENDPOINTS, eu=f"{base['opsgenie']}/v2/alerts"))
        stack.enter_context(patch.object(slack_bot, "API", base["slack bot"]))
        targets = {name: receiver.url for name, receiver in receivers.items()} | {
            "slack bot": f"{BOT_TOKEN}:#alerts",
            "pagerduty": KEY,
            "opsgenie": f"eu:{OPSGENIE_KEY}",
            "alertmanager": f"{base['alertmanager']}/",
            "apprise": f"{base['apprise'].replace('http', 'gotify')}/{GOTIFY_TOKEN}",
            "email": "oncall@example.com",
        }
        for name, target in targets.items():
            if name in CHECKS:
                strict(CHECKS[name], receivers[name])
            _, secret = channel_services.create_channel(
                project=project, kind=name.split()[0], name=name, target=target, actor="bench"
            )
            if name == "webhook":
                receivers[name].secret = secret
        yield receivers


def notify_of_all(model: "Model") -> MessagesOfFaults:
    """Live through what was judged of a model, and through what people do, and send every message of it."""
    from driftline.base.clock import now
    from monitors.alerts import services
    from monitors.alerts.incidents.handling import handle_transition
    from monitors.alerts.models import Delivery, Incident
    from monitors.alerts.sending import due_notifications
    from monitors.alerts.sending.outbox import database_time
    from monitors.rules.models import Rule, Transition

    Rule.objects.filter(model=model).update(notify_within=LONG_AGO)
    with channels_of_all_kinds(model.project) as receivers:
        for transition in Transition.objects.filter(model=model).order_by("pk"):
            handle_transition(transition.pk)
            _send_all()
        due_notifications.send_due_notifications(at=database_time() + timedelta(days=1))
        _send_all()
        incidents = list(Incident.objects.filter(model=model))
        for incident in incidents:
            services.acknowledge(incident=incident, actor="ada@example.com", user=None, now=now())
            _send_all()
            services.resolve(incident=incident, actor="ada@example.com", now=now())
            _send_all()
        top = [one for one in receivers["slack bot"].received if one.path == "/chat.postMessage"]
    found = MessagesOfFaults(incidents=len(incidents))
    found.openings_in_slack = sum(b'"thread_ts"' not in one.body for one in top)
    for delivery in Delivery.objects.filter(channel__project=model.project).select_related("channel"):
        if delivery.state == Delivery.State.SENT:
            found.taken[delivery.channel.name, delivery.event] += 1
        else:
            found.refused.append(
                f"{delivery.channel.name} {delivery.event}: {delivery.state}, {delivery.reason}"
            )
    return found


def _send_all() -> None:
    from monitors.alerts.sending import outbox

    while outbox.send_due_deliveries():
        pass
