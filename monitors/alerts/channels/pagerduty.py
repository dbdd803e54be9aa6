"""PagerDuty's Events API v2: an incident here is an alert there, which it triggers, acknowledges and resolves.

Input: the story of an incident.
Output: an event with the incident's own `dedup_key`, so that a repetition changes nothing. The integration key is added
when an event is sent, so it is in no stored message.

A test triggers an alert and resolves it at once. What is no incident, such as a run that waits for approval, is a
change event there.
"""

import re
from datetime import datetime
from typing import Any

import orjson

from driftline.base.errors import invalid
from driftline.base.periods import rfc3339
from monitors.alerts.channels.base import Message, Receipt
from monitors.alerts.channels.json_post import REFUSED, post_json
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import ACKNOWLEDGED, MAX_LINE, RESOLVED, TEST, Story, channels_url
from monitors.alerts.wording import measured, shortened

ENDPOINTS = {
    "us": "https://events.pagerduty.com",
    "eu": "https://events.eu.pagerduty.com",
}
ALERTS, CHANGES = "/v2/enqueue", "/v2/change/enqueue"
MAX_SUMMARY = 1_024
_KEY = re.compile(r"(?:(us|eu):)?([0-9A-Za-z]{32})")
_ACTIONS = {RESOLVED: "resolve", ACKNOWLEDGED: "acknowledge"}
_SEVERITIES = {"critical": "critical", "warning": "warning", "notice": "info"}


class PagerDutyChannel:
    title = "PagerDuty"
    target = "the integration key of Events API v2, 32 letters and digits, after 'eu:' in the EU region"

    def check_target(self, target: str) -> None:
        if not _KEY.fullmatch(target):
            raise invalid(
                "/target",
                "An integration key has 32 letters and digits; write 'eu:' before one of the EU region.",
            )

    def new_secret(self) -> str | None:
        return None

    def compose(self, story: Story, channel: Channel) -> Message:
        incident = story.incident
        details = {
            **{name: shortened(value, MAX_LINE) for name, value in story.facts},
            **dict(story.sections),
        }
        event = {
            "event_action": _ACTIONS.get(story.event, "trigger"),
            "dedup_key": f"driftline-inc-{incident.pk}",
            "client": "Driftline",
            "client_url": story.url,
            "links": [{"href": story.url, "text": f"INC-{incident.pk}"}],
            "payload": {
                "summary": shortened(story.headline, MAX_SUMMARY),
                "source": f"{incident.project.slug}/{incident.model.name}",
                "severity": _SEVERITIES[incident.severity],
                "timestamp": rfc3339(story.at),
                "component": incident.model.name,
                "group": incident.project.slug,
                "class": shortened(measured(story.transition), 255),
                "custom_details": {name: value for name, value in details.items() if value},
            },
        }
        return Message(incident.title, orjson.dumps(event).decode())

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        """Write a change event, which is shown beside incidents and pages nobody."""
        links = [notice.link, *notice.questions.values()]
        change = {
            "links": [{"href": url, "text": label} for label, url in links],
            "payload": {
                "summary": shortened(notice.text, MAX_SUMMARY),
                "source": notice.source,
                "timestamp": rfc3339(notice.at),
                "custom_details": {"event": notice.event, "event_id": notice.event_id, **dict(notice.facts)},
            },
        }
        return Message(notice.text, orjson.dumps(change).decode())

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        event = {
            "event_action": "trigger",
            "dedup_key": f"driftline-{event_id}",
            "client": "Driftline",
            "client_url": channels_url(channel),
            "payload": {
                "summary": f"Test of the channel {channel.name}",
                "source": channel.project.slug,
                "severity": "info",
                "timestamp": rfc3339(at),
            },
        }
        return Message("Test", orjson.dumps(event).decode())

    def send(self, delivery: Delivery) -> Receipt:
        event = orjson.loads(delivery.body)
        if "event_action" not in event:
            return _enqueue(delivery.channel.target, event, CHANGES)
        receipt = _enqueue(delivery.channel.target, event)
        if delivery.event == TEST:
            _enqueue(delivery.channel.target, event | {"event_action": "resolve"})
        return receipt


def _enqueue(target: str, event: dict[str, Any], path: str = ALERTS) -> Receipt:
    region, key = _region_and_key(target)
    body = orjson.dumps({"routing_key": key, **event}).decode()
    return post_json(ENDPOINTS[region] + path, body, permanent=REFUSED)


def _region_and_key(target: str) -> tuple[str, str]:
    region, _, key = target.rpartition(":")
    return region or "us", key
