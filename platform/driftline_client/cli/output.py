"""Write tables, JSON and progress for people and scripts."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the named fields of rows under their titles; `columns` holds {field: title}."""
    lines = [[text(row.get(field)) for field in columns] for row in rows]
    table = [list(columns.values()), *lines]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def text(value: Any) -> str:
    """Write a value on one line: what a terminal would obey, which names of features may hold, is escaped."""
    if value is None or value == "":
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text, value)) or "-"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value))


class Status:
    """Messages on standard error: lines that stay, and one that is written over where that is a terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._width = 0

    def line(self, message: str) -> None:
        """Write a line that stays."""
        self.clear()
        print(text(message), file=sys.stderr, flush=True)

    def update(self, message: str) -> None:
        """Show how far something is; only on a terminal, in place of what was shown before."""
        if not self._is_terminal:
            return
        shown = text(message)
        print(f"\r{shown.ljust(self._width)}", end="", file=sys.stderr, flush=True)
        self._width = len(shown)

    def clear(self) -> None:
        """Remove what `update` showed."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
            self._width = 0
