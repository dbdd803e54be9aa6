"""What later stages provide to the metrics."""

from datetime import date, datetime

from driftline.common.hooks import Hook
from inference.registry.models import Model


def _no_days(model: Model, start: datetime, end: datetime) -> set[date]:
    return set()


days_of_faults = Hook(_no_days)
"""Lists the days of `[start, end)` with critical incidents; `monitors.alerts` provides it."""
