"""Configurations as YAML."""

from typing import Any

from driftline.base import yaml_text
from driftline.base.errors import FieldFault, Problem, invalid
from driftline.base.strict_json import escape_pointer, find_fault

MAX_TEXT_BYTES = 2 * 1024 * 1024


def read_document(text: bytes) -> Any:
    """Read one document. Raises a 422 `Problem` with the line, or with the place of what cannot be stored."""
    try:
        value = yaml_text.read_yaml(text.decode(), yaml_text.NumberReader)
    except UnicodeDecodeError as error:
        raise invalid("", f"This is not UTF-8 at byte {error.start:,}.", "malformed_yaml") from error
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
