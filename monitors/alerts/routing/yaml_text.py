"""YAML as people write routing trees, read so that text stays text, and nothing can grow while it is read."""

import re
from typing import Any

import yaml

from driftline.common.errors import invalid
from driftline.common.strict_json import UNSTORABLE_TEXT, is_storable, printable
from monitors.alerts.routing.document import MAX_BYTES

MAX_NESTING = 30


class _Loader(yaml.SafeLoader):
    """Reads scalars as text, apart from `true`, `false` and `null`; refuses references and keys that come twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _fault(event.start_mark, "a reference, & or *, cannot be used here: write it out")
        self._nesting = getattr(self, "_nesting", 0) + 1
        if self._nesting > MAX_NESTING:
            raise _fault(event.start_mark, f"this nests deeper than {MAX_NESTING} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._nesting -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault(key.start_mark, "a key is a word")
            if key.value in seen:
                raise _fault(key.start_mark, f"the key '{printable(key.value)}' comes twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])


class _Dumper(yaml.SafeDumper):
    """Indents the entries of lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def read_yaml(text: str, pointer: str = "") -> Any:
    """Read one YAML document of up to 10 KB: mappings, lists, texts, booleans and nulls. Raises a 422 `Problem`."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise invalid(
            pointer, f"The text is longer than {MAX_BYTES:,} bytes; join routes, or leave comments out."
        )
    if not is_storable(text):
        raise invalid(pointer, UNSTORABLE_TEXT)
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"Line {mark.line + 1}, column {mark.column + 1}" if mark else "This is no YAML"
        raise invalid(pointer, f"{where}: {error.problem}.", "malformed_yaml") from error
    except (yaml.YAMLError, ValueError) as error:
        raise invalid(
            pointer, "This is no YAML: it has characters that cannot be printed.", "malformed_yaml"
        ) from error


def write_yaml(document: Any) -> str:
    """Write a document as YAML that reads as the same document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _fault(mark: yaml.Mark, sentence: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=sentence, problem_mark=mark)
