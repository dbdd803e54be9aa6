"""Reads CloudEvents that hold one half of an inference, in binary and in structured mode, wherever they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from driftline.base.errors import invalid
from driftline.base.ids import ID_LENGTH, is_valid_id
from driftline.base.periods import parse_timestamp
from driftline.base.strict_json import printable, read_json
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.rows.sent_items import Refused, check_version
from inference.registry.models import Model

STRUCTURED = "application/cloudevents+json"
KINDS = {f"org.kubeflow.serving.inference.{kind}": kind for kind in EventHalf.Kind.values}


@dataclass(frozen=True)
class CloudEvent:
    """A CloudEvent: its attributes by name, where they stand, and the JSON it carries."""

    attributes: Mapping[str, Any]
    place: str  # of an attribute, before its name
    data: Any

    def text(self, name: str, default: str | None = None) -> str:
        """Return an attribute; raises Problem where it is missing and has no default, or is no text."""
        value = self.attributes.get(name, default)
        if value is None:
            raise invalid(f"{self.place}{name}", f"The event has no '{name}'.", "missing_field")
        if not isinstance(value, str):
            raise invalid(f"{self.place}{name}", f"The event's '{name}' must be text.", "wrong_type")
        return value


def read_binary(attributes: Mapping[str, str], body: bytes) -> CloudEvent:
    """Read an event with attributes beside its data; raises Problem."""
    _check_attributes(CloudEvent(attributes, "/ce-", None))
    return CloudEvent(attributes, "/ce-", read_json(body))


def read_structured(body: bytes) -> CloudEvent:
    """Read an event that is one JSON object with its data; raises Problem."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise invalid("", "A structured event is an object.", "wrong_type")
    event = CloudEvent(value, "/", value.get("data"))
    _check_attributes(event)
    if event.data is None:
        raise invalid("/data", "The event has no 'data' as JSON.", "missing_field")
    return event


def _check_attributes(event: CloudEvent) -> None:
    if event.text("specversion", "1.0") != "1.0":
        raise invalid(f"{event.place}specversion", "Driftline reads CloudEvents 1.0.", "unknown_event")
    if event.text("type") not in KINDS:
        detail = f"The type {printable(event.text('type'))!r} is none of {' and '.join(KINDS)}."
        raise invalid(f"{event.place}type", detail, "unknown_event")
    if not is_valid_id(event.text("id")):
        detail = f"An id has 1 to {ID_LENGTH} printable characters."
        raise invalid(f"{event.place}id", detail, "invalid_id")


def half_of(event: CloudEvent, *, model: Model, version: str, now: datetime) -> EventHalf:
    """Make the half that an event holds, not saved; `version` answered where the event names none. Raises Problem."""
    given = event.text("driftlineversion", "")
    version, at = (given, f"{event.place}driftlineversion") if given else (version, "/version")
    try:
        if version:
            check_version(version)
    except Refused as refused:
        raise invalid(at, refused.detail, refused.code) from refused
    return EventHalf(
        model=model,
        event_id=event.text("id"),
        kind=KINDS[event.text("type")],
        version=version,
        time=_time_of(event),
        payload=orjson.dumps(event.data),
        received_at=now,
    )


def _time_of(event: CloudEvent) -> datetime | None:
    text = event.text("time", "")
    try:
        return parse_timestamp(text) if text else None
    except (ValueError, OverflowError) as error:
        detail = f"'{printable(text)}' is not an RFC 3339 time with a zone."
        raise invalid(f"{event.place}time", detail, "invalid_timestamp") from error
