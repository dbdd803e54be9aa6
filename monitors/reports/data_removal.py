"""How reports go: with the rows of a subject that is erased, and with a model."""

from collections.abc import Callable
from functools import partial

from django.db.models.functions import Now

from driftline.base.feature import DataRemoval, ErasureStep
from driftline.base.periods import to_us
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.erasure.texts import scrub
from inference.prediction_log.erasure.work import Blocked, Work, add_counts
from inference.registry.models import Model
from monitors.reports import files
from monitors.reports.files import ReportFormat
from monitors.reports.models import Report
from monitors.reports.services import AFRESH, delete_report
from monitors.summaries.erasure import segments_of_subject


def build_reports_again(work: Work) -> None:
    """Build the reports anew whose rows held an erased one, or which name the key; one of a segment that is the
    subject goes.

    What nobody has begun with will be of the clean log.
    """
    reports = Report.objects.filter(model__project=work.project).order_by("pk")
    for model in work.models:
        for report in reports.filter(model=model, segment__in=segments_of_subject(model, work.subject)):
            delete_report(report=report, actor="erasure")
            work.count(reports=1)
    begun = reports.filter(state=Report.State.RUNNING, lease_until__gt=Now()).first()
    if begun is not None:
        raise Blocked(str(begun))
    for report in reports.filter(state=Report.State.READY).select_related("reference__dataset"):
        if _is_of_erased_rows(work, report) or _names_key(work, report):
            files.remove(report)
            with work.fenced() as erasure:
                reports.filter(pk=report.pk).begin_again(**AFRESH)
                add_counts(erasure, {"reports": 1})
                enqueue(Task.LONG_WORK)


def _is_of_erased_rows(work: Work, report: Report) -> bool:
    """Return whether a window of the report held an erased row, or the reference's file is another since."""
    dataset = report.reference and report.reference.dataset
    if dataset and report.reference_sha256 not in ("", dataset.sha256):
        return True
    times = [row.time_us for row in work.subject.rows if row.model_id == report.model_id]
    windows = [(report.start, report.end), (report.reference_start, report.reference_end)]
    return any(
        start is not None and end is not None and to_us(start) <= time < to_us(end)
        for start, end in windows
        for time in times
    )


def _names_key(work: Work, report: Report) -> bool:
    """Look into the files of which the PDF, which is compressed, is a copy."""
    paths = [files.file_of(report, one) for one in (ReportFormat.HTML, ReportFormat.JSON)]
    return any(work.subject.is_in_bytes(path.read_bytes()) for path in paths if path.exists())


def scrub_reports(work: Work) -> None:
    """Replace the key in what the table of reports says of them."""
    scrub(work, Report.objects.filter(model__project=work.project), "error", "left_out", "segment")


def _delete_of_model(model: Model) -> Callable[[], None]:
    written = list(model.reports.exclude(path=""))
    Report.objects.filter(model=model).delete()
    return partial(_remove_files, written)


def _remove_files(reports: list[Report]) -> None:
    for report in reports:
        files.remove(report)


DATA_REMOVAL = DataRemoval(
    erasure=[
        ErasureStep("reports", after="points", erase=build_reports_again),
        ErasureStep("texts of reports", after="texts", erase=scrub_reports),
    ],
    counts=lambda model: [(model.reports.count(), "report")],
    delete_of_model=_delete_of_model,
)
