"""Shows what a mapping makes of messages: nothing is stored, and no consumer loses any."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.events.payloads import read_rows
from inference.prediction_log.ingest.parsing import parse_labels, parse_predictions
from inference.prediction_log.items import ItemFault
from inference.prediction_log.rows.sent_items import Refused
from inference.prediction_log.sources.kinds import (
    SourceSettings,
    check_settings,
    has_same_registry,
    require_extra,
)
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import (
    registry_secret_of,
    sample,
    secret_of,
    settings_of,
)
from inference.prediction_log.sources.reading.envelopes import HALVES, read_half, reader_of
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.registry.models import Model

SHOWN = 10
MAX_SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class PreviewedMessage:
    """A message and what it becomes: an item of the logging API, or the reason why it would be a dead letter."""

    partition: str
    offset: int
    text: str
    item: dict[str, Any] | None
    code: str = ""
    detail: str = ""
    pointer: str = ""


def preview_stream(
    settings: SourceSettings,
    *,
    secret: str,
    source: Source | None,
    registry_secret: str = "",
    mapping: SourceMapping,
    what: str,
    model: Model,
    now: datetime,
) -> list[PreviewedMessage]:
    """Return the newest messages of a stream with what each would become.

    Without a secret that of `source` is used, where it belongs to the same servers and user. Raises Problem: 422 for
    settings that could never work, 502 where the stream cannot be read now.
    """
    check_settings(settings)
    require_extra(settings)
    if source is not None and not secret and settings_of(source).address() == settings.address():
        secret = secret_of(source)
    if source is not None and not registry_secret and has_same_registry(settings, settings_of(source)):
        registry_secret = registry_secret_of(source)
    try:
        messages = sample(settings, secret, messages=SHOWN, registry_secret=registry_secret)
    except ConnectorFailed as error:
        raise Problem(502, "source_unreachable", str(error)) from error
    return preview(messages, mapping=mapping, what=what, model=model, now=now)


def preview(
    messages: Sequence[StreamMessage], *, mapping: SourceMapping, what: str, model: Model, now: datetime
) -> list[PreviewedMessage]:
    """Return what each message would become."""
    return [_preview(one, mapping, what, model, now) for one in messages if one.value is not None]


def _preview(
    message: StreamMessage, mapping: SourceMapping, what: str, model: Model, now: datetime
) -> PreviewedMessage:
    item: dict[str, Any] | None = None
    if message.fault is not None:
        return _shown(message, None, message.fault.code, message.fault.detail)
    try:
        if mapping.envelope in HALVES:
            item = _half(message, mapping, model, now)
            return _shown(message, item)
        line = reader_of(mapping, what)(message)
        fault = _fault_in(line, what, model, now)
        item = None if fault else msgspec.json.decode(line)
        return _shown(message, item, *fault)
    except Refused as refused:
        return _shown(message, None, refused.code, refused.detail, refused.at)
    except Problem as problem:
        pointer = problem.errors[0].pointer if problem.errors else ""
        return _shown(message, None, problem.code, problem.detail, pointer)


def _half(message: StreamMessage, mapping: SourceMapping, model: Model, now: datetime) -> dict[str, Any]:
    half = read_half(message, mapping=mapping, model=model, now=now)
    rows = read_rows(orjson.loads(half.payload), half.kind)
    return {"id": half.event_id, "half": half.kind, "version": half.version, "rows": rows[:SHOWN]}


def _fault_in(line: bytes, what: str, model: Model, now: datetime) -> tuple[str, ...]:
    """Return code, sentence and pointer of what is wrong with a line; nothing where it is right."""
    faults: list[ItemFault] = []
    if what == "labels":
        labels = parse_labels(line, lines=True, task=model.task, now=now)
        faults = [item for item in labels.items if isinstance(item, ItemFault)]
    else:
        faults = list(parse_predictions(line, lines=True, task=model.task, now=now).faults.values())
    if not faults:
        return ()
    _, slash, rest = faults[0].pointer[1:].partition("/")
    return faults[0].code, faults[0].detail, slash + rest


def _shown(
    message: StreamMessage, item: dict[str, Any] | None, code: str = "", detail: str = "", pointer: str = ""
) -> PreviewedMessage:
    return PreviewedMessage(message.partition, message.offset, text_of(message), item, code, detail, pointer)


def text_of(message: StreamMessage) -> str:
    """Return the beginning of a message as a person can read it."""
    text = (message.value or b"")[: 4 * MAX_SHOWN_CHARACTERS].decode(errors="replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)[
        :MAX_SHOWN_CHARACTERS
    ]
