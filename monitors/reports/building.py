"""Builds a report in a worker: reads rows, has Evidently compute, stores the files; each step under a lease.

Of an evidence pack no row is read, and Evidently is not asked.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, transaction

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.durable_files import replacing, sync_to_disk
from driftline.base.periods import Period
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.lease import LeaseLost
from driftline.base.work.leased_work import (
    TOOK_TOO_LONG,
    LeasedQuerySet,
    WorkFailed,
    WorkLease,
    claim,
    work_under,
)
from inference.registry.selectors import signature_of, unlearnt_signature
from inference.signatures import Signature
from monitors.definitions.choosing import file_reference
from monitors.definitions.models import Reference, Segment
from monitors.reports import files
from monitors.reports.answers import classification_columns, regression_columns
from monitors.reports.choices import EQUAL_ROWS, METHODS, SEED, most_rows
from monitors.reports.columns import NoReport, data_columns, texts_among
from monitors.reports.evidence.pack import make_pack
from monitors.reports.evidence.sections import EvidenceSubject
from monitors.reports.files import Made
from monitors.reports.models import Preset, Report
from monitors.reports.rows import ReportRows, conditions_of, read_log, read_reference
from monitors.reports.selectors import about, reports_of
from monitors.stats.segments.conditions import RowCondition

log = logging.getLogger(__name__)

_READ, _COMPUTED = 0.5, 0.9  # shares of the progress


@dataclass(frozen=True)
class Making:
    """A report that is being made, and the right to write to its row."""

    report: Report
    lease: WorkLease[Report]

    def write(self, **values: Any) -> None:
        """Change the row, here as well; raises LeaseLost where the right to it is lost."""
        self.lease.write(**values)
        for name, value in values.items():
            setattr(self.report, name, value)


def build(report_id: int) -> bool:
    """Make a report that was asked for; whatever comes of it, its row says so. False where it cannot begin now."""
    lease = _claim(report_id)
    if lease is not None:
        work_under(lease, _try)
    return lease is not None


def reports_to_build() -> LeasedQuerySet[Report]:
    """Select the reports that wait; none while one is made, for each needs hundreds of MB."""
    if Report.objects.running().exists():
        return Report.objects.none()
    return Report.objects.waiting()


def _claim(report_id: int) -> WorkLease[Report] | None:
    with transaction.atomic():
        lock(AdvisoryLock.REPORT_START, 0)
        return claim(
            reports_to_build().filter(pk=report_id),
            state=Report.State.RUNNING,
            stage=Report.Stage.READING,
            progress=0.0,
            left_out=[],
        )


def _try(lease: WorkLease[Report]) -> None:
    making = Making(reports_of(lease.read().model).get(pk=lease.pk), lease)
    try:
        _build(making)
    except NoReport as why:
        raise WorkFailed(str(why)) from why
    except FileNotFoundError as error:
        raise WorkFailed("The reference's file is gone; upload it again, or choose another.") from error
    except SoftTimeLimitExceeded as error:
        raise WorkFailed(f"{TOOK_TOO_LONG} Choose a shorter window, a segment or a faster test.") from error
    except (LeaseLost, DatabaseError, MemoryError):
        raise
    except Exception as error:  # whatever Evidently raises, the person who asked must see that it failed
        log.exception("a report failed", extra={"report": lease.pk})
        if making.report.is_evidence:
            raise WorkFailed(
                f"Its sections cannot be collected ({type(error).__name__}; the server's log says more)."
            ) from error
        raise WorkFailed(
            f"Evidently cannot compute it from these rows ({type(error).__name__}; the server's log says more). "
            "Choose another window, or another preset."
        ) from error


def _build(making: Making) -> None:
    made = _make_evidence(making) if making.report.is_evidence else _make_of_rows(making)
    making.write(stage=Report.Stage.STORING, progress=_COMPUTED)
    _store(making, made)


def _make_evidence(making: Making) -> Made:
    report = making.report
    making.write(stage=Report.Stage.COMPUTING)
    pack = make_pack(
        EvidenceSubject(report.model, Period(report.start, report.end), now()),
        on_progress=lambda share: making.write(progress=_COMPUTED * share),
    )
    return Made(pack.html, pack.json, [], pack.pdf)


def _make_of_rows(making: Making) -> Made:
    report = making.report
    reference = _reference_of(report)
    sides = _read(making, reference)
    making.write(
        stage=Report.Stage.COMPUTING,
        progress=_READ,
        reference=reference,
        reference_sha256=reference.dataset.sha256 if reference and reference.dataset else "",
        rows=sides[0].total,
        rows_used=len(sides[0]),
        reference_rows=sides[1].total if sides[1] else None,
        reference_rows_used=len(sides[1]) if sides[1] else None,
    )
    return _COMPUTE[report.preset](making, *sides, reference)


def _reference_of(report: Report) -> Reference | None:
    """Find the reference's file; one that was deleted since is replaced by the one in use."""
    if not report.has_reference or report.reference_start is not None:
        return None
    found = report.reference or file_reference(
        model=report.model, version_id=report.version_id or report.model.deployment.champion_id
    )
    if found is None:
        raise NoReport("The model has no reference any more; upload one and try again.")
    return found


