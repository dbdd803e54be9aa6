"""YAML as people write configurations: the core schema of YAML 1.2, and none of what makes YAML dangerous.

Without anchors and aliases a short text cannot grow, a key that comes twice is refused, and times and words such as
`no` stay text.
"""

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

from driftline.common.errors import FieldFault, Problem
from driftline.common.strict_json import escape_pointer, find_fault

MAX_TEXT_BYTES = 2 * 1024 * 1024
MAX_YAML_DEPTH = 32
_INT = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


class _Reader(yaml.SafeLoader):
    """Reads plain mappings, sequences, text, numbers, booleans and null."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not read", event.start_mark
            )
        self.depth += 1
        if self.depth > MAX_YAML_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"it is nested deeper than {MAX_YAML_DEPTH} levels", event.start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        known: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                problem = "a key is no plain text"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in known:
                problem = f"the key {key[:64]!r} comes twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            known[key] = self.construct_object(value_node, deep=True)
        return known


_Reader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"), ["~", "n", ""])
_Reader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), ["t", "f"])
_Reader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Reader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def _mapping(reader: _Reader, node: Any) -> dict[Hashable, Any]:
    return reader.construct_mapping(node)


def _integer(node: Any) -> int:
    if len(node.value) > 20:
        raise yaml.constructor.ConstructorError(None, None, "an integer has too many digits", node.start_mark)
    return int(node.value)


def _finite(node: Any) -> float:
    number = float(node.value)
    if not math.isfinite(number):
        raise yaml.constructor.ConstructorError(None, None, "a number is too large", node.start_mark)
    return number


_Reader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Reader.add_constructor("tag:yaml.org,2002:int", lambda _, node: _integer(node))
_Reader.add_constructor("tag:yaml.org,2002:float", lambda _, node: _finite(node))


class _Writer(yaml.SafeDumper):
    """Writes text that the reader, and readers of YAML 1.1, would take for something else in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Writer.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_yaml(text: bytes) -> Any:
    """Read one document. Raises Problem 400 `malformed_yaml` with the line, or 422 for what cannot be stored."""
    try:
        value = yaml.load(text.decode(), Loader=_Reader)
    except UnicodeDecodeError as error:
        raise _malformed(f"it is not UTF-8 at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _malformed(f"{error.problem or 'it cannot be read'}{where}") from error
    except yaml.YAMLError as error:
        raise _malformed("it holds characters that no text has") from error
    except RecursionError as error:
        raise _malformed(f"it is nested deeper than {MAX_YAML_DEPTH} levels") from error
    if (fault := _find_fault(value)) is not None:
        raise Problem(422, fault.code, fault.detail, [fault])
    return value


def _find_fault(value: Any) -> FieldFault | None:
    """Find what cannot be stored; a document may have more models than an object of the API has keys."""
    if not isinstance(value, dict):
        return find_fault(value)
    for key, section in value.items():
        named = section.items() if isinstance(section, dict) else [("", section)]
        for name, item in named:
            pointer = f"/{escape_pointer(key)}" + (f"/{escape_pointer(name)}" if name else "")
            if fault := find_fault(name) or find_fault(item, pointer):
                return fault
    return None


def write_yaml(value: Any) -> str:
    """Write a document in the order of its keys."""
    return yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=110)


def _malformed(reason: str) -> Problem:
    return Problem(400, "malformed_yaml", f"This is not YAML that is read here: {reason}.")
