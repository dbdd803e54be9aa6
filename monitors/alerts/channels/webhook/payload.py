"""Driftline's own payload of a webhook, which `formats.py` writes in the formats of others too.

Fields are only ever added; `schema_version` grows if that should fail.
"""

from datetime import datetime
from typing import Any

from driftline.base.periods import rfc3339
from monitors.alerts.channels.base import Message
from monitors.alerts.channels.webhook.formats import write_body
from monitors.alerts.models import Alert, Channel, Incident
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import TEST, Story, channels_url

SCHEMA_VERSION = 1


def compose(story: Story, channel: Channel) -> Message:
    incident = story.incident
    return _message(
        {
            **envelope(story.event, story.event_id, story.at, channel),
            "model": {"name": incident.model.name, "version": story.champion, "stage": "champion"},
            "incident": _incident(story),
            "alert": _alert(story),
            "alerts": [_part(alert) for alert in story.alerts],
            "window": _window(story),
            "reference": story.reference_detail,
            "causes": list(story.causes),
            "worst_value": story.worst,
            "ongoing": list(story.ongoing),
            "changes": list(story.changes),
            "links": {
                "incident": story.url,
                **{act.replace("-", "_"): url for act, (_, url) in story.links(channel).items()},
            },
            "text": f"[{incident.severity}] {story.text}\n{story.url}",
        },
        subject=incident.title,
        channel=channel,
    )


def compose_notice(notice: Notice, channel: Channel) -> Message:
    """Write an event that is no incident: what it is about has a field of its own, as in the feed."""
    return _message(
        {
            **envelope(notice.event, notice.event_id, notice.at, channel),
            "model": {"name": notice.model} if notice.model else None,
            **notice.data,
            "links": {
                notice.subject: notice.url,
                **{answer: url for answer, (_, url) in notice.questions.items()},
            },
            "text": f"{notice.text} {notice.url}",
        },
        subject=notice.text,
        channel=channel,
    )


def compose_test(channel: Channel, *, event_id: str, at: datetime) -> Message:
    return _message(
        {
            **envelope(TEST, event_id, at, channel),
            "links": {"channel": channels_url(channel)},
            "text": f"This is a test of the channel {channel.name}.",
        },
        subject="Test",
        channel=channel,
    )


def _message(payload: dict[str, Any], *, subject: str, channel: Channel) -> Message:
    body = write_body(payload, channel.payload_format, channel.template, receiver=channel.name)
    return Message(subject, body)


def envelope(event: str, event_id: str, at: datetime, channel: Channel) -> dict[str, Any]:
    """Write the fields that every webhook has."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event": event,
        "event_id": event_id,
        "sent_at": rfc3339(at),
        "project": {"slug": channel.project.slug},
    }


def _incident(story: Story) -> dict[str, Any]:
    incident = story.incident
    return {
        "id": incident.pk,
        "url": story.url,
        "status": incident.status,
        "severity": incident.severity,
        "title": incident.title,
        "opened_at": rfc3339(incident.opened_at),
        "since": rfc3339(incident.since),
        "detected": rfc3339(incident.detected),
        "updated_at": rfc3339(story.at),
        "resolved_at": _time(incident.resolved_at),
        "acknowledged_by": _acknowledger(incident),
        "assignee": None if incident.assignee is None else incident.assignee.email,
        "judgement": incident.judgement or None,
        "closed_at": _time(incident.closed_at),
        "closed_by": incident.closed_by or None,
        "close_reason": incident.close_reason or None,
    }


def _alert(story: Story) -> dict[str, Any]:
    rule = story.rule
    return {
        "rule_id": rule.pk,
        "rule_name": rule.name,
        "metric": rule.metric,
        "feature": story.transition.detail.get("feature") or rule.feature or None,
        "segment": rule.segment or None,
        "value": story.transition.value,
        "threshold": story.transition.threshold,
        "operator": rule.operator,
        "description": rule.description or None,
        "owner": rule.owner or None,
        "runbook": rule.runbook or None,
    }


def _part(alert: Alert) -> dict[str, Any]:
    """Write one of the alerts that make the incident."""
    return {
        "id": alert.pk,
        "title": alert.title,
        "labels": alert.labels,
        "severity": alert.severity,
        "state": alert.state,
        "since": rfc3339(alert.since),
        "detected": rfc3339(alert.window_end),
        "last_window_end": rfc3339(alert.last_window_end),
        "resolved_at": _time(alert.resolved_at),
    }


def _window(story: Story) -> dict[str, Any]:
    transition = story.transition
    return {
        "start": rfc3339(transition.window_start),
        "end": rfc3339(transition.window_end),
        "n": transition.n,
        "label_coverage": story.coverage,
    }


def _acknowledger(incident: Incident) -> str | None:
    return None if incident.acknowledged_by is None else incident.acknowledged_by.email


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
