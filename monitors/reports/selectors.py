"""Reads of reports."""

from typing import IO

from django.db.models import QuerySet

from driftline.base.errors import Problem, not_found
from driftline.base.extras import PDF, require
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from monitors.reports import files
from monitors.reports.choices import METHODS, SEED
from monitors.reports.files import ReportFormat
from monitors.reports.models import Report


def reports_of(model: Model) -> QuerySet[Report]:
    """List a model's reports."""
    return model.reports.select_related("model__project", "version", "reference__version")


def get_report(*, model: Model, report_id: int) -> Report:
    """Find a report of this model."""
    found = reports_of(model).filter(pk=report_id).first()
    if found is None:
        raise not_found("report")
    return found


def right_of(report: Report) -> str:
    """Return the key of the table of rights for opening, deleting or repeating a report."""
    return "evidence" if report.is_evidence else "report"


def open_report(report: Report, format: ReportFormat = ReportFormat.HTML) -> IO[bytes]:
    """Open a report's file; raises Problem `report_not_ready` (409), `report_lost` (410), `extra_missing` (501)."""
    if report.state != Report.State.READY:
        raise Problem(409, "report_not_ready", f"The report is {report.state}; read it again later.")
    try:
        return files.file_of(report, format).open("rb")
    except FileNotFoundError as error:
        if format == ReportFormat.PDF:
            require(PDF)
        raise Problem(410, "report_lost", _why_lost(report, format)) from error


def _why_lost(report: Report, format: ReportFormat) -> str:
    if format == ReportFormat.PDF and files.formats_there(report):
        return "This pack was made where no PDF could be written; make it again, or take it as HTML."
    return "The report's file is missing; ask for the report again."


def about(report: Report) -> str:
    """Describe in sentences what a report is about, as it stands on the report itself."""
    if report.is_evidence:
        return f"Evidence on {report.model.name}, {rfc3339(report.start)} to {rfc3339(report.end)}."
    version = f"version {report.version.version}" if report.version else "what callers were answered"
    segment = f", rows of {report.segment}" if report.segment else ""
    sentences = [
        f"{report.get_preset_display()} of {report.model.name}: {version}{segment}, "
        f"{rfc3339(report.start)} to {rfc3339(report.end)}.",
        f"{_rows(report.rows, report.rows_used)}{_beside(report)}.",
    ]
    methods = [known[name] for field, known in METHODS.items() if (name := getattr(report, field)) in known]
    if methods:
        sentences.append(f"Tests: {', '.join(methods)}.")
    sentences += [f"Left out: {one}." for one in report.left_out]
    return " ".join(sentences)


def _rows(rows: int | None, used: int | None) -> str:
    if rows is None or used is None:
        return "Rows are not counted yet"
    return f"{rows:,} rows" if rows == used else f"{used:,} of {rows:,} rows, drawn with seed {SEED}"


def _beside(report: Report) -> str:
    if not report.has_reference or report.reference_rows is None:
        return ", beside no reference"
    if report.reference_start and report.reference_end:
        source = f"the log from {rfc3339(report.reference_start)} to {rfc3339(report.reference_end)}"
    else:
        source = (
            f"the reference of version {report.reference.version.version}"
            if report.reference
            else "a reference"
        )
    return f", beside {source}: {_rows(report.reference_rows, report.reference_rows_used)}"
