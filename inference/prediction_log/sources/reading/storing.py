"""Stores a batch of messages: rows, dead letters and positions in one transaction, so that a kill loses and doubles
nothing."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from django.db import InterfaceError, OperationalError, transaction

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.events.joining import HalfPool, lock_halves
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.ingest.parsing import MAX_ITEMS, parse_labels, parse_predictions
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.items import BatchResult, ItemFault, ItemResult
from inference.prediction_log.labels.services import log_labels, search_ahead
from inference.prediction_log.rows.sent_items import Refused
from inference.prediction_log.rows_kept import RowsNotKept
from inference.prediction_log.sources.dead_letters import DeadLettersFull, RefusedMessage, bury
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import decode_again, mapping_of
from inference.prediction_log.sources.reading.envelopes import HALVES, read_half, reader_of
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import (
    Fenced,
    count_rows,
    move_positions,
    set_notice,
    spans_of,
)

log = logging.getLogger(__name__)

_LASTING = (OperationalError, InterfaceError, RowsNotKept, Fenced, DeadLettersFull)
"""Errors that are no fault of a message: the whole batch waits, or belongs to somebody else."""


@dataclass(frozen=True)
class Stored:
    """What became of a batch: new rows, rows that were in the log already, and messages that are dead letters."""

    rows: int = 0
    duplicates: int = 0
    dead_letters: int = 0

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(
            self.rows + other.rows,
            self.duplicates + other.duplicates,
            self.dead_letters + other.dead_letters,
        )


@dataclass
class _Lines:
    """Items of the logging API as NDJSON, each with the message that it came from."""

    lines: list[bytes] = field(default_factory=list)
    messages: list[StreamMessage] = field(default_factory=list)

    def add(self, line: bytes, message: StreamMessage) -> None:
        self.lines.append(line)
        self.messages.append(message)


@dataclass
class _Outcome:
    """What the log says of the rows of a batch."""

    rows: Counter[str] = field(default_factory=Counter)  # new ones, by partition
    duplicates: int = 0
    changed: list[str] = field(
        default_factory=list
    )  # ids of duplicates that hold something else than the log
    refusals: list[RefusedMessage] = field(default_factory=list)


def store_batch(source: Source, messages: Sequence[StreamMessage], *, now: datetime) -> Stored:
    """Store messages and move the positions of their partitions beyond them, in one transaction.

    What cannot be stored becomes a dead letter. Raises Fenced, DeadLettersFull, a Problem where the model takes nothing
    now, and errors of the database; nothing is stored then.
    """
    try:
        return _store(source, messages, now)
    except Exception as error:  # no message may stop a stream, whatever it brings to light
        if is_lasting(error):
            raise
        if len(messages) > 1:  # also where the halves of events that wait for them are too large together
            half = len(messages) // 2
            return store_batch(source, messages[:half], now=now) + store_batch(
                source, messages[half:], now=now
            )
        log.exception("a message of a source could not be stored", extra={"source": source.name})
        return _bury_alone(source, messages[0], error)


def is_lasting(error: Exception) -> bool:
    """Return whether an error is no fault of any message, so that all of them have to wait."""
    return isinstance(error, _LASTING) or (isinstance(error, Problem) and error.status >= 500)


def _store(source: Source, messages: Sequence[StreamMessage], now: datetime) -> Stored:
    write = _prepare(source, [one for one in messages if one.value is not None], now)
    with transaction.atomic():
        outcome = write()
        bury(source.pk, outcome.refusals)
        move_positions(source.pk, spans_of(messages), outcome.rows)
        if outcome.changed:
            _note_changed(source, outcome.changed)
    dead = {(one.message.partition, one.message.offset) for one in outcome.refusals}
    return Stored(outcome.rows.total(), outcome.duplicates, len(dead))


def _note_changed(source: Source, ids: Sequence[str]) -> None:
    rows = f"Row {ids[0]} was" if len(ids) == 1 else f"{len(ids):,} rows, such as {ids[0]}, were"
    text = f"{rows} changed after being read, or have an id that is taken; the log keeps what came first."
    set_notice(source.pk, text)


def _bury_alone(source: Source, message: StreamMessage, error: Exception) -> Stored:
    with transaction.atomic():
        bury(source.pk, [unforeseen(message, error)])
        move_positions(source.pk, spans_of([message]), {})
    return Stored(dead_letters=1)


def unforeseen(message: StreamMessage, error: Exception) -> RefusedMessage:
    """Return the refusal of a message that failed in a way that no reader foresaw."""
    detail = f"Driftline could not store this message ({type(error).__name__}); its log says more."
    return RefusedMessage(message, "could_not_be_stored", detail)


def store_letters(
    source: Source, messages: Sequence[StreamMessage], *, now: datetime
) -> list[RefusedMessage]:
    """Store messages again, in the caller's transaction; returns those that are refused again.

    Raises Problem (502) where their schema registry does not answer.
    """
    try:
        messages = decode_again(source, messages)
    except ConnectorFailed as error:
        raise Problem(502, "source_unreachable", str(error)) from error
    outcome = _prepare(source, messages, now, keep_halves=False)()
    for partition, rows in outcome.rows.items():
        count_rows(source.pk, partition, rows)
    return outcome.refusals


def _prepare(
    source: Source, messages: Sequence[StreamMessage], now: datetime, *, keep_halves: bool = True
) -> Callable[[], _Outcome]:
    """Read messages as far as that needs no lock, and return what writes their rows in a transaction."""
    mapping, outcome = mapping_of(source), _Outcome()
    faults = [(one, one.fault) for one in messages if one.fault is not None]
    outcome.refusals = [RefusedMessage(one, fault.code, fault.detail) for one, fault in faults]
    messages = [one for one in messages if one.fault is None]
    if mapping.envelope in HALVES:
        return lambda: _write_halves(source, mapping, messages, now, outcome, keep_halves=keep_halves)
    requests = _requests_of(source, _read_lines(mapping, source.what, messages, outcome), now)
    return lambda: _log_requests(source, requests, outcome)


# -- messages that are rows --------------------------------------------------------------------------------------------
def _read_lines(
    mapping: SourceMapping, what: str, messages: Iterable[StreamMessage], outcome: _Outcome
) -> _Lines:
    read, lines = reader_of(mapping, what), _Lines()
    for message in messages:
        try:
            lines.add(read(message), message)
        except Refused as refused:
            outcome.refusals.append(RefusedMessage(message, refused.code, refused.detail, refused.at))
    return lines


type _Log = Callable[[], BatchResult]


def _requests_of(source: Source, lines: _Lines, now: datetime) -> list[tuple[_Log, list[StreamMessage]]]:
    """Parse lines as requests of the logging API, with as many items as one may hold; each can be logged then."""
    return [
        (
            _parse(source, b"\n".join(lines.lines[start : start + MAX_ITEMS]), now),
            lines.messages[start : start + MAX_ITEMS],
        )
        for start in range(0, len(lines.lines), MAX_ITEMS)
    ]


def _parse(source: Source, body: bytes, now: datetime) -> _Log:
    model = source.model
    if source.what == Source.What.LABELS:
        items = parse_labels(body, lines=True, task=model.task, now=now).items
        searched = search_ahead(model, items)
        return lambda: log_labels(model=model, items=items, source=source.name, now=now, searched=searched)
    batch = parse_predictions(body, lines=True, task=model.task, now=now)
    return lambda: log_predictions(model=model, batch=batch, now=now, alone=True)


def _log_requests(
    source: Source, requests: Iterable[tuple[_Log, list[StreamMessage]]], outcome: _Outcome
) -> _Outcome:
    for log_request, messages in requests:
        for result in log_request().results:
            _count(source, result, messages[result.index], outcome)
    return outcome


def _count(source: Source, result: ItemResult, message: StreamMessage, outcome: _Outcome) -> None:
    if result.status == "conflict" and source.kind == Source.Kind.SQL:
        outcome.duplicates += 1  # rows of a table change, and come again then
        outcome.changed.append(result.id or "")
    elif result.error is not None:
        outcome.refusals.append(_refusal(message, result.error))
    elif result.status == "duplicate":
        outcome.duplicates += 1
    else:
        outcome.rows[message.partition] += 1


def _refusal(message: StreamMessage, fault: ItemFault) -> RefusedMessage:
    """Return the refusal of a row with its pointer into the item: which line it was says nothing."""
    _, slash, rest = fault.pointer.removeprefix("/predictions").removeprefix("/labels")[1:].partition("/")
    return RefusedMessage(message, fault.code, fault.detail, slash + rest)


# -- messages that are halves ------------------------------------------------------------------------------------------
def _write_halves(
    source: Source,
    mapping: SourceMapping,
    messages: Sequence[StreamMessage],
    now: datetime,
    outcome: _Outcome,
    *,
    keep_halves: bool,
) -> _Outcome:
    """Join halves of events with each other and with those that wait, and log what is whole."""
    halves = _read_halves(source, mapping, messages, now, outcome)
    lock_halves(source.model)
    pool = HalfPool(source.model, [half.event_id for half, _ in halves])
    lines, whole = _Lines(), list[tuple[EventHalf, StreamMessage]]()
    for half, message in halves:
        try:
            predictions = pool.take(half)
        except Problem as problem:
            outcome.refusals.append(_refusal_of(message, problem))
            continue
        if predictions:
            whole.append((half, message))
        for prediction in predictions:
            lines.add(msgspec.json.encode(prediction), message)
    _log_requests(source, _requests_of(source, lines, now), outcome)
    refused = {id(refusal.message) for refusal in outcome.refusals}
    for half, message in whole:
        if id(message) not in refused:
            pool.finish(half)
    if not keep_halves:
        outcome.refusals += [_without_other(message) for half, message in halves if pool.waits(half)]
    pool.save(keep_new=keep_halves)
    return outcome


def _without_other(message: StreamMessage) -> RefusedMessage:
    return RefusedMessage(
        message, "other_half_missing", "The other half of this event does not wait any more."
    )


def _read_halves(
    source: Source,
    mapping: SourceMapping,
    messages: Iterable[StreamMessage],
    now: datetime,
    outcome: _Outcome,
) -> list[tuple[EventHalf, StreamMessage]]:
    halves = []
    for message in messages:
        try:
            half = read_half(message, mapping=mapping, model=source.model, now=now)
        except Problem as problem:
            outcome.refusals.append(_refusal_of(message, problem))
        else:
            halves.append((half, message))
    return halves


def _refusal_of(message: StreamMessage, problem: Problem) -> RefusedMessage:
    pointer = problem.errors[0].pointer if problem.errors else ""
    return RefusedMessage(message, problem.code, problem.detail, pointer)
