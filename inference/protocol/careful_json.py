"""JSON read with suspicion: says what is wrong with a body that a fast parser only refuses or lets pass."""

import json
import math
import re
from itertools import chain
from typing import Any

import msgspec
import orjson

from inference.protocol.long_documents import LONG_BYTES, cut_data
from inference.protocol.tensors import InvalidRequest, shorten

MAX_DEPTH = 32

MOST_AT_ONCE = (
    1024 * 1024
)  # bytes that are read in a step that keeps the interpreter, which takes about 10 ms

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ROWS = re.compile(rb'"(?:instances|inputs|data)"[ \t\n\r]*:[ \t\n\r]*\[')


def read_json_with_nan(body: bytes) -> Any:
    """Read a JSON document in which NaN may stand for a missing number; fast where nothing in it is odd.

    A long list of rows under `instances`, `inputs` or `dataframe_split` is read piece by piece.
    """
    if b"\\" not in body:
        try:
            document = _read_quickly(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            document = None
        if document is not None:
            return document
    return read_json(body, allow_nan=True)


def _read_quickly(body: bytes) -> Any:
    """Read a usual document; raise an error or return None where it may be odd."""
    cut = cut_data(body, _ROWS) if len(body) > LONG_BYTES else None
    if cut is None or len(cut[1]) != 1 or cut[0].count(b":") != body.count(b":"):
        return _read_at_once(body) if len(body) <= MOST_AT_ONCE else None
    document = _read_at_once(cut[0])
    holder, key = _place_of_rows(document)
    if holder is None:
        return None
    holder[key] = [*chain.from_iterable(cut[1][0].read(_decoder))]
    return document


def _read_at_once(body: bytes) -> Any:
    document = orjson.loads(body)
    return document if _count_colons(document, MAX_DEPTH) == body.count(b":") else None


def _place_of_rows(document: Any) -> tuple[dict[str, Any] | None, str]:
    """Find the empty list from which the rows were cut."""
    if not isinstance(document, dict):
        return None, ""
    split = document.get("dataframe_split")
    places = [
        (document, "instances"),
        (document, "inputs"),
        (split if isinstance(split, dict) else {}, "data"),
    ]
    return next(((holder, key) for holder, key in places if holder.get(key) == []), (None, ""))


def _count_colons(value: Any, levels: int) -> int:
    """Count the colons that a document without a backslash has if no key comes twice; too few where it is odd."""
    if levels == 0:
        return 0
    if isinstance(value, dict):
        inner = sum([_count_colons(item, levels - 1) for item in value.values()])
        return len(value) + sum([key.count(":") for key in value]) + inner
    if isinstance(value, list):
        if value and type(value[0]) in (float, int):
            return 0  # numbers have none; what else it may hold makes the count too small
        return sum([_count_colons(item, levels - 1) for item in value])
    return value.count(":") if isinstance(value, str) else 0


def read_json(body: bytes, *, allow_nan: bool = False) -> Any:
    """Read a JSON document; refuse what is not JSON, nests too deep, repeats a key or holds invalid text."""
    _check_depth(body)
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_take_nan if allow_nan else _refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 at byte {error.start}; send JSON in UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    _check_texts(document)
    return document


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before a recursive parser meets it; brackets in strings do not count."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth, at = 0, 0
    while at < len(body):
        quote = body.find(b'"', at)
        end = len(body) if quote < 0 else quote
        for bracket in body[at:end].translate(None, _NOT_BRACKETS):
            depth += 1 if bracket in b"[{" else -1
            if depth > MAX_DEPTH:
                raise InvalidRequest(f"The body nests deeper than {MAX_DEPTH} levels; send it flatter.")
        at = _end_of_text(body, end)


def _end_of_text(body: bytes, quote: int) -> int:
    """Find where a text ends that begins with the quote at a place; at the end of the body if it is not closed."""
    end = quote
    while (end := body.find(b'"', end + 1)) >= 0:
        first = end
        while body[first - 1] == 0x5C:  # backslashes, of which two stand for one
            first -= 1
        if (end - first) % 2 == 0:
            return end + 1
    return len(body)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidRequest(f"The key {shorten(key)} comes twice in one object; send it once.")
        check_text(key)
        _check_texts(value)
        found[key] = value
    return found


def _check_texts(value: Any) -> None:
    """Check the texts of a value; objects inside it have checked their own."""
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)


def check_text(text: str) -> None:
    """Refuse text that a database cannot keep: NUL characters and lone surrogates."""
    if "\x00" in text:
        raise InvalidRequest(f"The text {shorten(text)} holds a NUL character; leave it out.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f"The text {shorten(text)} holds half a surrogate pair; send both.") from None


def _refuse_constant(name: str) -> Any:
    raise InvalidRequest(f"The body holds {name}, which is not JSON; send null for a missing number.")


def _take_nan(name: str) -> float:
    if name != "NaN":
        raise InvalidRequest(f"The body holds {name}; send a finite number, or NaN for a missing one.")
    return math.nan


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidRequest(f"The number {shorten(text)} is too large for a float; send a smaller one.")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > 20:
        raise InvalidRequest(f"The whole number {text[:20]}... has more than 64 bits; send a smaller one.")
    return int(text)
