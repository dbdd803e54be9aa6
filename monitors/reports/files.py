"""Where a report's files lie: the HTML that its row names, and the same as JSON, of a pack also as PDF, beside it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from django.conf import settings

from monitors.reports.models import Report


class ReportFormat(StrEnum):
    """A format in which a report is given; Evidently's reports are never PDF."""

    HTML = "html"
    JSON = "json"
    PDF = "pdf"

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    ReportFormat.HTML: "text/html; charset=utf-8",
    ReportFormat.JSON: "application/json",
    ReportFormat.PDF: "application/pdf",
}


@dataclass(frozen=True)
class Made:
    """A finished report."""

    html: str
    json: bytes
    left_out: list[str]  # sentences about what it could not take
    pdf: bytes = b""  # of an evidence pack alone


def folder() -> Path:
    """Return the folder of the reports; it is made where it is missing."""
    found: Path = settings.HOME / "reports"
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


def formats_of(report: Report) -> list[ReportFormat]:
    """List the formats in which a report is made."""
    return [one for one in ReportFormat if one != ReportFormat.PDF or report.is_evidence]


def formats_there(report: Report) -> list[ReportFormat]:
    """List those in which a report that is ready has a file: without the extra `pdf` a pack has no PDF."""
    return [one for one in formats_of(report) if file_of(report, one).is_file()]


def file_of(report: Report, format: ReportFormat = ReportFormat.HTML) -> Path:
    """Return where a report that is ready lies in a format; see `formats_there`."""
    found: Path = settings.HOME / report.path
    return found.with_suffix(f".{format}")


def files_of(report: Report) -> list[Path]:
    """Return where the files of a report that is ready may lie."""
    return [file_of(report, one) for one in ReportFormat]


def remove(report: Report) -> None:
    """Delete a report's files, if it has any."""
    if report.path:
        for path in files_of(report):
            path.unlink(missing_ok=True)


def remove_leftovers() -> None:
    """Remove the files of reports that are gone, and drafts of workers that died.

    The files are listed first, then those being made: what was there then is named by a row or is gone for good.
    """
    found = list(folder().iterdir())
    running = {
        str(pk) for pk in Report.objects.filter(state=Report.State.RUNNING).values_list("pk", flat=True)
    }
    named = {Path(path).stem for path in Report.objects.exclude(path="").values_list("path", flat=True)}
    for path in found:
        if path.stem.lstrip(".").partition("-")[0] not in named | running:
            path.unlink(missing_ok=True)
