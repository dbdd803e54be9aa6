"""Models with a log, labels and a reference for reports."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from driftline.base.periods import Period
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from monitors.reports.building import build
from monitors.reports.models import Report
from monitors.reports.services import ReportRequest, request_report
from tests.worlds.approvals import DAY, rows_of_a_day

DAYS = Period(DAY, DAY + timedelta(days=1))
THRESHOLD = 0.3


def careful_rows(n: int, *, seed: int = 0, day: datetime = DAY) -> list[SentPrediction]:
    """Make rows of a model that answers 1 from a probability of 0.3 on."""
    return [
        replace(row, prediction="1" if row.probabilities >= THRESHOLD else "0")  # type: ignore[operator]
        for row in rows_of_a_day(day, n, seed=seed)
    ]


def ask(model: Model, **wanted_report: object) -> Report:
    """Ask for a report of the day and have it made."""
    report = request_report(model=model, wanted=ReportRequest(DAYS, **wanted_report), actor="test")  # type: ignore[arg-type]
    build(report.pk)
    report.refresh_from_db()
    return report
