"""Which features of a model are broken now: missing, of another type, out of range or impossible more than they were.

Unseen categories and a value that is most frequent more than it was are left out: a model may well have to learn them.
"""

from dataclasses import dataclass
from datetime import datetime

from driftline.base.periods import longest
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.catalogue import METRICS, QUALITY_METRICS
from monitors.metrics.explaining.causes import points_of_windows
from monitors.metrics.limits import RAISED
from monitors.metrics.store.models import MetricPoint

BROKEN_METRICS = tuple(name for name in QUALITY_METRICS if name not in ("unseen_share", "mode_share"))
WINDOWS = 60
"""How many windows back the beginning of a fault is looked for."""


@dataclass(frozen=True)
class BrokenFeature:
    """A feature, by which metric it is broken, its share of the newest window's rows, and since when."""

    feature: str
    metric: str
    share: float
    limit: float | None
    since: datetime

    @property
    def sentence(self) -> str:
        """Return what is broken, how much and since when."""
        return (
            f"{self.feature[:60]} is broken since {self.since:%-d %b %Y %H:%M} UTC: "
            f"{METRICS[self.metric].title.lower()} of {self.share:.0%}"
        )


def broken_features(model: Model, *, until: datetime) -> list[BrokenFeature]:
    """List the faults of a model's newest judged window before a moment, the largest share first."""
    span = span_of(model, MonitorKind.QUALITY)
    points = points_of_windows(model, span, until - WINDOWS * longest(span), until)
    newest = points.filter(metric__in=QUALITY_METRICS).order_by("-start").first()
    by_fault: dict[tuple[str, str], list[MetricPoint]] = {}
    for point in points.filter(metric__in=BROKEN_METRICS).order_by("-start"):
        by_fault.setdefault((point.metric, point.feature), []).append(point)
    broken = [
        _fault(found)
        for found in by_fault.values()
        if newest and found[0].start == newest.start and _is_raised(found[0])
    ]
    return sorted(broken, key=lambda one: (-one.share, one.feature, one.metric))


def _fault(newest_first: list[MetricPoint]) -> BrokenFeature:
    """Go back from the newest window to the first of those in a row that are raised."""
    first = newest_first[0]
    for point in newest_first:
        if not _is_raised(point):
            break
        first = point
    newest = newest_first[0]
    return BrokenFeature(newest.feature, newest.metric, newest.value or 0.0, newest.threshold, first.start)


def _is_raised(point: MetricPoint) -> bool:
    if point.metric == "impossible_share" and not (point.detail or {}).get("is_repeated"):
        return False  # a single row spoils nothing
    return point.status in RAISED
