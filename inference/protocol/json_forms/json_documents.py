"""Reads the JSON of requests: fast where nothing in it is odd, and else strictly, to say what is wrong with it."""

import re
from itertools import chain
from typing import Any

import msgspec
import orjson

from driftline.base.errors import Problem
from driftline.base.strict_json import MAX_DEPTH, UNSTORABLE_TEXT, check_depth, decode_json, is_storable
from inference.protocol.json_forms.long_documents import LONG_BYTES, cut_data
from inference.protocol.v2.tensors import InvalidRequest, shorten

MAX_SINGLE_READ_BYTES = (
    1024 * 1024
)  # bytes that are read in a step that keeps the interpreter, which takes about 10 ms

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
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
        return _read_at_once(body) if len(body) <= MAX_SINGLE_READ_BYTES else None
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
    try:
        check_depth(body)
        document = decode_json(body, allow_nan=allow_nan, cut_integers=False)
    except Problem as problem:
        raise InvalidRequest(problem.detail) from None
    if b"\\u" in body:  # only an escape can write text that is invalid
        _check_texts(document)
    return document


def _check_texts(value: Any) -> None:
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            _check_texts(item)


def check_text(text: str) -> None:
    """Refuse text that a database cannot keep."""
    if not is_storable(text):
        raise InvalidRequest(f"The text {shorten(text)} cannot be kept. {UNSTORABLE_TEXT}")
