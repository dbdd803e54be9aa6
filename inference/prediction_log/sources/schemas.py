"""What the API answers about sources."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.prediction_log.sources.dead_letters import is_readable, message_of
from inference.prediction_log.sources.models import DeadLetter, Source, SourcePosition
from inference.prediction_log.sources.reading.preview import PreviewedMessage, text_of
from inference.prediction_log.sources.selectors import SourceStatus

STATES = ("running", "waiting", "stopped", "paused")


class SourceOut(ResponseBody, frozen=True):
    """A source without its secret, and how it is read at present.

    `stopped` says that it is to be read and no consumer runs. `lag_messages` is null while no broker has said where its
    partitions end, as those of MQTT never do; a source of objects has `lag_objects` instead, those that are not read
    yet. `notice` is the last thing that a person must know, such as messages that were deleted unread.
    """

    name: str
    kind: Annotated[str, one_of(Source.Kind.values)]
    model: str
    what: Annotated[str, one_of(Source.What.values)]
    settings: dict[str, Any]
    has_secret: bool
    has_registry_secret: bool
    mapping: dict[str, Any]
    enabled: bool
    state: Annotated[str, one_of(STATES)]
    error: str | None
    notice: str | None
    notice_at: Time | None
    consumers: int
    lag_messages: int | None
    lag_objects: int | None
    rows_per_second: float
    messages: int
    rows: int
    dead_letters: int
    last_message_at: Time | None
    stored_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, source: Source, status: SourceStatus) -> Self:
        return cls(
            name=source.name,
            kind=source.kind,
            model=source.model.name,
            what=source.what,
            settings=source.settings,
            has_secret=bool(source.secret),
            has_registry_secret=bool(source.registry_secret),
            mapping=source.mapping,
            enabled=source.enabled,
            state=status.state,
            error=status.error or None,
            notice=source.notice or None,
            notice_at=source.notice_at,
            consumers=status.consumers,
            lag_messages=status.lag_messages,
            lag_objects=status.lag_objects,
            rows_per_second=round(status.rows_per_second, 1),
            messages=status.messages,
            rows=status.rows,
            dead_letters=status.dead_letters,
            last_message_at=status.last_message_at,
            stored_at=status.stored_at,
            created_at=source.created_at,
        )


class SourcePositionOut(ResponseBody, frozen=True):
    """How far one partition is stored."""

    partition: str
    next_offset: int
    end_offset: int | None
    messages: int
    rows: int
    last_message_at: Time | None
    stored_at: Time | None

    @classmethod
    def of(cls, position: SourcePosition) -> Self:
        return cls(
            partition=position.partition,
            next_offset=position.next_offset,
            end_offset=position.end_offset,
            messages=position.messages,
            rows=position.rows,
            last_message_at=position.last_message_at,
            stored_at=position.stored_at,
        )


class DeadLetterOut(ResponseBody, frozen=True):
    """A message that could not be stored; `text` is its beginning, and null for who may not change sources.

    It is null too where the key under which it is encrypted was lost.
    """

    id: int
    partition: str
    offset: int
    code: str
    detail: str
    pointer: str
    size_bytes: int
    is_cut: bool
    attempts: int
    received_at: Time
    text: str | None

    @classmethod
    def of(cls, letter: DeadLetter, *, shows_text: bool) -> Self:
        return cls(
            id=letter.pk,
            partition=letter.partition,
            offset=letter.offset,
            code=letter.code,
            detail=letter.detail,
            pointer=letter.pointer,
            size_bytes=letter.size_bytes,
            is_cut=letter.is_cut,
            attempts=letter.attempts,
            received_at=letter.received_at,
            text=text_of(message_of(letter)) if shows_text and is_readable(letter) else None,
        )


class RetriedLettersOut(ResponseBody, frozen=True):
    """How many dead letters are in the log now, were refused again, or were of objects that are read again."""

    stored: int
    refused: int
    reread: int


class DiscardedLettersOut(ResponseBody, frozen=True):
    """How many dead letters were deleted."""

    discarded: int


class PreviewedMessageOut(ResponseBody, frozen=True):
    """A message of the stream and the item of the logging API that it becomes, or why it would be a dead letter."""

    partition: str
    offset: int
    text: str
    item: dict[str, Any] | None
    code: str | None
    detail: str | None
    pointer: str | None

    @classmethod
    def of(cls, one: PreviewedMessage) -> Self:
        return cls(
            partition=one.partition,
            offset=one.offset,
            text=one.text,
            item=one.item,
            code=one.code or None,
            detail=one.detail or None,
            pointer=one.pointer or None,
        )


class SourcePreviewOut(ResponseBody, frozen=True):
    """The newest messages of a stream and what they become."""

    messages: list[PreviewedMessageOut]
