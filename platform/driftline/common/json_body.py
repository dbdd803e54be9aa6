"""The one strict gate for JSON that callers send: what other parsers let pass silently is refused with its place."""

import json
import re
from typing import Any, NoReturn

from driftline.common.errors import FieldFault, Problem

MAX_DEPTH = 32
MAX_KEYS = 1_000
MAX_KEY_LENGTH = 200
_INT64 = range(-(2**63), 2**63)
_MANY_OPENED = re.compile(rb"(?:[\[{]\s*(?:\"[^\"\\]{0,40}\"\s*:\s*)?){%d}" % (MAX_DEPTH + 1))
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # what PostgreSQL cannot keep as text


def read_json(body: bytes) -> Any:
    """Read a whole body: syntax first, then what PostgreSQL and int64 can hold. Raises Problem."""
    value = decode_json(body)
    fault = find_fault(value)
    if fault is not None:
        raise Problem(400 if fault.code == "too_deep" else 422, fault.code, fault.detail, [fault])
    return value


def decode_json(body: bytes) -> Any:
    """Read a body's syntax alone; strings and numbers in it are not judged yet. Raises Problem."""
    refuse_many_opened(body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"not UTF-8 at byte {error.start}") from error
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        raise malformed(f"{error.msg.lower()} at byte {offset}") from error
    except RecursionError as error:
        raise _too_deep() from error


def refuse_many_opened(body: bytes) -> None:
    """Refuse a body that opens level after level, before a parser makes anything of it. Raises Problem."""
    if _MANY_OPENED.search(body):
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
    if _UNSTORABLE.search(text):
        return FieldFault(pointer, "invalid_text", "Text may hold neither NUL nor half of a surrogate pair.")
    return None


def escape_pointer(key: str) -> str:
    """Write a key as one part of a JSON pointer (RFC 6901), cut and free of what cannot be printed."""
    return printable(key).replace("~", "~0").replace("/", "~1")


def printable(text: str) -> str:
    """Cut a caller's text to 64 characters and escape what does not print, so that an error may name it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:64])


def malformed(what: str) -> Problem:
    """Refuse a body that is not JSON."""
    return Problem(400, "malformed_json", f"The body is not JSON: {what}.")


def _too_deep() -> Problem:
    return Problem(400, "too_deep", f"The body nests deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Problem(400, "duplicate_key", f"An object has the key '{printable(twice)}' twice.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise malformed(f"{name} is no JSON number; send null")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise malformed(f"{text[:64]} is beyond what a number can hold; send null")
    return value


def _integer(text: str) -> int:
    """Python refuses to read integers of thousands of digits: cut them, for they are out of range in any case."""
    return int(text[:30])
