"""Builds a report in a worker: reads rows, has Evidently compute, stores the files; each step under a lease."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from driftline.common.doorbell import ring
from driftline.common.periods import Period
from inference.registry.selectors import signature_of, unlearnt_signature
from inference.serving.plan import Signature
from monitors.definitions.choosing import file_reference
from monitors.definitions.models import Reference, Segment
from monitors.reports import files
from monitors.reports.answers import classification_columns, regression_columns
from monitors.reports.choices import EQUAL_ROWS, METHODS, SEED, most_rows
from monitors.reports.columns import NoReport, data_columns, texts_among
from monitors.reports.models import TASK, UNFINISHED, Preset, Report
from monitors.reports.rows import Side, conditions_of, read_log, read_reference
from monitors.reports.selectors import about, reports_of
from monitors.stats.segments.conditions import Condition

if TYPE_CHECKING:
    from monitors.reports.evidently import Made

log = logging.getLogger(__name__)

PATIENCE_S = 600
LEASE = timedelta(seconds=PATIENCE_S + 60)  # no worker is at it any more when it ends
MOST_ATTEMPTS = 3
_ONE_SPACE = 7_331  # advisory lock: one report at a time is begun
_READ, _COMPUTED = 0.5, 0.9  # shares of the progress


class LeaseLost(Exception):
    """The report was deleted, or is to be made afresh."""


@dataclass(frozen=True)
class Lease:
    """The right to make one report, and to write to its row."""

    report: Report
    token: int

    def write(self, **values: Any) -> None:
        """Change the row, here as well; raises LeaseLost where the right to it is lost."""
        mine = Report.objects.filter(pk=self.report.pk, lease_token=self.token)
        if not mine.update(**values):
            raise LeaseLost
        for name, value in values.items():
            setattr(self.report, name, value)


def build(report_id: int) -> None:
    """Make a report that was asked for, and ring for the next; whatever comes of it, its row says so."""
    lease = _take(report_id)
    if lease is None:
        return
    with suppress(LeaseLost):
        _try(lease)
    waiting = Report.objects.filter(state__in=UNFINISHED).due().order_by("pk").first()
    if waiting is not None:
        ring(TASK, report_id=waiting.pk)


def _try(lease: Lease) -> None:
    try:
        _build(lease)
    except LeaseLost:
        raise
    except NoReport as why:
        _fail(lease, str(why))
    except FileNotFoundError:
        _fail(lease, "The reference's file is gone; upload it again, or choose another.")
    except SoftTimeLimitExceeded:
        minutes = PATIENCE_S // 60
        _fail(
            lease,
            f"It took more than {minutes} minutes; choose a shorter window, a segment or a faster test.",
        )
    except Exception as error:  # whatever Evidently raises, the person who asked must see that it failed
        log.exception("a report failed", extra={"report": lease.report.pk})
        _fail(
            lease,
            f"Evidently cannot compute it from these rows ({type(error).__name__}; the server's log says more). "
            "Choose another window, or another preset.",
        )


def _take(report_id: int) -> Lease | None:
    """Lease a report; None where it is done with, or another is being made: the other workers have rows to judge."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [_ONE_SPACE])
        if Report.objects.filter(state=Report.State.RUNNING, lease_until__gt=Now()).exists():
            return None
        unfinished = Report.objects.filter(pk=report_id, state__in=UNFINISHED)
        claimed = unfinished.claim(limit=1, lease=LEASE)
        if not claimed:
            return None
        unfinished.update(
            state=Report.State.RUNNING,
            stage=Report.Stage.READING,
            progress=0.0,
            attempts=F("attempts") + 1,
            left_out=[],
        )
    return Lease(reports_of(claimed[0].model).get(pk=report_id), claimed[0].lease_token)  # type: ignore[arg-type]


def _fail(lease: Lease, why: str) -> None:
    lease.write(
        state=Report.State.FAILED, error=why[:500], finished_at=Now(), lease_until=None, lease_token=None
    )


def _build(lease: Lease) -> None:
    report = lease.report
    if report.attempts > MOST_ATTEMPTS:
        raise NoReport(
            f"Its worker died {MOST_ATTEMPTS} times, perhaps for want of memory; choose a shorter window or a segment."
        )
    reference = _reference_of(report)
    sides = _read(lease, reference)
    lease.write(
        stage=Report.Stage.COMPUTING,
        progress=_READ,
        reference=reference,
        reference_sha256=reference.dataset.sha256 if reference and reference.dataset else "",
        rows=sides[0].total,
        rows_used=len(sides[0]),
        reference_rows=sides[1].total if sides[1] else None,
        reference_rows_used=len(sides[1]) if sides[1] else None,
    )
    made = _COMPUTE[report.preset](lease, *sides, reference)
    lease.write(stage=Report.Stage.STORING, progress=_COMPUTED)
    _store(lease, made)


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


