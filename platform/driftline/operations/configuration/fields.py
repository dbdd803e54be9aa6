"""Fields of an item by one name each: what stands in a group is named with a dot, as `settings.kind` is."""

from collections.abc import Mapping, Sequence
from typing import Any


def flat(document: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """Return what a document says with what stands in its groups beside the rest."""
    plain = {name: value for name, value in document.items() if name not in groups}
    return plain | {
        f"{group}.{name}": value for group in groups for name, value in document.get(group, {}).items()
    }


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write flat fields as the document has them."""
    written: dict[str, Any] = {}
    for name, value in fields.items():
        group, dot, field = name.partition(".")
        if dot:
            written.setdefault(group, {})[field] = value
        else:
            written[name] = value
    return written
