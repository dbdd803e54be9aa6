"""Routing trees as YAML: all that they say is text, so that `08:00` is no number."""

from typing import Any

from driftline.base import yaml_text
from driftline.base.errors import invalid
from driftline.base.strict_json import UNSTORABLE_TEXT, is_storable
from monitors.alerts.routing.document import MAX_BYTES


def read_tree(text: str, pointer: str = "") -> Any:
    """Read a tree of up to 10 KB: mappings, lists, texts, booleans and nulls. Raises a 422 `Problem`."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise invalid(
            pointer, f"The text is longer than {MAX_BYTES:,} bytes; join routes, or leave comments out."
        )
    if not is_storable(text):
        raise invalid(pointer, UNSTORABLE_TEXT)
    return yaml_text.read_yaml(text, pointer=pointer)
