"""What a V2 request says about its rows beside their values: key, event time, tags and subject."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from inference.protocol.json_forms.json_documents import read_json
from inference.protocol.v2.tensors import InvalidRequest, shorten

MAX_KEY_LENGTH = 200
MAX_TAGS = 32
CLOCK_TOLERANCE_US = 10 * 60 * 1_000_000

_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class RowFacts(Struct, frozen=True):
    """What a request says of its rows; `event_times_us` has one entry a row, or is None for 'now'.

    `timeout_us` is how long the caller will wait for the answer, in microseconds; None where it does not say.
    `priority` is 1 for the most urgent, higher for what may wait, 0 where the caller does not say.
    """

    key: str | None = None
    event_times_us: list[int] | None = None
    tags: dict[str, str] | None = None
    subject: str | None = None
    timeout_us: int | None = None
    priority: int = 0


NO_FACTS = RowFacts()


class EventTimeRefused(InvalidRequest):
    """An event time is older than this token may send; scope `backfill` allows it."""

    status = 403


def read_parameters(parameters: object, rows: int) -> RowFacts:
    """Read the parameters of a request that we know; those of others are left alone."""
    if parameters is None:
        return NO_FACTS
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"'parameters' is {shorten(parameters)}; send an object.")
    if not parameters:
        return NO_FACTS
    return RowFacts(
        key=_read_word(parameters, "driftline_id"),
        event_times_us=_read_event_times(parameters.get("driftline_timestamp"), rows),
        tags=_read_tags(parameters.get("driftline_tags")),
        subject=_read_word(parameters, "driftline_subject"),
        timeout_us=_read_count(parameters, "timeout", "microseconds") or None,
        priority=_read_count(parameters, "priority", "1 for the most urgent, more for what may wait"),
    )


def check_event_times(facts: RowFacts, now_us: int, *, may_backfill: bool) -> None:
    """Refuse event times more than ten minutes ahead, and older ones unless `may_backfill`."""
    if facts.event_times_us is None:
        return
    latest, earliest = max(facts.event_times_us), min(facts.event_times_us)
    if latest > now_us + CLOCK_TOLERANCE_US:
        raise InvalidRequest(
            f"driftline_timestamp {format_time(latest)} lies more than 10 minutes ahead of the clock here "
            f"({format_time(now_us)}); send the time of the event."
        )
    if earliest < now_us - CLOCK_TOLERANCE_US and not may_backfill:
        raise EventTimeRefused(
            f"driftline_timestamp {format_time(earliest)} is older than 10 minutes; use a token with the "
            "scope 'backfill'."
        )


def parse_time(text: str) -> int:
    """Turn an RFC 3339 time with a zone into microseconds since 1970; raise ValueError for any other text."""
    if not _RFC_3339.fullmatch(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text.upper())
    return (moment - _EPOCH) // _MICROSECOND


def format_time(microseconds: int) -> str:
    """Show microseconds since 1970 as an RFC 3339 time."""
    return (_EPOCH + microseconds * _MICROSECOND).isoformat().replace("+00:00", "Z")


def _read_word(parameters: dict[str, Any], name: str) -> str | None:
    word = parameters.get(name)
    if word is None:
        return None
    if not isinstance(word, str) or not 0 < len(word) <= MAX_KEY_LENGTH or not word.isprintable():
        raise InvalidRequest(
            f"{name} is {shorten(word)}; send a string of 1 to {MAX_KEY_LENGTH} printable characters."
        )
    return word


def _read_count(parameters: dict[str, Any], name: str, meaning: str) -> int:
    """Read a whole number; 0 is the protocol's way to say 'as usual'."""
    count = parameters.get(name, 0)
    if type(count) is not int or not 0 <= count < 2**63:
        raise InvalidRequest(f"{name} is {shorten(count)}; send a whole number ({meaning}), or leave it out.")
    return count


def _read_event_times(value: object, rows: int) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest(
            f"driftline_timestamp is {shorten(value)}; send a time such as 2026-01-31T12:00:00Z, or a JSON "
            "list of them in a string."
        )
    if not value.lstrip().startswith("["):
        return [_read_time(value)] * rows
    times = _read_embedded(value, "driftline_timestamp", list[str])
    if len(times) != rows:
        raise InvalidRequest(
            f"driftline_timestamp holds {len(times)} times for {rows} rows; send one, or one a row."
        )
    return [_read_time(text) for text in times]


def _read_time(text: str) -> int:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"driftline_timestamp {shorten(text)} is not a time with a zone such as 2026-01-31T12:00:00Z."
        ) from None


def _read_tags(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest(f"driftline_tags is {shorten(value)}; send a JSON object in a string.")
    tags: dict[str, str] = _read_embedded(value, "driftline_tags", dict[str, str])
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"driftline_tags holds {len(tags)} tags; send at most {MAX_TAGS}.")
    for name, text in tags.items():
        if not 0 < len(name) <= MAX_KEY_LENGTH or len(text) > MAX_KEY_LENGTH:
            raise InvalidRequest(
                f"Tag {shorten(name)} is empty or longer than {MAX_KEY_LENGTH} characters; shorten it."
            )
    return tags


def _read_embedded(text: str, name: str, wanted: Any) -> Any:
    """Read JSON that stands in a string, because a V2 parameter is a scalar."""
    try:
        return msgspec.convert(read_json(text.encode("utf-8")), wanted)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{name} does not hold what it should: {error}.") from None
