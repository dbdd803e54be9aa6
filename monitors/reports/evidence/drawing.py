"""Writes the sections of a pack as people read them, for its page and its PDF."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from driftline.base.number_format import format_number
from driftline.base.state_words import state_word, words
from monitors.metrics.catalogue import title_of
from monitors.reports.evidence.sections import Cell, EvidenceSection, EvidenceSubject, EvidenceTable

MAX_WORD_CHARACTERS = 30
"""Characters of a word that may be broken to fit a column, such as a hash."""
MIN_LINES_CHARACTERS = 120
"""Characters from which on a text gets a wide column; one of several lines does too."""


_STATES = ("status", "state", "severity", "action", "decision", "kind", "role", "outcome", "step")
"""Columns that may hold a name of the API, for which pages have a word."""
_CHANGES = ("before", "after")
_CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")


@dataclass(frozen=True)
class DrawnLink:
    """The numbered title of a section, and the key of that section."""

    key: str
    text: str


@dataclass(frozen=True)
class DrawnCell:
    """A text, or links to sections, and the class by which the page draws it."""

    text: str
    kind: str = ""
    links: Sequence[DrawnLink] = ()


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
    links = {
        one.key: DrawnLink(one.key, f"{number}. {one.title}") for number, one in enumerate(sections, start=1)
    }
    return DrawnPack(
        f"Evidence on {subject.model.name}",
        f"Project {subject.model.project.name} · {period} · made {_text(subject.now)} by Driftline",
        digest,
        [
            DrawnSection(
                one.key, links[one.key].text, one.sentences, [_draw(table, links) for table in one.tables]
            )
            for one in sections
        ],
    )


def _draw(one: EvidenceTable, links: Mapping[str, DrawnLink]) -> DrawnTable:
    shown = {name: heading for name, heading in one.columns.items() if name not in one.only_json}
    headings = [
        DrawnCell(heading, "number" if any(_is_number(row[name]) for row in one.rows) else "")
        for name, heading in shown.items()
    ]
    rows = [[_draw_cell(name, row[name], links) for name in shown] for row in one.rows]
    return DrawnTable(one.title, headings, rows, one.left_out)


def _draw_cell(name: str, cell: Cell, links: Mapping[str, DrawnLink]) -> DrawnCell:
    if name == "sections":
        named = [links[key] for key in str(cell).split(", ") if key in links]
        return DrawnCell(", ".join(one.text for one in named), kind="links", links=named)
    text = _text(_in_words(name, cell))
    if _is_number(cell):
        return DrawnCell(text, "number")
    if isinstance(cell, datetime):
        return DrawnCell(text, "moment")
    if "\n" in text or len(text) > MIN_LINES_CHARACTERS:
        return DrawnCell(text, "lines")
    return DrawnCell(text, "long" if any(len(word) > MAX_WORD_CHARACTERS for word in text.split()) else "")


def _in_words(name: str, cell: Cell) -> Cell:
    """Put the words of pages in the place of names that the API has."""
    if isinstance(cell, str) and name in _STATES and _CODE.fullmatch(cell):
        return state_word(cell)
    if isinstance(cell, str) and name == "metric":
        return title_of(cell)
    if isinstance(cell, Mapping) and name in _CHANGES:
        return {words(key): value for key, value in cell.items() if value not in (None, "", [], {})}
    return cell


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
            return "; ".join(_pair(name, value) for name, value in cell.items()) or "—"
        case _:
            return " · ".join(_text(value) for value in cell) or "—"


def _pair(name: str, value: Cell) -> str:
    is_metric = name.lower() == "metric" and isinstance(value, str)
    return f"{name}: {title_of(str(value)) if is_metric else _text(value)}"