def _conditions(report: Report) -> Sequence[Condition]:
    try:
        return conditions_of(report.segment, report.model)
    except Segment.DoesNotExist as error:
        raise NoReport(f"The segment {report.segment} was removed; choose another.") from error


# -- reading -----------------------------------------------------------------------------------------------------------
def _read(lease: Lease, reference: Reference | None) -> tuple[Side, Side | None]:
    report = lease.report
    methods = [getattr(report, field) for field in METHODS]
    most = most_rows(methods)
    segment = _conditions(report)
    parts = 1 if report.reference_start is None else 2

    def read(start: Any, end: Any, part: int) -> Side:
        return read_log(
            report.model, Period(start, end), version_id=report.version_id, segment=segment, most=most,
            rng=np.random.default_rng([SEED, part]), on_progress=_teller(lease, part / parts, 1 / parts),
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


def _teller(lease: Lease, begin: float, share: float) -> Callable[[float], None]:
    return lambda read: lease.write(progress=_READ * (begin + share * read))


def _of_equal_length(window: Side, usual: Side) -> tuple[Side, Side]:
    rng, rows = np.random.default_rng([SEED, 2]), min(len(window), len(usual))
    return (
        window.take(np.sort(rng.choice(len(window), rows, replace=False))),
        usual.take(np.sort(rng.choice(len(usual), rows, replace=False))),
    )


# -- computing ---------------------------------------------------------------------------------------------------------
# Evidently takes seconds and 280 MB to import: only a worker that has something for it to compute does that.
def _drift(lease: Lease, window: Side, usual: Side | None, reference: Reference | None) -> "Made":
    columns = data_columns(window, usual, importance=_importance(reference), needs_values=True)
    assert columns.reference is not None
    methods = {field: name for field in METHODS if (name := getattr(lease.report, field))}
    texts = texts_among(columns.reference) if "text_method" in methods else []
    if "text_method" in methods and not texts:
        raise NoReport(
            "No column is text of which most values differ, which tests of text are for; choose no test of text."
        )
    from monitors.reports.evidently import drift_report

    return drift_report(
        columns.current, columns.reference, methods=methods, texts=texts, about=_tell(lease, columns.left_out)
    )


def _summary(lease: Lease, window: Side, usual: Side | None, reference: Reference | None) -> "Made":
    columns = data_columns(window, usual, importance=_importance(reference), needs_values=False)
    from monitors.reports.evidently import summary_report

    return summary_report(columns.current, columns.reference, about=_tell(lease, columns.left_out))


def _classification(lease: Lease, window: Side, usual: Side | None, reference: Reference | None) -> "Made":
    signature = _signature(lease.report, reference)
    positive = signature.positive_class if signature.task == "binary" else None
    columns = classification_columns(window, usual, classes=signature.classes, positive=positive)
    from monitors.reports.evidently import Answers, classification_report

    answers = Answers(positive, columns.probabilities, columns.threshold)
    return classification_report(
        columns.current, columns.reference, answers, about=_tell(lease, columns.left_out)
    )


def _regression(lease: Lease, window: Side, usual: Side | None, _: Reference | None) -> "Made":
    columns = regression_columns(window, usual)
    from monitors.reports.evidently import regression_report

    return regression_report(columns.current, columns.reference, about=_tell(lease, columns.left_out))


_COMPUTE: dict[str, Callable[[Lease, Side, Side | None, Reference | None], "Made"]] = {
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


def _tell(lease: Lease, left_out: list[str]) -> str:
    """Keep what is left out, and say what the report is about."""
    lease.write(left_out=left_out)
    return about(lease.report)


# -- storing -----------------------------------------------------------------------------------------------------------
def _store(lease: Lease, made: "Made") -> None:
    """Put both files in place with the row that names them; a report that was deleted meanwhile leaves none."""
    report, folder = lease.report, files.folder()
    content = {".html": made.html.encode(), ".json": made.json}
    drafts = {suffix: folder / f".{report.pk}-{os.getpid()}{suffix}" for suffix in content}
    try:
        for suffix, draft in drafts.items():
            draft.write_bytes(content[suffix])
        with transaction.atomic():
            lease.write(
                state=Report.State.READY,
                progress=1.0,
                left_out=report.left_out + made.left_out,
                path=f"reports/{report.pk}.html",
                size=len(content[".html"]),
                error="",
                finished_at=Now(),
                lease_until=None,
                lease_token=None,
            )
            for suffix, draft in drafts.items():
                draft.replace(folder / f"{report.pk}{suffix}")
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
