"""Advisory locks are taken by their names in one table, and their numbers differ."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NUMBERED = re.compile(r"advisory\w*lock\w*\([0-9]")


def test_no_statement_takes_an_advisory_lock_by_number() -> None:
    found = [
        str(file.relative_to(CHECKOUT))
        for drawer in ("inference", "monitors", "platform")
        for file in sorted((CHECKOUT / drawer).rglob("*.py"))
        if NUMBERED.search(file.read_text())
    ]

    assert found == []
