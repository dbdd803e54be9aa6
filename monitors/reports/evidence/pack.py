"""Collects a pack section by section, and writes it as JSON and as a page that needs nothing else."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from django.template import Context, Engine

from driftline.common.number_format import format_number
from driftline.common.periods import rfc3339
from monitors.reports.evidence.about_model import objectives, purpose, versions
from monitors.reports.evidence.frameworks import frameworks
from monitors.reports.evidence.gaps import not_monitored
from monitors.reports.evidence.measurements import data_quality, drift, fairness, performance
from monitors.reports.evidence.reactions import approvals, incidents, runs
from monitors.reports.evidence.sections import Cell, EvidenceSection, EvidenceSubject, EvidenceTable
from monitors.reports.evidence.trail import audit

FORMAT = "driftline-evidence-1"
SECTIONS: Sequence[Callable[[EvidenceSubject], EvidenceSection]] = (
    purpose, versions, objectives, data_quality, drift, performance, fairness, incidents, runs, approvals, audit,
    not_monitored, frameworks,
)  # fmt: skip
_TEMPLATES = Engine(dirs=[str(Path(__file__).parent)])


@dataclass(frozen=True)
class EvidencePack:
    """A pack that was written; `sha256` is of the JSON, and stands on the page."""

    html: str
    json: bytes
    sha256: str


def make_pack(
    subject: EvidenceSubject, *, on_progress: Callable[[float], None] = lambda share: None
) -> EvidencePack:
    """Collect all sections and write both files; `on_progress` gets the share of the sections that is done.

    Nothing is locked, so two sections may differ by what arrived between them.
    """
    sections = []
    for done, section in enumerate(SECTIONS, start=1):
        sections.append(section(subject))
        on_progress(done / len(SECTIONS))
    content = msgspec.json.format(_encode(subject, sections), indent=1)
    digest = hashlib.sha256(content).hexdigest()
    return EvidencePack(_page(subject, sections, digest), content, digest)


def _encode(subject: EvidenceSubject, sections: Sequence[EvidenceSection]) -> bytes:
    return msgspec.json.encode(
        {
            "format": FORMAT,
            "model": subject.model.name,
            "project": subject.model.project.slug,
            "from": rfc3339(subject.period.start),
            "to": rfc3339(subject.period.end),
            "made_at": rfc3339(subject.now),
            "sections": [_plain(section) for section in sections],
        }
    )


def _plain(section: EvidenceSection) -> dict[str, Any]:
    return {
        "key": section.key,
        "title": section.title,
        "sentences": list(section.sentences),
        "tables": [
            {
                "title": one.title,
                "columns": dict(one.columns),
                "rows": [
                    {
                        name: rfc3339(cell) if isinstance(cell, datetime) else cell
                        for name, cell in row.items()
                    }
                    for row in one.rows
                ],
                "left_out": one.left_out,
            }
            for one in section.tables
        ],
    }


# -- the page ----------------------------------------------------------------------------------------------------------
MAX_WORD_CHARACTERS = 30
"""Characters of a word that may be broken to fit a column, such as a hash."""


@dataclass(frozen=True)
class _DrawnCell:
    """A text, and the class by which the page draws it."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class _DrawnTable:
    title: str
    headings: Sequence[_DrawnCell]
    rows: Sequence[Sequence[_DrawnCell]]
    left_out: int


def _page(subject: EvidenceSubject, sections: Sequence[EvidenceSection], digest: str) -> str:
    context = {
        "subject": subject,
        "start": _text(subject.period.start),
        "end": _text(subject.period.end),
        "made_at": _text(subject.now),
        "sections": [(section, [_draw(one) for one in section.tables]) for section in sections],
        "digest": digest,
    }
    return str(_TEMPLATES.get_template("pack.html").render(Context(context)))


def _draw(one: EvidenceTable) -> _DrawnTable:
    headings = [
        _DrawnCell(heading, "number" if any(_is_number(row[name]) for row in one.rows) else "")
        for name, heading in one.columns.items()
    ]
    rows = [[_draw_cell(row[name]) for name in one.columns] for row in one.rows]
    return _DrawnTable(one.title, headings, rows, one.left_out)


def _draw_cell(cell: Cell) -> _DrawnCell:
    text = _text(cell)
    if _is_number(cell):
        return _DrawnCell(text, "number")
    return _DrawnCell(text, "long" if any(len(word) > MAX_WORD_CHARACTERS for word in text.split()) else "")


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
