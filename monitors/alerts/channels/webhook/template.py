"""Templates of webhooks: JSON with placeholders in its texts, such as `{"text": "{{ incident.title }}"}`.

A template has no loops and no conditions, so it takes no more time than its size, and what it makes is always JSON. A
text that is nothing but a placeholder becomes the value itself, be it a number, an object or a list; elsewhere the
value is written into the text. What an event does not have is null, and nothing within a text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import orjson

from driftline.base.strict_json import escape_pointer, find_fault, printable
from monitors.alerts.channels.webhook.samples import SAMPLES

MAX_TEMPLATE_BYTES = 20_000
MAX_PLACEHOLDERS = 200
MAX_RENDERED_BYTES = 256 * 1024
MAX_TEMPLATE_DEPTH = 20
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w{0,63}(?:\.\w{1,64}){0,10})\s*\}\}", re.ASCII)


class TemplateUnusable(Exception):
    """A template that makes no body; `pointer` is the JSON pointer of the place in it."""

    def __init__(self, text: str, pointer: str = "") -> None:
        super().__init__(text)
        self.pointer = pointer


@dataclass(frozen=True)
class Template:
    """A checked template: each of its placeholders is of what some event has."""

    tree: Any

    @classmethod
    def read(cls, tree: Any) -> Self:
        """Check a template; raises `TemplateUnusable`."""
        if not isinstance(tree, dict | list):
            raise TemplateUnusable('A template is a JSON object or list, such as {"text": "{{ text }}"}.')
        if fault := find_fault(tree):
            raise TemplateUnusable(fault.detail, fault.pointer)
        if len(orjson.dumps(tree)) > MAX_TEMPLATE_BYTES:
            raise TemplateUnusable(
                f"A template has at most {MAX_TEMPLATE_BYTES:,} bytes; leave parts of it out."
            )
        count = 0
        for pointer, text in _texts(tree):
            count += _check_placeholders(pointer, text)
        if count > MAX_PLACEHOLDERS:
            raise TemplateUnusable(
                f"A template has at most {MAX_PLACEHOLDERS} placeholders; this has {count:,}."
            )
        return cls(tree)

    def render(self, payload: dict[str, Any]) -> str:
        """Write the JSON that the template makes of a payload; raises `TemplateUnusable` where it is too large."""
        body = orjson.dumps(_mapped(self.tree, lambda text: _filled(text, payload)))
        if len(body) > MAX_RENDERED_BYTES:
            raise TemplateUnusable(
                f"the channel's template made {len(body):,} bytes, and at most {MAX_RENDERED_BYTES:,} are sent."
            )
        return body.decode()


def _texts(tree: Any, pointer: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """List the texts in a template, keys apart, each with its JSON pointer."""
    if depth > MAX_TEMPLATE_DEPTH:
        raise TemplateUnusable(f"A template nests at most {MAX_TEMPLATE_DEPTH} levels deep.", pointer)
    if isinstance(tree, str):
        return [(pointer, tree)]
    if isinstance(tree, dict):
        parts = [(f"{pointer}/{escape_pointer(key)}", value) for key, value in tree.items()]
    else:
        parts = [
            (f"{pointer}/{place}", value)
            for place, value in enumerate(tree if isinstance(tree, list) else ())
        ]
    return [found for at, value in parts for found in _texts(value, at, depth + 1)]


def _check_placeholders(pointer: str, text: str) -> int:
    """Return how many placeholders a text has; raises `TemplateUnusable`."""
    if "{{" in (rest := _PLACEHOLDER.sub("", text)):
        where = rest[rest.index("{{") :]
        raise TemplateUnusable(
            f"{printable(where)!r} is no placeholder; write one as {{{{ incident.title }}}}.", pointer
        )
    names = _PLACEHOLDER.findall(text)
    for name in names:
        if not any(_is_known(sample, name.split(".")) for sample in SAMPLES):
            raise TemplateUnusable(f"No event has {printable(name)!r}; {_alternatives(name)}.", pointer)
    return len(names)


def _is_known(value: Any, path: list[str]) -> bool:
    """Return whether a sample has a path; below what is empty in it there may be anything."""
    if not path or value is None or value in ({}, []):
        return True
    if isinstance(value, list):
        return path[0].isdecimal() and _is_known(value[0], path[1:])
    return isinstance(value, dict) and path[0] in value and _is_known(value[path[0]], path[1:])


def _alternatives(name: str) -> str:
    """Return what there is where a name leads nowhere: `incident has id, url, ...`."""
    value: Any = SAMPLES[0]
    known: list[str] = []
    for part in name.split("."):
        if not isinstance(value, dict) or not isinstance(value.get(part), dict):
            break
        value = value[part]
        known.append(part)
    names = ", ".join(value)
    return f"{'.'.join(known)} has {names}" if known else f"use one such as {names}"


def _mapped(tree: Any, fill: Callable[[str], Any]) -> Any:
    if isinstance(tree, str):
        return fill(tree)
    if isinstance(tree, dict):
        return {key: _mapped(value, fill) for key, value in tree.items()}
    return [_mapped(value, fill) for value in tree] if isinstance(tree, list) else tree


def _filled(text: str, payload: dict[str, Any]) -> Any:
    if whole := _PLACEHOLDER.fullmatch(text.strip()):
        return _value_at(payload, whole[1])
    return _PLACEHOLDER.sub(lambda found: _as_text(_value_at(payload, found[1])), text)


def _value_at(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
