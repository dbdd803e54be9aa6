"""KServe's payload logger over HTTP: CloudEvents, each with one half of an inference."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import orjson
from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status

from driftline.accounts.http_auth import Caller, Scoped, caller_of
from driftline.accounts.scopes import SCOPE_OF
from driftline.common.clock import now
from driftline.common.errors import Problem, invalid
from driftline.common.ids import ID_LENGTH, is_valid_id
from driftline.common.periods import parse_timestamp
from driftline.common.request_values import read_body
from driftline.common.strict_json import printable, read_json
from inference.prediction_log.api import row_budget
from inference.prediction_log.events.joining import take_half
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.events.payloads import read_rows
from inference.prediction_log.events.schemas import LoggedEventOut, WaitingEventOut
from inference.prediction_log.rows.sent_items import Refused, check_version
from inference.registry.models import Model
from inference.registry.selectors import find_model

router = Router(tags=["log"])

MAX_BYTES = 4 << 20
STRUCTURED, BATCHED = "application/cloudevents+json", "application/cloudevents-batch+json"
KINDS = {f"org.kubeflow.serving.inference.{kind}": kind for kind in EventHalf.Kind.values}
_NEVER_JSON = ("image", "audio", "video")
_CONTENT = {
    "application/json": {
        "schema": {"title": "Payload", "type": "object", "description": "a request or answer of V1 or V2"}
    },
    STRUCTURED: {"schema": {"title": "CloudEvent", "type": "object", "required": ["type", "id", "data"]}},
}
_BODY = {"requestBody": {"required": True, "content": _CONTENT}}

type EventAnswer = Status[LoggedEventOut] | Status[WaitingEventOut]


class ScopedByUrl(Scoped):
    """Takes the token also as a password: KServe's logger sends no header but what the user of its URL makes."""

    def __call__(self, request: HttpRequest) -> Caller:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return super().__call__(request)
        try:
            password = base64.b64decode(text, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            password = ""
        caller = self.authenticate(request, password)
        caller.require(self.scope)
        return caller


@router.post(
    "/models/{name}/events",
    auth=ScopedByUrl(SCOPE_OF["predictions"]),
    response={200: LoggedEventOut, 202: WaitingEventOut},
    openapi_extra=_BODY,
)
def receive_event(request: HttpRequest, name: str, version: str = Query("", max_length=64)) -> EventAnswer:
    """Log what KServe's payload logger sends: a CloudEvent, binary or structured, with a request or with its response.

    202 `waiting` until the other half with the same `ce-id` comes, in whatever order; then 200 with the predictions
    that were logged, one a row, under `ce-id`, or `ce-id:0` ... `ce-id:n-1` where there are several rows. A half
    waits for an hour, in clear also where the model's privacy hashes or drops features, and erasures look at it.
    Sending one again is harmless. The attribute `ce-driftlineversion` says which version answered, else `version`,
    else the model's champion did, or version 1 where it has none. `ce-time` gives the event time and the latency.
    Lists without names are features in the order of the version's signature, and probabilities in that of its classes.
    """
    return _receive(request, find_model(project=caller_of(request).project, name=name), version)


@router.post(
    "/events",
    auth=ScopedByUrl(SCOPE_OF["predictions"]),
    response={200: LoggedEventOut, 202: WaitingEventOut},
    openapi_extra=_BODY,
)
def receive_event_of_service(request: HttpRequest, version: str = Query("", max_length=64)) -> EventAnswer:
    """Log an event as `/models/{name}/events` does, of the model that `ce-inferenceservicename` names."""
    return _receive(request, None, version)


def _receive(request: HttpRequest, model: Model | None, version: str) -> EventAnswer:
    moment, project = now(), caller_of(request).project
    row_budget.check(project.pk)
    event = _read_event(request)
    if model is None:
        model = find_model(project=project, name=event.text("inferenceservicename"))
    half = _half_of(event, model, version, moment)
    rows = len(read_rows(event.data, half.kind))
    row_budget.charge(project.pk, rows)
    caller_of(request).charge_rows(rows)
    taken = take_half(half=half, now=moment)
    if taken.status == "waiting":
        return Status(202, WaitingEventOut(id=half.event_id, status=taken.status))
    logged = LoggedEventOut(
        id=half.event_id, status=taken.status, accepted=taken.accepted, duplicates=taken.duplicates
    )
    return Status(200, logged)


# -- CloudEvents -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Event:
    """A CloudEvent: its attributes by name, where they stand, and the JSON it carries."""

    attributes: Mapping[str, Any]
    place: str  # of an attribute, before its name
    data: Any

    def text(self, name: str, default: str | None = None) -> str:
        """Give an attribute; raises Problem where it is missing and has no default, or is no text."""
        value = self.attributes.get(name, default)
        if value is None:
            raise invalid(f"{self.place}{name}", f"The event has no '{name}'.", "missing_field")
        if not isinstance(value, str):
            raise invalid(f"{self.place}{name}", f"The event's '{name}' must be text.", "wrong_type")
        return value


def _read_event(request: HttpRequest) -> _Event:
    """Read an event in either mode; a binary one is JSON whatever its type says, for that is the client's own."""
    body = read_body(request, cap=MAX_BYTES)
    kind = (request.content_type or "").lower()
    if kind == BATCHED:
        detail = f"Events come one by one; send {STRUCTURED}, or the attributes as headers."
        raise Problem(415, "unsupported_media_type", detail)
    if kind.partition("/")[0] in _NEVER_JSON:
        raise Problem(
            415, "unsupported_media_type", f"Driftline reads events whose data is JSON, not {kind}."
        )
    if kind != STRUCTURED:
        named = {name.lower(): value for name, value in request.headers.items()}
        attributes = {
            name.removeprefix("ce-"): unquote(value)
            for name, value in named.items()
            if name.startswith("ce-")
        }
        event = _Event(attributes, "/ce-", None)
        _check_attributes(event)
        return _Event(attributes, "/ce-", read_json(body))
    value = read_json(body)
    if not isinstance(value, dict):
        raise invalid("", "A structured event is an object.", "wrong_type")
    event = _Event(value, "/", value.get("data"))
    _check_attributes(event)
    if event.data is None:
        raise invalid("/data", "The event has no 'data' as JSON.", "missing_field")
    return event


def _check_attributes(event: _Event) -> None:
    if event.text("specversion", "1.0") != "1.0":
        raise invalid(f"{event.place}specversion", "Driftline reads CloudEvents 1.0.", "unknown_event")
    if event.text("type") not in KINDS:
        detail = f"The type {printable(event.text('type'))!r} is none of {' and '.join(KINDS)}."
        raise invalid(f"{event.place}type", detail, "unknown_event")
    if not is_valid_id(event.text("id")):
        detail = f"An id has 1 to {ID_LENGTH} printable characters."
        raise invalid(f"{event.place}id", detail, "invalid_id")


def _half_of(event: _Event, model: Model, version: str, moment: datetime) -> EventHalf:
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
        received_at=moment,
    )


def _time_of(event: _Event) -> datetime | None:
    text = event.text("time", "")
    try:
        return parse_timestamp(text) if text else None
    except (ValueError, OverflowError) as error:
        detail = f"'{printable(text)}' is not an RFC 3339 time with a zone."
        raise invalid(f"{event.place}time", detail, "invalid_timestamp") from error
