"""The one strict reader of JSON that callers send: it refuses what other parsers let pass silently.

That is NaN, infinite numbers, keys that come twice, deep nesting, and text that PostgreSQL cannot keep.
"""

import json
import math
import re
from functools import partial
from itertools import accumulate
from typing import Any

from driftline.base.errors import FieldFault, Problem

MAX_DEPTH = 32
MAX_KEYS = 1_000
MAX_KEY_LENGTH = 200
UNSTORABLE_TEXT = "Text may hold neither NUL nor half of a surrogate pair."
_INT64 = range(-(2**63), 2**63)
MAX_INTEGER_LENGTH = 20  # characters, of an integer of 64 bits
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # to the end of the body where it is not closed
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {bracket: 1 if bracket in b"[{" else -1 for bracket in b"[]{}"}


def read_json(body: bytes) -> Any:
    """Read a whole body: syntax first, then what PostgreSQL and int64 can hold. Raises Problem."""
    value = decode_json(body)
    fault = find_fault(value)
    if fault is not None:
        raise Problem(400 if fault.code == "too_deep" else 422, fault.code, fault.detail, [fault])
    return value


def decode_json(body: bytes, *, allow_nan: bool = False, cut_integers: bool = True) -> Any:
    """Read a body's syntax alone; strings and numbers in it are not judged yet. Raises Problem.

    An integer that is too long for 64 bits is cut, and still too large, for `find_fault` to tell where it is; without
    `cut_integers` it is refused.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"not UTF-8 at byte {error.start}") from error
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=partial(_constant, allow_nan=allow_nan),
            parse_float=_finite,
            parse_int=_cut_integer if cut_integers else _short_integer,
        )
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        raise malformed(f"{error.msg.lower()} at byte {offset}") from error
    except RecursionError as error:
        raise _too_deep() from error


def check_depth(body: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Refuse a body that nests too deep, before a parser makes anything of it. Raises Problem."""
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    brackets = _TEXT.sub(b"", body).translate(None, _NOT_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > max_depth:
        raise _too_deep()


def find_fault(value: Any, pointer: str = "", depth: int = 0) -> FieldFault | None:
    """Find the first string, number, key or depth in a parsed value that cannot be kept."""
    match value:
        case str():
            return _fault_in_text(value, pointer)
        case bool() | float() | None:
            return None
        case int():
            if value not in _INT64:
                return FieldFault(pointer, "number_out_of_range", "An integer must fit in 64 bits.")
            return None
    if depth >= MAX_DEPTH:
        return FieldFault(pointer, "too_deep", f"Nesting ends at {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        return _fault_in_object(value, pointer, depth)
    for index, item in enumerate(value):
        if fault := find_fault(item, f"{pointer}/{index}", depth + 1):
            return fault
    return None


def _fault_in_object(value: dict[str, Any], pointer: str, depth: int) -> FieldFault | None:
    if len(value) > MAX_KEYS:
        return FieldFault(
            pointer, "too_many_keys", f"An object has at most {MAX_KEYS:,} keys, not {len(value):,}."
        )
    for key, item in value.items():
        here = f"{pointer}/{escape_pointer(key)}"
        if len(key) > MAX_KEY_LENGTH:
            return FieldFault(
                here, "key_too_long", f"A key has at most {MAX_KEY_LENGTH} characters, not {len(key):,}."
            )
        if fault := _fault_in_text(key, here) or find_fault(item, here, depth + 1):
            return fault
    return None


def _fault_in_text(text: str, pointer: str) -> FieldFault | None:
    return None if is_storable(text) else FieldFault(pointer, "invalid_text", UNSTORABLE_TEXT)


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL can keep a text: it holds no NUL and no half of a surrogate pair."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_pointer(key: str) -> str:
    """Write a key as one part of a JSON pointer (RFC 6901), cut and free of what cannot be printed."""
    return printable(key).replace("~", "~0").replace("/", "~1")


def printable(text: str) -> str:
    """Cut a caller's text to 64 characters and escape what does not print, so that an error may name it."""
    return escaped(text[:64])


def escaped(text: str) -> str:
    """Escape what does not print, such as a NUL, which no column of text takes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def malformed(what: str) -> Problem:
    """Refuse a body that is not JSON."""
    return Problem(400, "malformed_json", f"The body is not JSON: {what}.")


def _too_deep() -> Problem:
    return Problem(400, "too_deep", f"The body nests deeper than {MAX_DEPTH} levels; send it flatter.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Problem(
            400, "duplicate_key", f"The key '{printable(twice)}' comes twice in one object; send it once."
        )
    return members


def _constant(name: str, *, allow_nan: bool) -> float:
    if allow_nan and name == "NaN":
        return math.nan
    raise malformed(f"{name} is no JSON number; send {'a finite one, or NaN' if allow_nan else 'null'}")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Problem(
            400, "malformed_json", f"The number {text[:64]} is too large for a float; send a smaller one."
        )
    return value


def _cut_integer(text: str) -> int:
    """Python refuses to read integers of thousands of digits: cut them, for they are out of range in any case."""
    return int(text[:30])


def _short_integer(text: str) -> int:
    if len(text) > MAX_INTEGER_LENGTH:
        raise Problem(
            400,
            "malformed_json",
            f"The integer {text[:MAX_INTEGER_LENGTH]}... has more than 64 bits; send a smaller one.",
        )
    return int(text)
