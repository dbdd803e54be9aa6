"""Writes the sections of a pack as people read them, for its page and its PDF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from driftline.common.number_format import format_number
from monitors.reports.evidence.sections import Cell, EvidenceSection, EvidenceSubject, EvidenceTable

MAX_WORD_CHARACTERS = 30
"""Characters of a word that may be broken to fit a column, such as a hash."""


@dataclass(frozen=True)
class DrawnCell:
    """A text, and the class by which the page draws it."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class DrawnTable:
    title: str
    headings: Sequence[DrawnCell]
    rows: Sequence[Sequence[DrawnCell]]
    left_out: int


@dataclass(frozen=True)
class DrawnSection:
    key: str
    title: str
    sentences: Sequence[str]
    tables: Sequence[DrawnTable]


@dataclass(frozen=True)
class DrawnPack:
    """Everything that a person reads of a pack; `digest` is the SHA-256 of its JSON."""

    title: str
    about: str
    digest: str
    sections: Sequence[DrawnSection]


def draw_pack(subject: EvidenceSubject, sections: Sequence[EvidenceSection], digest: str) -> DrawnPack:
    """Write all cells of a pack as text."""
    period = f"{_text(subject.period.start)} to {_text(subject.period.end)}"
    return DrawnPack(
        f"Evidence on {subject.model.name}",
        f"Project {subject.model.project.name} · {period} · made {_text(subject.now)} by Driftline",
        digest,
        [
            DrawnSection(
                one.key, f"{number}. {one.title}", one.sentences, [_draw(table) for table in one.tables]
            )
            for number, one in enumerate(sections, start=1)
        ],
    )


def _draw(one: EvidenceTable) -> DrawnTable:
    headings = [
        DrawnCell(heading, "number" if any(_is_number(row[name]) for row in one.rows) else "")
        for name, heading in one.columns.items()
    ]
    rows = [[_draw_cell(row[name]) for name in one.columns] for row in one.rows]
    return DrawnTable(one.title, headings, rows, one.left_out)


def _draw_cell(cell: Cell) -> DrawnCell:
    text = _text(cell)
    if _is_number(cell):
        return DrawnCell(text, "number")
    return DrawnCell(text, "long" if any(len(word) > MAX_WORD_CHARACTERS for word in text.split()) else "")


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _text(cell: Cell) -> str:
    """Write a cell as people read it."""
    match cell:
        case None | "":
            return "—"
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return format_number(cell, 4)
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M} UTC"
        case str():
            return cell
        case Mapping():
            return "; ".join(f"{name}: {_text(value)}" for name, value in cell.items()) or "—"
        case _:
            return " · ".join(_text(value) for value in cell) or "—"
