"""Where and since when an input is broken: the segment that holds nearly all broken rows, and the hour they begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import scipy

from inference.prediction_log.models import ANSWERING_ROLES
from inference.registry.models import Model
from inference.vector_names import norm_of
from monitors.metrics.inputs.quality import fault_shares
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.store.models import MetricPoint
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.summaries.models import Summary

NEARLY_ALL = 0.95
"""Of the broken rows: a segment that holds so many of them is where the fault is."""
NARROWER = 0.9
"""Of all rows: a segment of more is no narrower a place than all of them."""

BY_CHANCE = 0.001
"""An hour is where a fault began if so few broken rows come before it less often than this in one that was there all
the time."""


@dataclass(frozen=True)
class FaultPlace:
    """`share` is that of the segment's rows which are broken; an empty segment stands for all rows."""

    segment: str
    share: float
    since: datetime | None


@dataclass(frozen=True)
class _BrokenRows:
    segment: str
    start: datetime
    rows: int
    broken: float


def find_fault_place(
    model: Model, fault: MetricPoint, reference: LoadedReference | None
) -> FaultPlace | None:
    """Find the narrowest segment of a fault and the hour it began, from the hours of its window.

    Rows that are broken as often in the reference do not count. None where no hours are kept, or nothing is broken.
    """
    hours = _broken_rows(model, fault, reference)
    of_segment: dict[str, list[_BrokenRows]] = {}
    for hour in hours:
        of_segment.setdefault(hour.segment, []).append(hour)
    whole = of_segment.pop("", [])
    broken, rows = _broken(whole), _rows(whole)
    if broken <= 0:
        return None
    places = [
        (_rows(held), segment, held)
        for segment, held in of_segment.items()
        if _broken(held) >= NEARLY_ALL * broken and _rows(held) <= NARROWER * rows
    ]
    size, segment, held = min(places, key=lambda place: place[:2], default=(rows, "", whole))
    return FaultPlace(segment, _broken(held) / size, _onset(held))


def _broken_rows(model: Model, fault: MetricPoint, reference: LoadedReference | None) -> list[_BrokenRows]:
    known = _column(reference.summary, fault.feature) if reference else None
    wanted = model.expectations.filter(feature=fault.feature).first()
    usual = fault_shares(known, known, wanted).get(fault.metric, 0.0) if known else 0.0
    summaries = Summary.objects.filter(
        model=model, span="hour", role__in=ANSWERING_ROLES, start__gte=fault.start, start__lt=fault.end
    )
    found = []
    for segment, start, payload in summaries.values_list("segment", "start", "payload"):
        names = [fault.feature, norm_of(fault.feature)]
        column = _column(WindowSummary.decode(bytes(payload), features=names), fault.feature)
        if column is not None:
            share = fault_shares(column, known, wanted).get(fault.metric, 0.0)
            found.append(_BrokenRows(segment, start, column.rows, (share - usual) * column.rows))
    return found


def _column(summary: WindowSummary, feature: str) -> ColumnSummary | None:
    """Return the column of a feature; that of its length for a vector."""
    return summary.features.get(feature) or summary.features.get(norm_of(feature))


def _onset(hours: Sequence[_BrokenRows]) -> datetime | None:
    """Return the first hour that is broken half as much as the worst one; None where the window began like that, or
    where so few rows came before it that they may be whole by chance alone."""
    shares: dict[datetime, float] = {}
    for start in sorted({hour.start for hour in hours}):
        same = [hour for hour in hours if hour.start == start]
        shares[start] = _broken(same) / max(_rows(same), 1)
    worst = max(shares.values())
    onset = next(start for start, share in shares.items() if share >= worst / 2)
    before = [hour for hour in hours if hour.start < onset]
    after = [hour for hour in hours if hour.start >= onset]
    share = min(max(_broken(after) / max(_rows(after), 1), 0.0), 1.0)
    by_chance = scipy.special.bdtr(max(round(_broken(before)), 0), _rows(before), share)
    return onset if by_chance < BY_CHANCE else None


def _broken(hours: Sequence[_BrokenRows]) -> float:
    return sum(hour.broken for hour in hours)


def _rows(hours: Sequence[_BrokenRows]) -> int:
    return sum(hour.rows for hour in hours)
