"""KServe's payload logger over HTTP: CloudEvents, each with one half of an inference."""

import base64
import binascii
from urllib.parse import unquote

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status

from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF
from driftline.base.accounts.projects import refuse_archived
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.http.request_values import read_body
from inference.prediction_log.api import row_budget
from inference.prediction_log.events.cloud_events import (
    STRUCTURED,
    CloudEvent,
    half_of,
    read_binary,
    read_structured,
)
from inference.prediction_log.events.joining import take_half
from inference.prediction_log.events.payloads import read_rows
from inference.prediction_log.events.schemas import LoggedEventOut, WaitingEventOut
from inference.registry.models import Model
from inference.registry.selectors import find_model

router = Router(tags=["log"])

MAX_BYTES = 4 << 20
BATCHED = "application/cloudevents-batch+json"
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
        refuse_archived(caller.project)
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
    row_budget.check(project)
    event = _read_event(request)
    if model is None:
        model = find_model(project=project, name=event.text("inferenceservicename"))
    half = half_of(event, model=model, version=version, now=moment)
    rows = len(read_rows(event.data, half.kind))
    row_budget.charge(project, rows)
    caller_of(request).charge_rows(rows)
    taken = take_half(half=half, now=moment)
    if taken.status == "waiting":
        return Status(202, WaitingEventOut(id=half.event_id, status=taken.status))
    logged = LoggedEventOut(
        id=half.event_id, status=taken.status, accepted=taken.accepted, duplicates=taken.duplicates
    )
    return Status(200, logged)


# -- CloudEvents -------------------------------------------------------------------------------------------------------
def _read_event(request: HttpRequest) -> CloudEvent:
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
    if kind == STRUCTURED:
        return read_structured(body)
    named = {name.lower(): value for name, value in request.headers.items()}
    attributes = {
        name.removeprefix("ce-"): unquote(value) for name, value in named.items() if name.startswith("ce-")
    }
    return read_binary(attributes, body)
