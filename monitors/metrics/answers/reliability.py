"""Whether estimates have come true: those of earlier windows against what labels said of these later.

An estimate's interval should hold the realised metric 19 times of 20. Of the last windows that have both (up to
30, at least 5), the number that did is binomial if that is so; when as few as were seen would have come about less
often than once in a hundred times, the estimate is `unreliable` from then on, until its newer windows are better:
2 of 5, 6 of 10 or 24 of 30 is too few. It then still has its value, and no rule listens to it. A window speaks for
those after it, never for itself.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import scipy

from driftline.base.periods import longest
from inference.registry.models import Model
from monitors.metrics.answers.estimation import estimate_status
from monitors.metrics.catalogue import ESTIMATED
from monitors.metrics.store.models import MEASURED, MetricPoint, PointStatus

WINDOWS = 30
MIN_WINDOWS = 5
LOOK_BACK = 60  # windows among which the last 30 that have both are looked for
CONFIDENCE = 0.95
ALPHA = 0.01


class PointSeen(NamedTuple):
    """What one point says, whether it is stored or fresh."""

    value: float | None
    lower: float | None
    upper: float | None
    status: str


def is_unreliable(covered: int, judged: int) -> bool:
    """Return whether so few intervals of 95% held the truth that they are none.

    >>> is_unreliable(2, 5), is_unreliable(3, 5), is_unreliable(2, 4)
    (True, False, False)
    """
    return judged >= MIN_WINDOWS and bool(scipy.special.bdtr(covered, judged, CONFIDENCE) < ALPHA)


def mark_unreliable(model: Model, rows: Sequence[MetricPoint]) -> list[MetricPoint]:
    """Judge the estimates among freshly measured rows by the windows before them.

    Returns the stored points of later windows whose standing the rows changed: they must be saved as well.
    """
    groups: dict[tuple[str, str, str], list[MetricPoint]] = {}
    for row in rows:
        if not row.segment and (row.metric in ESTIMATED or f"estimated_{row.metric}" in ESTIMATED):
            groups.setdefault((row.span, row.role, row.version), []).append(row)
    changed: list[MetricPoint] = []
    for population, fresh in groups.items():
        changed += _mark_group(model, *population, fresh)
    return changed


def _mark_group(
    model: Model, span: str, role: str, version: str, fresh: Sequence[MetricPoint]
) -> list[MetricPoint]:
    since, until = min(row.start for row in fresh), max(row.start for row in fresh)
    reach = LOOK_BACK * longest(span)
    pairs = {f"estimated_{row.metric.removeprefix('estimated_')}" for row in fresh}
    stored = MetricPoint.objects.filter(
        model=model, span=span, role=role, version=version, segment="", feature="",
        start__gte=since - reach, start__lte=until + reach,
    )  # fmt: skip
    both = stored.filter(metric__in=[*pairs, *(name.removeprefix("estimated_") for name in pairs)])
    measured = {row.start for row in fresh}
    seen: dict[str, dict[datetime, PointSeen]] = {}
    for metric, start, *said in both.values_list("metric", "start", *PointSeen._fields):
        if start not in measured:
            seen.setdefault(metric, {})[start] = PointSeen(*said)
    later = stored.filter(metric__in=pairs, start__gt=since)
    to_judge = [point for point in later if point.start not in measured]
    for row in fresh:
        seen.setdefault(row.metric, {})[row.start] = PointSeen(row.value, row.lower, row.upper, row.status)
    to_judge += [row for row in fresh if row.metric in pairs]
    changed = []
    for name in pairs:
        covered = _covered(seen.get(name, {}), seen.get(name.removeprefix("estimated_"), {}))
        for point in to_judge:
            if point.metric == name:
                last = [held for start, held in covered if start < point.start][-WINDOWS:]
                if _stand(point, covered=sum(last), judged=len(last)) and point.pk is not None:
                    changed.append(point)
    return changed


def _covered(
    estimates: dict[datetime, PointSeen], realised: dict[datetime, PointSeen]
) -> list[tuple[datetime, bool]]:
    """Return of each window with both whether the estimate's interval holds the realised value; the oldest first."""
    found = []
    for start in sorted(estimates.keys() & realised.keys()):
        said, truth = estimates[start], realised[start]
        if truth.status not in MEASURED or truth.value is None:
            continue
        if said.lower is None or said.upper is None or said.status == PointStatus.INSUFFICIENT:
            continue
        found.append((start, said.lower <= truth.value <= said.upper))
    return found


def _stand(point: MetricPoint, *, covered: int, judged: int) -> bool:
    """Set a point's status and what it rests on; tells whether that is news."""
    if point.value is None:
        return False
    before = (point.status, point.detail)
    detail = point.detail or {}
    status = estimate_status(
        point.metric, point.value, point.n, point.threshold, int(detail.get("min_rows", 1))
    )
    if status != PointStatus.INSUFFICIENT and is_unreliable(covered, judged):
        status = PointStatus.UNRELIABLE
    point.status, point.detail = status, detail | {"judged": judged, "covered": covered}
    return before != (point.status, point.detail)
