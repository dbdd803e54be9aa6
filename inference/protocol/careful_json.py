"""JSON read with suspicion: says what is wrong with a body that a fast parser only refuses or lets pass."""

import json
from typing import Any

from inference.protocol.tensors import InvalidRequest, shorten

MAX_DEPTH = 32


def read_json(body: bytes) -> Any:
    """Read a JSON document; refuse what is not JSON, nests too deep, repeats a key or holds invalid text."""
    _check_depth(body)
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 at byte {error.start}; send JSON in UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error.msg} at character {error.pos}.") from None


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before a recursive parser meets it; brackets in strings do not count."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth, in_string, escaped = 0, False, False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidRequest(f"The body nests deeper than {MAX_DEPTH} levels; send it flatter.")
        elif byte in b"]}":
            depth -= 1


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


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidRequest(f"The number {shorten(text)} is too large for a float; send a smaller one.")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > 20:
        raise InvalidRequest(f"The whole number {text[:20]}... has more than 64 bits; send a smaller one.")
    return int(text)
