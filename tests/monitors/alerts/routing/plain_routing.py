"""The routing tree in the fewest words, over documents as they are written: what the real one is compared with."""

import re
from collections.abc import Mapping
from typing import Any

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
INHERITED = {
    "channels": None, "group_wait": "30s", "group_interval": "5m", "repeat_interval": None,
    "escalate_after": None, "escalate_to": [],
}  # fmt: skip


def holds(matcher: str, labels: Mapping[str, str]) -> bool:
    """Tell whether labels meet a matcher that is written without escapes."""
    label, operator, value = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', matcher).groups()  # type: ignore[union-attr]
    found = labels.get(label, "")
    equal = re.fullmatch(value, found) is not None if "~" in operator else found == value
    return equal != operator.startswith("!")


def destinations(
    route: dict[str, Any], labels: Mapping[str, str], above: dict[str, Any] = INHERITED
) -> list[dict[str, Any]]:
    """List what each route that takes the labels says, with what it has from above, depth first."""
    own = {key: route.get(key, value) for key, value in above.items()}
    found = []
    for below in route.get("routes", []):
        if all(holds(matcher, labels) for matcher in below.get("matchers", [])):
            found += destinations(below, labels, own)
            if not below.get("continue"):
                break
    return found or [own]


def seconds(text: str | None) -> float | None:
    return None if text is None else float(int(text[:-1]) * SECONDS[text[-1]])
