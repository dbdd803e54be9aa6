"""The bodies that a webhook may have: Driftline's own, Alertmanager's, a CloudEvent, or what a template makes.

Input: Driftline's own payload, as `payload.py` writes it.
Output: the JSON of the body. What a template cannot make is sent as Driftline's own payload with a `note`, so that no
message is lost.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from driftline.base.errors import invalid
from monitors.alerts.channels.webhook.samples import INCIDENT
from monitors.alerts.channels.webhook.template import Template, TemplateUnusable

OWN = "driftline"
TEMPLATE = "template"
FORMATS = {
    OWN: "Driftline's own",
    "alertmanager": "Alertmanager's webhook, version 4",
    "cloudevents": "CloudEvents 1.0, structured JSON",
    TEMPLATE: "A template of yours",
}
CLOUD_EVENT = '{"specversion":"1.0"'
"""How each body of this format begins, which has a content type of its own."""
_NEVER = "0001-01-01T00:00:00Z"  # what Alertmanager writes where an alert has not ended
_NO_LABEL = re.compile(r"[^0-9A-Za-z_]")


def check_format(payload_format: str, template: Any) -> None:
    """Refuse a format that does not exist, and a template that it ignores or that could not be rendered, with a
    `Problem`."""
    if payload_format not in FORMATS:
        raise invalid(
            "/payload_format",
            f"{payload_format[:64]!r} is not one of {', '.join(FORMATS)}; use one of these.",
        )
    if payload_format != TEMPLATE:
        if template is not None:
            raise invalid(
                "/template",
                f"A body in the format {payload_format} takes no template; leave it out, or use the format {TEMPLATE}.",
            )
    elif template is None:
        raise invalid(
            "/template", 'Write the template: JSON with placeholders, such as {"text": "{{ text }}"}.'
        )
    else:
        _read_template(template)


def write_body(payload: dict[str, Any], payload_format: str, template: Any, *, receiver: str) -> str:
    """Write a payload in the format of a channel, which has the name `receiver`."""
    if payload_format != TEMPLATE:
        return _dump(_WRITERS[payload_format](payload, receiver))
    try:
        return Template.read(template).render(payload)
    except TemplateUnusable as error:
        return _dump({**payload, "note": f"This is Driftline's own payload: {error}"})


def preview_of(payload_format: str, template: Any, *, receiver: str) -> str:
    """Write the body of a made-up incident, indented; raises `Problem` as `check_format` does."""
    check_format(payload_format, template)
    body = orjson.loads(write_body(INCIDENT, payload_format, template, receiver=receiver))
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def content_type(body: str) -> str:
    """Return the content type of a body. It may have been written before its channel got another format."""
    return "application/cloudevents+json" if body.startswith(CLOUD_EVENT) else "application/json"


def _read_template(template: Any) -> None:
    try:
        Template.read(template)
    except TemplateUnusable as error:
        raise invalid(f"/template{error.pointer}", str(error)) from error


def _dump(payload: Mapping[str, Any]) -> str:
    """orjson writes infinities and NaN as null, as JSON has neither."""
    return orjson.dumps(payload).decode()


def _own(payload: dict[str, Any], receiver: str) -> dict[str, Any]:
    return payload


# -- CloudEvents -------------------------------------------------------------------------------------------------------
def _cloud_event(payload: dict[str, Any], receiver: str) -> dict[str, Any]:
    """Write the envelope of a CloudEvent around the payload."""
    incident, model = payload.get("incident"), payload.get("model")
    subject = f"incidents/{incident['id']}" if incident else f"models/{model['name']}" if model else None
    return {
        "specversion": "1.0",
        "id": payload["event_id"],
        "source": f"/p/{payload['project']['slug']}",
        "type": f"driftline.{payload['event']}",
        **({"subject": subject} if subject else {}),
        "time": payload["sent_at"],
        "datacontenttype": "application/json",
        "data": payload,
    }


# -- Alertmanager ------------------------------------------------------------------------------------------------------
def _alertmanager(payload: dict[str, Any], receiver: str) -> dict[str, Any]:
    """Write an incident as the group of its alerts, and what is no incident as an alert of its own."""
    incident = payload.get("incident")
    url = incident["url"] if incident else next(iter(payload["links"].values()))
    alerts = _alerts_of(payload, url) if incident else [_alert_of_event(payload, url)]
    labels = {"project": payload["project"]["slug"]}
    labels |= {"incident": str(incident["id"])} if incident else {"event": payload["event"]}
    return {
        "version": "4",
        "groupKey": f"driftline/{payload['project']['slug']}/"
        + (f"incidents/{incident['id']}" if incident else payload["event_id"]),
        "truncatedAlerts": 0,
        "status": "resolved" if all(one["status"] == "resolved" for one in alerts) else "firing",
        "receiver": receiver,
        "groupLabels": labels,
        "commonLabels": _common([one["labels"] for one in alerts]),
        "commonAnnotations": _common([one["annotations"] for one in alerts]),
        "externalURL": url,
        "alerts": alerts,
    }


def _alerts_of(payload: dict[str, Any], url: str) -> list[dict[str, Any]]:
    incident, runbook = payload["incident"], (payload.get("alert") or {}).get("runbook")
    of_group = {"project": payload["project"]["slug"], "incident": str(incident["id"])}
    has_ended = incident["resolved_at"] is not None
    return [
        _alert(
            {
                "alertname": f"Driftline: {one['labels'].get('rule', one['title'])}",
                **one["labels"],
                "severity": one["severity"],
                **of_group,
            },
            {
                "summary": incident["title"],
                "description": payload["text"],
                **({"runbook_url": runbook} if runbook else {}),
            },
            start=one["since"],
            end=(one["resolved_at"] or incident["resolved_at"]) if has_ended else one["resolved_at"],
            url=url,
        )
        for one in payload["alerts"]
    ]


def _alert_of_event(payload: dict[str, Any], url: str) -> dict[str, Any]:
    labels = {"alertname": f"Driftline: {payload['event']}", "project": payload["project"]["slug"]}
    if model := payload.get("model"):
        labels["model"] = model["name"]
    return _alert(labels, {"summary": payload["text"]}, start=payload["sent_at"], end=None, url=url)


def _alert(
    labels: Mapping[str, str], annotations: Mapping[str, str], *, start: str, end: str | None, url: str
) -> dict[str, Any]:
    named = {_NO_LABEL.sub("_", name): str(value) for name, value in labels.items() if value}
    return {
        "status": "resolved" if end else "firing",
        "labels": named,
        "annotations": dict(annotations),
        "startsAt": start,
        "endsAt": end or _NEVER,
        "generatorURL": url,
        "fingerprint": hashlib.sha256(orjson.dumps(named, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16],
    }


def _common(several: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what all have with the same value."""
    first = several[0] if several else {}
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in several)}


_WRITERS: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    OWN: _own,
    "alertmanager": _alertmanager,
    "cloudevents": _cloud_event,
}
