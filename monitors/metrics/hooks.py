"""What later stages provide to the metrics."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Protocol

from driftline.base.hooks import Hook
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint


def _no_days(model: Model, start: datetime, end: datetime) -> set[date]:
    return set()


days_of_faults = Hook(_no_days)
"""Lists the days of `[start, end)` with critical incidents; `monitors.alerts` provides it."""


class PeopleLimit(Protocol):
    """A limit that somebody made for one metric: a rule."""

    name: str
    metric: str
    feature: str
    segment: str
    judged_span: str
    threshold: float

    def severity_at(self, value: float | None) -> str: ...

    def breaks(self, point: MetricPoint) -> bool | None: ...

    def is_proven_by(self, point: MetricPoint) -> bool: ...


def _nobodys_limits(model: Model) -> Sequence[PeopleLimit]:
    return ()


limits_of_people = Hook(_nobodys_limits)
"""Lists the limits that people made for a model's metrics, the least severe first; `monitors.rules` provides it."""


def _nothing_to_note(model_id: int, rows: Collection[int]) -> None:
    """Do nothing."""


note_stored = Hook(_nothing_to_note)
"""Hears which rows of points were stored, in the transaction that stores them; the sinks provide it."""
