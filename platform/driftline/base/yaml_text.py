"""YAML as people write documents, read so that nothing can grow while it is read, and text stays text.

Anchors and aliases, keys that come twice or are no words, and deep nesting are refused. Words such as `no` and times
are text: only `true`, `false` and `null` are not, and numbers where a reader takes them.
"""

import math
import re
from typing import Any

import yaml

from driftline.base.errors import invalid
from driftline.base.strict_json import printable

MAX_NESTING = 30
MAX_DIGITS = 20
_INT = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


class TextReader(yaml.SafeLoader):
    """Reads mappings, lists, text, booleans and null."""

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
        """Take each key as the text that it is written as."""
        found: dict[Any, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault(key.start_mark, "a key is a word")
            if key.value in found:
                raise _fault(key.start_mark, f"the key '{printable(key.value)}' comes twice")
            found[key.value] = self.construct_object(value, deep=True)
        return found


TextReader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
TextReader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])


class NumberReader(TextReader):
    """Reads numbers too, as the core schema of YAML 1.2 does; those with leading zeros are text."""

    yaml_implicit_resolvers: dict[str, Any] = {
        letter: list(resolvers) for letter, resolvers in TextReader.yaml_implicit_resolvers.items()
    }


def _integer(_: yaml.SafeLoader, node: Any) -> int:
    if len(node.value) > MAX_DIGITS:
        raise _fault(node.start_mark, "an integer has too many digits")
    return int(node.value)


def _finite(_: yaml.SafeLoader, node: Any) -> float:
    number = float(node.value)
    if not math.isfinite(number):
        raise _fault(node.start_mark, "a number is too large")
    return number


NumberReader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
NumberReader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
NumberReader.add_constructor("tag:yaml.org,2002:int", _integer)
NumberReader.add_constructor("tag:yaml.org,2002:float", _finite)


class _Writer(yaml.SafeDumper):
    """Writes in quotes what some reader would not take for text, and entries of lists below their key."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Writer.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_yaml(text: str, reader: type[TextReader] = TextReader, *, pointer: str = "") -> Any:
    """Read one document. Raises a 422 `Problem` `malformed_yaml` at the pointer, which names line and column."""
    try:
        return yaml.load(text, reader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"Line {mark.line + 1}, column {mark.column + 1}" if mark else "This is no YAML"
        raise invalid(pointer, f"{where}: {error.problem}.", "malformed_yaml") from error
    except (yaml.YAMLError, ValueError) as error:
        detail = "This is no YAML: it has characters that cannot be printed."
        raise invalid(pointer, detail, "malformed_yaml") from error


def write_yaml(document: Any) -> str:
    """Write a document as YAML that reads as the same document, in the order of its keys."""
    return yaml.dump(document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)


def _fault(mark: yaml.Mark, sentence: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=sentence, problem_mark=mark)