def _conditions(report: Report) -> Sequence[RowCondition]:
    try:
        return conditions_of(report.segment, report.model)
    except Segment.DoesNotExist as error:
        raise NoReport(f"The segment {report.segment} was removed; choose another.") from error


# -- reading -----------------------------------------------------------------------------------------------------------
def _read(making: Making, reference: Reference | None) -> tuple[ReportRows, ReportRows | None]:
    report = making.report
    methods = [getattr(report, field) for field in METHODS]
    most = most_rows(methods)
    segment = _conditions(report)
    parts = 1 if report.reference_start is None else 2

    def read(start: Any, end: Any, part: int) -> ReportRows:
        return read_log(
            report.model, Period(start, end), version_id=report.version_id, segment=segment, most=most,
            rng=np.random.default_rng([SEED, part]), on_progress=_teller(making, part / parts, 1 / parts),
        )  # fmt: skip

    window = read(report.start, report.end, 0)
    if not len(window):
        of_segment = f" of {report.segment}" if report.segment else ""
        raise NoReport(f"The log has no rows{of_segment} in this window; choose another.")
    usual = None
    if report.reference_start is not None:
        usual = read(report.reference_start, report.reference_end, 1)
    elif reference is not None:
        usual = read_reference(reference, segment=segment, most=most, rng=np.random.default_rng([SEED, 1]))
    if usual is not None and not len(usual):
        raise NoReport("The reference has no such rows; choose another reference, or another segment.")
    if usual is not None and any(name in EQUAL_ROWS for name in methods):
        return _of_equal_length(window, usual)
    return window, usual


def _teller(making: Making, begin: float, share: float) -> Callable[[float], None]:
    return lambda read: making.write(progress=_READ * (begin + share * read))


def _of_equal_length(window: ReportRows, usual: ReportRows) -> tuple[ReportRows, ReportRows]:
    rng, rows = np.random.default_rng([SEED, 2]), min(len(window), len(usual))
    return (
        window.take(np.sort(rng.choice(len(window), rows, replace=False))),
        usual.take(np.sort(rng.choice(len(usual), rows, replace=False))),
    )


# -- computing ---------------------------------------------------------------------------------------------------------
# Evidently takes seconds and 280 MB to import: only a worker that has something for it to compute does that.
def _drift(making: Making, window: ReportRows, usual: ReportRows | None, reference: Reference | None) -> Made:
    columns = data_columns(window, usual, importance=_importance(reference), needs_values=True)
    assert columns.reference is not None
    methods = {field: name for field in METHODS if (name := getattr(making.report, field))}
    texts = texts_among(columns.reference) if "text_method" in methods else []
    if "text_method" in methods and not texts:
        raise NoReport(
            "No column is text of which most values differ, which tests of text are for; choose no test of text."
        )
    from monitors.reports.evidently import drift_report

    return drift_report(
        columns.current,
        columns.reference,
        methods=methods,
        texts=texts,
        about=_tell(making, columns.left_out),
    )


