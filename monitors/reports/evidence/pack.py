"""Collects a pack section by section, and writes it as JSON, as a page that needs nothing else, and as PDF."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from django.template import Context, Engine

from driftline.base.extras import PDF, is_installed
from driftline.base.periods import rfc3339
from monitors.reports.evidence.about_model import objectives, purpose, versions
from monitors.reports.evidence.drawing import draw_pack
from monitors.reports.evidence.frameworks import frameworks
from monitors.reports.evidence.gaps import not_monitored
from monitors.reports.evidence.measurements import data_quality, drift, fairness, performance
from monitors.reports.evidence.pdf import write_pdf
from monitors.reports.evidence.reactions import approvals, incidents, runs
from monitors.reports.evidence.sections import EvidenceSection, EvidenceSubject
from monitors.reports.evidence.trail import audit

FORMAT = "driftline-evidence-1"
SECTIONS: Sequence[Callable[[EvidenceSubject], EvidenceSection]] = (
    purpose, versions, objectives, data_quality, drift, performance, fairness, incidents, runs, approvals, audit,
    not_monitored, frameworks,
)  # fmt: skip
_TEMPLATES = Engine(dirs=[str(Path(__file__).parent)])


@dataclass(frozen=True)
class EvidencePack:
    """A pack that was written; `sha256` is of the JSON, and stands on the page and in the PDF.

    `pdf` is empty where the extra for it is not installed.
    """

    html: str
    json: bytes
    pdf: bytes
    sha256: str


def make_pack(
    subject: EvidenceSubject, *, on_progress: Callable[[float], None] = lambda share: None
) -> EvidencePack:
    """Collect all sections and write the files; `on_progress` gets the share of the sections that is done.

    Nothing is locked, so two sections may differ by what arrived between them.
    """
    sections = []
    for done, section in enumerate(SECTIONS, start=1):
        sections.append(section(subject))
        on_progress(done / len(SECTIONS))
    content = msgspec.json.format(_encode(subject, sections), indent=1)
    digest = hashlib.sha256(content).hexdigest()
    drawn = draw_pack(subject, sections, digest)
    page = str(_TEMPLATES.get_template("pack.html").render(Context({"pack": drawn})))
    return EvidencePack(page, content, write_pdf(drawn) if is_installed(PDF) else b"", digest)


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
