"""Advisory locks of different meaning have different numbers: else one kind of work waits for another, or deadlocks."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"\w*(?:_SPACE|_LOCK) = ([0-9_]+)|advisory\w*lock\w*\(([0-9_]+)")


def numbers() -> list[int]:
    """List the numbers of all advisory locks in the code."""
    return [
        int(next(filter(None, found.groups())))
        for drawer in ("inference", "monitors", "platform")
        for file in sorted((CHECKOUT / drawer).rglob("*.py"))
        for found in NUMBER.finditer(file.read_text())
    ]


def test_each_kind_of_advisory_lock_has_a_number_of_its_own() -> None:
    found = numbers()

    assert {7_301, 7_303, 7_305, 7_312} <= set(found)  # constants and a statement
    assert [number for number in set(found) if found.count(number) > 1] == []