def _summary(
    making: Making, window: ReportRows, usual: ReportRows | None, reference: Reference | None
) -> Made:
    columns = data_columns(window, usual, importance=_importance(reference), needs_values=False)
    from monitors.reports.evidently import summary_report

    return summary_report(columns.current, columns.reference, about=_tell(making, columns.left_out))


def _classification(
    making: Making, window: ReportRows, usual: ReportRows | None, reference: Reference | None
) -> Made:
    signature = _signature(making.report, reference)
    positive = signature.positive_class if signature.task == "binary" else None
    columns = classification_columns(window, usual, classes=signature.classes, positive=positive)
    from monitors.reports.evidently import Answers, classification_report

    answers = Answers(positive, columns.probabilities, columns.threshold)
    return classification_report(
        columns.current, columns.reference, answers, about=_tell(making, columns.left_out)
    )


def _regression(making: Making, window: ReportRows, usual: ReportRows | None, _: Reference | None) -> Made:
    columns = regression_columns(window, usual)
    from monitors.reports.evidently import regression_report

    return regression_report(columns.current, columns.reference, about=_tell(making, columns.left_out))


_COMPUTE: dict[str, Callable[[Making, ReportRows, ReportRows | None, Reference | None], Made]] = {
    Preset.DATA_DRIFT: _drift,
    Preset.DATA_SUMMARY: _summary,
    Preset.CLASSIFICATION: _classification,
    Preset.REGRESSION: _regression,
}


def _importance(reference: Reference | None) -> dict[str, float]:
    return reference.importance if reference else {}


def _signature(report: Report, reference: Reference | None) -> Signature:
    """Read which classes there are, of the version that is reported on, or whose reference is used."""
    version = report.version or (reference.version if reference else report.model.deployment.champion)
    version = version or report.model.versions.order_by("-pk").first()
    return signature_of(version) if version else unlearnt_signature(report.model.task)


def _tell(making: Making, left_out: list[str]) -> str:
    """Keep what is left out, and say what the report is about."""
    making.write(left_out=left_out)
    return about(making.report)


# -- storing -----------------------------------------------------------------------------------------------------------
def _store(making: Making, made: Made) -> None:
    """Put the files in place with the row that names them; a report that was deleted meanwhile leaves none.

    The drafts are on the disk before the row is locked, so that nobody waits for the disk.
    """
    report, folder = making.report, files.folder()
    content = {".html": made.html.encode(), ".json": made.json}
    if made.pdf:
        content[".pdf"] = made.pdf
    with ExitStack() as drafts:
        for suffix, text in content.items():
            draft = drafts.enter_context(replacing(folder / f"{report.pk}{suffix}", sync=False))
            draft.write_bytes(text)
            sync_to_disk(draft)
        with transaction.atomic():
            making.write(
                progress=1.0,
                left_out=report.left_out + made.left_out,
                path=f"reports/{report.pk}.html",
                size=len(content[".html"]),
            )
            if report.is_evidence:
                _record_evidence(report, made)
            making.lease.finish(Report.State.READY)
            drafts.close()
            sync_to_disk(folder)


def _record_evidence(report: Report, made: Made) -> None:
    """Note the digest of a pack in the audit trail, so that a file that was handed on can be compared with it."""
    record_audit(
        project=report.model.project,
        actor="worker",
        action="evidence.made",
        subject=report.model.name,
        after={
            "report": report.pk,
            "sha256_of_json": hashlib.sha256(made.json).hexdigest(),
            "sha256_of_html": hashlib.sha256(made.html.encode()).hexdigest(),
            "sha256_of_pdf": hashlib.sha256(made.pdf).hexdigest() if made.pdf else "",
        },
    )
