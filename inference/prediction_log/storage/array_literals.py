"""Writes PostgreSQL arrays as one text each: thousands of values as a list would be as many expressions to parse."""

from collections.abc import Iterable


def text_array(texts: Iterable[str | None]) -> str:
    """Write a `text[]`; None becomes NULL."""
    return "{" + ",".join("NULL" if text is None else _quoted(text) for text in texts) + "}"


def integer_array(numbers: Iterable[int]) -> str:
    """Write a `bigint[]`."""
    return "{" + ",".join(map(str, numbers)) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
