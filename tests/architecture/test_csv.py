"""Every CSV goes through the one writer whose cells no spreadsheet takes for formulas."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
WRITERS = re.compile(r"csv\.(writer|DictWriter)\(|csv\.(write_csv|CSVWriter)|\.to_csv\(")
ALLOWED = {
    "platform/driftline/base/http/exports.py",  # the one
    "platform/driftline_client/references.py",  # what the client uploads has to arrive as it is
}


def test_nothing_else_writes_csv() -> None:
    folders = [CHECKOUT / name for name in ("platform", "inference", "monitors")]
    sources = [path for folder in folders for path in folder.rglob("*.py")]

    writers = {str(path.relative_to(CHECKOUT)) for path in sources if WRITERS.search(path.read_text())}

    assert writers == ALLOWED
