"""Opsgenie's alert API: an incident here is an alert there, known by its alias.

Input: the story of an incident.
Output: an alert that is created, acknowledged or closed. The API key is added when it is sent, so it is in no stored
message. A test creates an alert of the least priority and closes it at once.
"""

import re
from datetime import datetime
from typing import Any

import orjson

from driftline.base.errors import invalid
from monitors.alerts.channels.base import Message, Receipt
from monitors.alerts.channels.json_post import post_json
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import ACKNOWLEDGED, MAX_HEADLINE, MAX_LINE, RESOLVED, TEST, Story
from monitors.alerts.wording import shortened

ENDPOINTS = {"us": "https://api.opsgenie.com/v2/alerts", "eu": "https://api.eu.opsgenie.com/v2/alerts"}
MAX_MESSAGE = 130
LOWEST_PRIORITY = 5
_KEY = re.compile(r"(?:(us|eu):)?[0-9A-Za-z-]{36}")
_PRIORITIES = {"critical": 1, "warning": 3, "notice": LOWEST_PRIORITY}
_PATHS = {RESOLVED: "close", ACKNOWLEDGED: "acknowledge"}


class OpsgenieChannel:
    title = "Opsgenie"
    target = "the API key of an integration, 36 letters, digits and hyphens, after 'eu:' in the EU region"

    def check_target(self, target: str) -> None:
        if not _KEY.fullmatch(target):
            raise invalid(
                "/target",
                "An API key has 36 letters, digits and hyphens; write 'eu:' before one of the EU region.",
            )

    def new_secret(self) -> str | None:
        return None

    def compose(self, story: Story, channel: Channel) -> Message:
        incident = story.incident
        alert = {
            "alias": f"driftline-inc-{incident.pk}",
            "message": shortened(incident.title, MAX_MESSAGE),
            "description": f"{story.text}\n{story.url}",
            "priority": f"P{_PRIORITIES[incident.severity]}",
            "source": "Driftline",
            "entity": incident.model.name,
            "tags": [incident.project.slug, story.rule.metric],
            "details": {name: shortened(value, MAX_LINE) for name, value in story.facts},
        }
        return Message(incident.title, orjson.dumps(alert).decode())

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        """Write an alert of its own, as Opsgenie has nothing else; it is closed by whoever has seen to it."""
        alert = {
            "alias": f"driftline-{notice.event_id}",
            "message": shortened(notice.text, MAX_MESSAGE),
            "description": f"{shortened(notice.text, MAX_HEADLINE)}\n{notice.url}",
            "priority": f"P{_PRIORITIES[notice.severity]}",
            "source": "Driftline",
            "entity": notice.source,
            "tags": [notice.project.slug, notice.event],
            "details": dict(notice.facts),
        }
        return Message(notice.text, orjson.dumps(alert).decode())

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        alert = {
            "alias": f"driftline-{event_id}",
            "message": shortened(f"Test of the channel {channel.name}", MAX_MESSAGE),
            "priority": f"P{LOWEST_PRIORITY}",
            "source": "Driftline",
        }
        return Message("Test", orjson.dumps(alert).decode())

    def send(self, delivery: Delivery) -> Receipt:
        alert = orjson.loads(delivery.body)
        if action := _PATHS.get(delivery.event):
            return _change(delivery.channel.target, alert, action)
        receipt = _post(delivery.channel.target, "", alert)
        if delivery.event == TEST:
            _change(delivery.channel.target, alert, "close")
        return receipt


def _change(target: str, alert: dict[str, Any], action: str) -> Receipt:
    note = {"source": alert["source"], "note": alert.get("description", "")}
    return _post(target, f"/{alert['alias']}/{action}?identifierType=alias", note)


def _post(target: str, path: str, body: dict[str, Any]) -> Receipt:
    region, _, key = target.rpartition(":")
    url = ENDPOINTS[region or "us"] + path
    return post_json(url, orjson.dumps(body).decode(), headers={"Authorization": f"GenieKey {key}"})
