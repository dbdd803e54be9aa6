"""Prometheus Alertmanager (API v2): an incident here is an alert there, which its own routes take further.

Input: the story of an incident.
Output: an alert with `alertname`, `project`, `model`, `metric`, `severity` and `incident` as labels. It ends with the
incident; until then it ends a year from now, so that Alertmanager does not resolve what is sent only once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from driftline.base.outbound.targets import check_target
from driftline.base.periods import rfc3339
from monitors.alerts.channels.base import Message, Receipt
from monitors.alerts.channels.json_post import post_json
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import RESOLVED, Story, channels_url, shortened_lines
from monitors.rules.models import Severity

PATH = "/api/v2/alerts"
LASTS = timedelta(days=366)
NOTICE_LASTS = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)


class AlertmanagerChannel:
    title = "Alertmanager"
    target = "the address of an Alertmanager, such as https://alertmanager.example.com"

    def check_target(self, target: str) -> None:
        check_target(target, "/target")

    def new_secret(self) -> str | None:
        return None

    def compose(self, story: Story, channel: Channel) -> Message:
        incident = story.incident
        start = min(incident.opened_at, story.at - _MINUTE)
        is_resolved = story.event == RESOLVED
        labels = {
            "alertname": f"Driftline: {story.rule.name}",
            "project": incident.project.slug,
            "model": incident.model.name,
            "metric": story.rule.metric,
            "incident": str(incident.pk),
            **{
                name: value
                for name, value in (("feature", story.rule.feature), ("segment", story.rule.segment))
                if value
            },
        }
        annotations = {
            "summary": incident.title,
            "description": story.text,
            "causes": "; ".join(shortened_lines([*story.fault_lines, *story.cause_lines])),
        }
        # An alert is known by its labels: what was sent under another severity ends with the incident too.
        severities = Severity.values if is_resolved else [incident.severity]
        end = story.at if is_resolved else story.at + LASTS
        alerts = [
            _alert(labels | {"severity": severity}, annotations, start, end, story.url)
            for severity in severities
        ]
        return Message(incident.title, orjson.dumps(alerts).decode())

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        """Write an alert that ends by itself: what it tells of has happened, and does not go on."""
        labels = {
            "alertname": f"Driftline: {notice.title}",
            "project": notice.project.slug,
            "event": notice.event,
            "event_id": notice.event_id,
            "severity": notice.severity,
        }
        if notice.model:
            labels["model"] = notice.model
        annotations = {
            "summary": notice.text,
            "description": "; ".join(f"{name}: {value}" for name, value in notice.facts),
        }
        alert = _alert(labels, annotations, notice.at, notice.at + NOTICE_LASTS, notice.url)
        return Message(notice.text, orjson.dumps([alert]).decode())

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        labels = {"alertname": "Driftline: test", "project": channel.project.slug, "severity": "notice"}
        annotations = {"summary": f"This is a test of the channel {channel.name}."}
        alert = _alert(labels, annotations, at, at + _MINUTE, channels_url(channel))
        return Message("Test", orjson.dumps([alert]).decode())

    def send(self, delivery: Delivery) -> Receipt:
        return post_json(delivery.channel.target.rstrip("/") + PATH, delivery.body)


def _alert(
    labels: Mapping[str, str], annotations: Mapping[str, str], start: datetime, end: datetime, url: str
) -> dict[str, Any]:
    return {
        "labels": labels,
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": rfc3339(start),
        "endsAt": rfc3339(end),
        "generatorURL": url,
    }
