"""Reads what callers of the logging API send, strictly and fast: a batch is typed in one go, and item by item only
when that fails, to say what is wrong with which."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_type_hints

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from driftline.base.errors import UNREADABLE, Problem, invalid
from driftline.base.ids import ID_LENGTH, is_valid_id
from driftline.base.periods import parse_timestamp
from driftline.base.strict_json import (
    MAX_DEPTH,
    check_depth,
    decode_json,
    escape_pointer,
    find_fault,
    malformed,
    printable,
)
from inference.prediction_log.ingest.numeric_bodies import Decoders, decoders_like
from inference.prediction_log.items import ItemFault, LabelBatch, LabelItem
from inference.prediction_log.rows.sent_columns import (
    PredictionBatch,
    columns_if_plain,
    columns_of,
)
from inference.prediction_log.rows.sent_items import (
    Refused,
    SentLabel,
    SentPrediction,
    accept_label,
    check_prediction,
)

MAX_ITEMS = 10_000
MAX_ITEM_BYTES = 64 << 10
MAX_LINE_BYTES = 2 << 20  # with its vectors, of a line that is read by itself
MAX_BATCH_DEPTH = 3 * MAX_DEPTH  # an item that nests deeper than MAX_DEPTH is refused alone
SKEW = timedelta(seconds=30)  # below this, `sent_at` differs by the network, not by the clock
_TELLING_ESCAPES = (
    b"\\u0000",
    b"\\u003a",
    b"\\u003A",
)  # NUL cannot be kept, and a colon escapes being counted
_CONTAINERS_AN_ITEM = 8  # no valid item opens more braces and brackets than this


# -- what is sent ------------------------------------------------------------------------------------------------------
class _SentPredictions(Struct, frozen=True, forbid_unknown_fields=True):
    predictions: list[SentPrediction]
    sent_at: str | UnsetType | None = UNSET


class _SentLabels(Struct, frozen=True, forbid_unknown_fields=True):
    labels: list[SentLabel]
    sent_at: str | UnsetType | None = UNSET


type _Row = SentPrediction | SentLabel | ItemFault

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class _Kind:
    """What tells predictions from labels to the reader."""

    key: str
    sent: type[Any]
    decoders: Decoders
    codes: dict[str, str]  # field -> code of a fault in it, where that is not `wrong_type`

    @property
    def fields(self) -> dict[str, Any]:
        return get_type_hints(self.sent, include_extras=True)


_PREDICTIONS = _Kind(
    "predictions",
    SentPrediction,
    Decoders(msgspec.json.Decoder(_SentPredictions), msgspec.json.Decoder(SentPrediction)),
    {
        "id": "invalid_id",
        "timestamp": "invalid_timestamp",
        "version": "invalid_version",
        "probabilities": "invalid_probability",
        "latency_ms": "invalid_latency",
    },
)
_LABELS = _Kind(
    "labels",
    SentLabel,
    Decoders(msgspec.json.Decoder(_SentLabels), msgspec.json.Decoder(SentLabel)),
    {"id": "invalid_id", "timestamp": "invalid_timestamp"},
)


# -- the two readers ---------------------------------------------------------------------------------------------------
def parse_predictions(body: bytes, *, lines: bool, task: str, now: datetime) -> PredictionBatch:
    """Read a batch of predictions: a JSON object with `predictions`, or with `lines` one item a line (NDJSON).

    Whole requests that cannot be read raise Problem; items that cannot be kept come back as faults by their place.
    """
    alike = decoders_like(body)
    batch = _read_plain(alike and _decode(body, alike, lines=lines), body, task=task, now=now)
    if batch is None:
        decoded = _decode(body, _PREDICTIONS.decoders, lines=lines)
        batch = _read_plain(decoded, body, task=task, now=now) or _read_each(
            body, decoded, lines=lines, task=task, now=now
        )
    return batch


def _read_plain(
    decoded: "_Decoded | None", body: bytes, *, task: str, now: datetime
) -> PredictionBatch | None:
    """Turn a whole body into columns, unless anything in it needs a closer look."""
    if decoded is None or not 0 < len(decoded.rows) <= MAX_ITEMS:
        return None
    skew = skew_of(decoded.sent_at, now)
    columns = columns_if_plain(
        decoded.rows,
        task=task,
        now=now,
        skew=skew,
        colons=_colons(body) - decoded.colons,
        numbers=decoded.numbers,
    )
    return None if columns is None else PredictionBatch(columns, skew=skew)


def _read_each(
    body: bytes, decoded: "_Decoded | None", *, lines: bool, task: str, now: datetime
) -> PredictionBatch:
    sent, sent_at, canonicals = _read(body, decoded, _PREDICTIONS, lines=lines)
    skew = skew_of(sent_at, now)

    def accept(row: SentPrediction) -> SentPrediction:
        check_prediction(row, task=task, now=now, skew=skew)
        return row

    items = _accept_each(sent, canonicals, accept, _PREDICTIONS, lines=lines)
    good = {index: item for index, item in enumerate(items) if isinstance(item, SentPrediction)}
    faults = {index: item for index, item in enumerate(items) if isinstance(item, ItemFault)}
    columns = columns_of(list(good.values()), task=task, skew=skew, places=list(good))
    return PredictionBatch(columns, faults, skew=skew)


def parse_labels(body: bytes, *, lines: bool, task: str, now: datetime) -> LabelBatch:
    """Read a batch of labels: a JSON object with `labels`, or with `lines` one item a line (NDJSON)."""
    decoded = _decode(body, _LABELS.decoders, lines=lines)
    sent, sent_at, canonicals = _read(body, decoded, _LABELS, lines=lines)
    skew = skew_of(sent_at, now)

    def accept(row: SentLabel) -> LabelItem:
        return accept_label(row, task=task, now=now, skew=skew)

    return LabelBatch(_accept_each(sent, canonicals, accept, _LABELS, lines=lines), skew=skew)


def _accept_each[Item](
    sent: Iterable[_Row],
    canonicals: Iterable[bytes],
    accept: Callable[[Any], Item],
    kind: _Kind,
    *,
    lines: bool,
) -> list[Item | ItemFault]:
    items: list[Item | ItemFault] = []
    for index, (row, canonical) in enumerate(zip(sent, canonicals, strict=True)):
        if isinstance(row, ItemFault):
            items.append(row)
            continue
        try:
            if len(canonical) > MAX_ITEM_BYTES and (size := _bytes_beside_vectors(row)) > MAX_ITEM_BYTES:
                raise Refused(
                    "item_too_large", "", f"An item has at most 64 KiB beside vectors, not {size:,} bytes."
                )
            items.append(accept(row))
        except Refused as refused:
            items.append(_fault(row.id, refused, _pointer(kind, index, lines)))
    return items


def _bytes_beside_vectors(row: SentPrediction | SentLabel) -> int:
    """Return the bytes of an item without its vectors, which have a bound of their own."""
    if isinstance(row, SentPrediction):
        others = {name: value for name, value in row.features.items() if type(value) is not list}
        row = msgspec.structs.replace(row, features=others)
    return len(_encoder.encode(row))


def _pointer(kind: _Kind, index: int, lines: bool) -> str:
    return f"/{index}" if lines else f"/{kind.key}/{index}"


def _fault(given_id: Any, refused: Refused, pointer: str) -> ItemFault:
    known = printable(given_id) if isinstance(given_id, str) and 0 < len(given_id) <= ID_LENGTH else None
    known = given_id if known and is_valid_id(given_id) else known
    return ItemFault(known, refused.code, refused.detail, pointer + refused.at)


# -- reading: the fast way, and the slow one that explains -------------------------------------------------------------
@dataclass(frozen=True)
class _Decoded:
    """A body that has the right types throughout; keys that came twice may have been lost."""

    rows: list[Any]
    sent_at: str | None
    colons: int  # of the envelope
    numbers: tuple[str, ...]


def _decode(body: bytes, decoders: Decoders, *, lines: bool) -> _Decoded | None:
    """Decode a whole body at once, or give None when anything about it needs a closer look.

    Duplicate keys pass the decoder silently. They are found by counting colons: what was decoded, written again, has
    as many as the body unless a key was lost.
    """
    if b"\\" in body and any(escape in body for escape in _TELLING_ESCAPES):  # one byte is found much faster
        return None
    try:
        if lines:
            return _Decoded(decoders.line.decode_lines(body), None, 0, decoders.numbers)
        envelope = decoders.envelope.decode(body)
    except UNREADABLE:
        return None
    rows, sent_at = msgspec.structs.astuple(envelope)
    colons = 1 if sent_at is UNSET else 2 + (sent_at or "").count(":")
    return _Decoded(rows, sent_at or None, colons, decoders.numbers)


def _colons(body: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(":")))


def _read(
    body: bytes, decoded: _Decoded | None, kind: _Kind, *, lines: bool
) -> tuple[list[_Row], str | None, list[bytes]]:
    """Return the items as typed rows or faults, `sent_at`, and each item in canonical bytes (empty for a fault)."""
    found = _read_typed(body, decoded)
    if found is None:
        rows, sent_at = _read_slowly(body, kind, lines=lines)
        found = rows, sent_at, [b"" if isinstance(row, ItemFault) else _encoder.encode(row) for row in rows]
    if not found[0]:
        raise Problem(422, "empty_batch", f"The request holds no {kind.key}.")
    if len(found[0]) > MAX_ITEMS:
        raise _too_many(kind.key)
    return found


def _read_typed(body: bytes, decoded: _Decoded | None) -> tuple[list[_Row], str | None, list[bytes]] | None:
    """Return what was decoded, unless a key of it was lost."""
    if decoded is None:
        return None
    canonicals = [_encoder.encode(row) for row in decoded.rows]
    if decoded.colons + sum(canonical.count(b":") for canonical in canonicals) != _colons(body):
        return None
    return decoded.rows, decoded.sent_at, canonicals


def _read_slowly(body: bytes, kind: _Kind, *, lines: bool) -> tuple[list[_Row], str | None]:
    if lines:
        return [_typed_line(line, kind, index) for index, line in enumerate(_lines(body, kind))], None
    check_depth(body, MAX_BATCH_DEPTH)
    if body.count(b"{") + body.count(b"[") > MAX_ITEMS * _CONTAINERS_AN_ITEM:
        raise _too_many(kind.key)  # before Python objects are made of them
    envelope = decode_json(body)
    if envelope == []:
        raise Problem(422, "empty_batch", f"The request holds no {kind.key}.")
    if not isinstance(envelope, dict):
        raise malformed(f'send an object such as {{"{kind.key}": [...]}}')
    for key in envelope:
        if key not in (kind.key, "sent_at"):
            raise invalid(
                f"/{escape_pointer(key)}",
                f"'{printable(key)}' is not a field of the request.",
                "unknown_field",
            )
    values, sent_at = envelope.get(kind.key), envelope.get("sent_at")
    if not isinstance(values, list):
        raise invalid(f"/{kind.key}", f"'{kind.key}' must be a list.", "missing_field")
    if sent_at is not None and not isinstance(sent_at, str):
        raise invalid("/sent_at", "'sent_at' must be an RFC 3339 time with a zone.", "invalid_timestamp")
    if len(values) > MAX_ITEMS:
        raise _too_many(kind.key)
    return [_typed(value, kind, _pointer(kind, index, False)) for index, value in enumerate(values)], sent_at


def _lines(body: bytes, kind: _Kind) -> Iterator[bytes]:
    if body.count(b"\n") > 2 * MAX_ITEMS:
        raise _too_many(kind.key)
    return (line for line in body.split(b"\n") if line.strip())


def _typed_line(line: bytes, kind: _Kind, index: int) -> _Row:
    """Read one line by itself: a line that is no JSON does not spoil the others."""
    if len(line) > MAX_LINE_BYTES:
        return _fault(None, Refused("item_too_large", "", "An item has at most 64 KiB."), f"/{index}")
    try:
        value = decode_json(line)
    except Problem as problem:
        return _fault(None, Refused(problem.code, "", problem.detail), f"/{index}")
    return _typed(value, kind, f"/{index}")


def _typed(value: Any, kind: _Kind, pointer: str) -> _Row:
    """Convert one parsed item to its types, or say which field refuses."""
    given_id = value.get("id") if isinstance(value, dict) else None
    try:
        if fault := find_fault(value):
            raise Refused(fault.code, fault.pointer, fault.detail)
        return msgspec.convert(value, kind.sent)
    except Refused as refused:
        return _fault(given_id, refused, pointer)
    except msgspec.ValidationError:
        return _fault(given_id, _explain(value, kind), pointer)


def _explain(value: Any, kind: _Kind) -> Refused:
    """Find the first field that does not have the type it needs."""
    if not isinstance(value, dict):
        return Refused("wrong_type", "", "An item must be an object.")
    for key in value:
        if key not in kind.fields:
            return Refused(
                "unknown_field", f"/{escape_pointer(key)}", f"'{printable(key)}' is not a field of an item."
            )
    for name, expected in kind.fields.items():
        if name not in value:
            if name in kind.sent.__struct_fields__[: -len(kind.sent.__struct_defaults__)]:
                return Refused("missing_field", f"/{name}", f"The item has no '{name}'.")
            continue
        if refused := _explain_field(value[name], name, expected, kind.codes.get(name, "wrong_type")):
            return refused
    raise AssertionError("an item was refused as a whole although each of its fields is right")


def _explain_field(value: Any, name: str, expected: Any, code: str) -> Refused | None:
    parts = (
        [(f"/{name}/{escape_pointer(key)}", {key: part}) for key, part in value.items()]
        if isinstance(value, dict)
        else []
    )
    for at, part in [*parts, (f"/{name}", value)]:
        try:
            msgspec.convert(part, expected)
        except msgspec.ValidationError as error:
            reason = str(error).split(" - at ")[0].replace("`", "'")
            return Refused(code, at, f"{reason}.")
    return None


def _too_many(key: str) -> Problem:
    return Problem(
        413, "batch_too_large", f"A request holds at most {MAX_ITEMS:,} {key}; send them in parts."
    )


def too_many_predictions() -> Problem:
    """Refuse a request with more predictions than one may hold."""
    return _too_many(_PREDICTIONS.key)


def skew_of(sent_at: str | None, now: datetime) -> timedelta | None:
    """Return how far the sender's clock is behind ours, when that is more than the network explains."""
    if not sent_at:
        return None
    try:
        skew = now - parse_timestamp(sent_at)
    except (ValueError, OverflowError) as error:
        raise invalid(
            "/sent_at", f"'{printable(sent_at)}' is not an RFC 3339 time with a zone.", "invalid_timestamp"
        ) from error
    return skew if abs(skew) > SKEW else None
