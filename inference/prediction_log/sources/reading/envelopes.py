"""Reads messages by the envelope of their source: each becomes an item of the logging API, or half of an event."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
import orjson

from driftline.base.errors import UNREADABLE, Problem, invalid
from driftline.base.ids import ID_LENGTH, is_valid_id
from driftline.base.periods import from_us
from driftline.base.strict_json import MAX_DEPTH, check_depth, printable, read_json
from inference.prediction_log.events.cloud_events import STRUCTURED, half_of, read_binary, read_structured
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.rows.sent_items import Refused, check_version
from inference.prediction_log.sources.mapping import SourceMapping, key_text, mapper_of
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.registry.models import Model

HALVES = ("kserve", "v2")
"""The envelopes of which two messages make a row."""

_SEPARATORS = ("ce-", "ce_")  # how the Kafka binding and its forerunner write attributes
_encoder = msgspec.json.Encoder()


# -- messages that are rows --------------------------------------------------------------------------------------------
def reader_of(mapping: SourceMapping, what: str) -> Callable[[StreamMessage], bytes]:
    """Return what writes a message as one line of NDJSON for the logging API; it raises Refused."""
    if mapping.envelope == "log":
        return _as_it_is
    apply = mapper_of(mapping, what)

    def read(message: StreamMessage) -> bytes:
        try:
            return _encoder.encode(apply(read_object(message), message))
        except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise Refused("wrong_type", "", f"The message cannot be written as a row: {error}.") from error

    return read


def _as_it_is(message: StreamMessage) -> bytes:
    """Return a message as one line: a line break in JSON is white space wherever it is valid."""
    line = (message.value or b"").replace(b"\n", b" ")
    if not line.strip():
        raise Refused("malformed_json", "", "The message is empty.")
    return line


def read_object(message: StreamMessage) -> dict[str, Any]:
    """Read a message that is a JSON object; raises Refused."""
    body = message.value or b""
    try:
        check_depth(body, MAX_DEPTH)
        value = msgspec.json.decode(body)
    except Problem as problem:
        raise Refused(problem.code, "", problem.detail) from problem
    except UNREADABLE as error:
        raise Refused("malformed_json", "", f"The message is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Refused("wrong_type", "", "The message must be a JSON object.")
    return value


# -- messages that are halves ------------------------------------------------------------------------------------------
def read_half(message: StreamMessage, *, mapping: SourceMapping, model: Model, now: datetime) -> EventHalf:
    """Return the half of an event that a message holds, not saved; raises Problem."""
    read = _read_event if mapping.envelope == "kserve" else _read_payload
    half = read(message, model, mapping.default_version, now)
    if half.time is None and message.time_us is not None:
        half.time = from_us(message.time_us)
    return half


def _read_event(message: StreamMessage, model: Model, version: str, now: datetime) -> EventHalf:
    body = message.value or b""
    attributes = dict(_attributes(message))
    is_structured = message.headers.get("content-type", "").lower().startswith(STRUCTURED)
    event = read_structured(body) if is_structured or not attributes else read_binary(attributes, body)
    return half_of(event, model=model, version=version, now=now)


def _attributes(message: StreamMessage) -> Iterator[tuple[str, str]]:
    for name, value in message.headers.items():
        if name.lower().startswith(_SEPARATORS):
            yield name.lower()[3:], value


def _read_payload(message: StreamMessage, model: Model, version: str, now: datetime) -> EventHalf:
    """Read a request or a response of the Open Inference Protocol; both have the same id, in them or as their key."""
    value = read_json(message.value or b"")
    if not isinstance(value, dict):
        raise invalid("", "A request or a response is a JSON object.", "wrong_type")
    kind = EventHalf.Kind.RESPONSE if "outputs" in value else EventHalf.Kind.REQUEST
    return EventHalf(
        model=model,
        event_id=_event_id(value, message),
        kind=kind,
        version=_version(value, version),
        time=None,
        payload=orjson.dumps(value),
        received_at=now,
    )


def _event_id(value: dict[str, Any], message: StreamMessage) -> str:
    id_ = value.get("id") or (key_text(message.key) if message.key is not None else None)
    if not isinstance(id_, str) or not is_valid_id(id_):
        detail = (
            f"A request and its response have the same id, or key, of 1 to {ID_LENGTH} printable characters."
        )
        raise invalid("/id", detail, "invalid_id")
    return id_


def _version(value: dict[str, Any], default: str) -> str:
    version = value.get("model_version") or default
    try:
        if not isinstance(version, str):
            raise Refused("invalid_version", "", f"{printable(str(version))} is no version; it must be text.")
        if version:
            check_version(version)
    except Refused as refused:
        raise invalid("/model_version", refused.detail, refused.code) from refused
    return version
