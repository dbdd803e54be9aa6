"""What callers of a champion rely on: a version that has it otherwise can never take the champion's place."""

from collections.abc import Mapping
from typing import Any

_SIDES = {
    "inputs": "other inputs",
    "outputs": "other outputs",
    "classes": "other classes",
    "positive_class": "another positive class",
    "missing": "other texts for missing values",
}


def contract_difference(champion: Mapping[str, Any], challenger: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a signature has otherwise than the champion's, and its values; empty where callers see nothing.

    A text for the missing values of a feature for which the champion has none is no difference: nobody sends them yet.
    """
    for side, words in _SIDES.items():
        expected, found = champion.get(side), challenger.get(side)
        if side == "missing":
            expected = expected or {}
            found = {name: text for name, text in (found or {}).items() if name in expected}
        if found != expected:
            return words, f"{_shown(found)} instead of {_shown(expected)}"
    return "", ""


def _shown(side: Any) -> str:
    if isinstance(side, Mapping):
        side = [f"{text!r} of {name}" for name, text in side.items()]
    if isinstance(side, str):
        return side[:300]
    texts = [
        f"{one['name']} {one['datatype']} {one['shape']}" if isinstance(one, dict) else str(one)
        for one in side or ()
    ]
    return (", ".join(texts) or "none")[:300]
