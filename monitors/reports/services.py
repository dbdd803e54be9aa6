"""Writes of reports: asked for by people, built by a worker, kept as a file."""

import logging
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db import transaction

from driftline.accounts.services import record_audit
from driftline.common.doorbell import ring
from driftline.common.errors import Problem, invalid
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.selectors import frame_of
from inference.registry.datasets import path_of
from inference.registry.models import Model
from monitors.definitions.choosing import file_reference
from monitors.reports.models import Report

log = logging.getLogger(__name__)

MOST_ROWS = 20_000  # Evidently needs about a second for each thousand rows of thirty columns


def request_report(*, model: Model, start: datetime, end: datetime, actor: str) -> Report:
    """Ask for Evidently's drift report of `[start, end)`."""
    if not start < end:
        raise invalid("/to", "The report's end must lie after its start.")
    if file_reference(model=model, version_id=model.deployment.champion_id) is None:
        raise Problem(
            409, "no_reference", "A drift report compares with rows of a reference; upload a file first."
        )
    refuse_without_rows(model, "A report by Evidently")
    with transaction.atomic():
        report = Report.objects.create(model=model, start=start, end=end, created_by=actor)
        record_audit(project=model.project, actor=actor, action="report.request", subject=model.name)
        ring("monitors.build_report", report_id=report.pk)
    return report


def build_report(report_id: int) -> None:
    """Build a report that was asked for; building it twice gives the same file."""
    report = Report.objects.select_related("model__deployment").get(pk=report_id)
    if report.state != Report.State.QUEUED:
        return
    try:
        _build(report)
        report.state = Report.State.READY
    except Exception as error:  # whatever Evidently raises, the person who asked must see it
        log.exception("report failed", extra={"report": report_id})
        report.state, report.error = Report.State.FAILED, f"{type(error).__name__}: {error}"[:500]
    report.save()


def _build(report: Report) -> None:
    from monitors.reports.evidently import (
        write_drift_report,
    )  # seconds and 280 MB: only in the task that needs it

    model = report.model
    reference = file_reference(model=model, version_id=model.deployment.champion_id)
    if reference is None or reference.dataset is None:
        raise ValueError("the model has no reference with rows any more")
    current = frame_of(model=model, start=report.start, end=report.end)
    if not len(current):
        raise ValueError("the log has no rows in this period")
    shared = [
        name for name in current.features if name in reference.dataset.columns and name not in current.let_go
    ]
    table = pq.read_table(path_of(reference.dataset), columns=shared)
    path = settings.HOME / "reports" / f"{report.pk}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_drift_report(
        {name: _sample(_array(table, name)) for name in table.column_names},
        {name: _sample(current.features[name]) for name in table.column_names},
        path,
    )
    report.path, report.size = str(path.relative_to(settings.HOME)), path.stat().st_size


def _array(table: pa.Table, name: str) -> np.ndarray:
    values = table[name].to_numpy()
    return values if values.dtype == object else values.astype(np.float64)


def _sample(values: np.ndarray) -> np.ndarray:
    """Take evenly spaced rows when there are more than Evidently can chew."""
    if len(values) <= MOST_ROWS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_ROWS).astype(int)]
