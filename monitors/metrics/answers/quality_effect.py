"""What a window's problem did to the quality of the answers: the main metric with its interval, beside what it was."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from driftline.base.number_format import format_number
from driftline.base.periods import counted, earlier, floor
from inference.registry.models import Model
from monitors.metrics.catalogue import METRICS
from monitors.metrics.store.models import MetricPoint, PointStatus

MAIN_METRIC = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae", "ranking": "ndcg"}
MIN_ROWS = 50
"""Fewer labelled rows show no effect."""
WINDOWS_BEFORE = 14


def main_metric(model: Model) -> str:
    """Return the quality metric that the model is judged by: its objective's, else its task's."""
    quality = model.objectives.get("quality")
    return (quality or {}).get("metric") or MAIN_METRIC.get(model.task, "accuracy")


@dataclass(frozen=True)
class QualityEffect:
    """The main metric of one window and segment with its 95% interval, and its mean of up to 14 windows before."""

    metric: str
    segment: str
    value: float
    lower: float
    upper: float
    n: int
    before: float
    windows: int
    span: str

    @property
    def sentence(self) -> str:
        where = f" where {self.segment}" if self.segment else ""
        value, lower, upper, before = map(format_number, (self.value, self.lower, self.upper, self.before))
        return (
            f"{METRICS[self.metric].title}{where} {value} (95% interval {lower} to {upper}, n={self.n:,}), "
            f"{before} in the {counted(self.windows, self.span)} before"
        )


def quality_effects(
    *, model: Model, span: str, start: datetime, since: datetime, segments: Iterable[str]
) -> list[QualityEffect]:
    """Compare the main metric of a window with that before the problem began, of all rows and of each segment.

    Labels that came so far count, though the window may not be ripe. Of all rows the estimate that needs no labels is
    compared as well: where it stays and what is measured falls, labels have changed and not inputs. What has too few
    rows is left out.
    """
    metric = main_metric(model)
    effects: list[QualityEffect | None] = []
    for segment in dict.fromkeys(["", *segments]):
        names = [metric] if segment else [metric, f"estimated_{metric}"]
        effects += [_effect(model, name, span, start, since, segment) for name in names]
    return [effect for effect in effects if effect is not None]


def _effect(
    model: Model, metric: str, span: str, start: datetime, since: datetime, segment: str
) -> QualityEffect | None:
    points = MetricPoint.objects.filter(
        model=model, metric=metric, span=span, role="champion", version="", feature="", segment=segment,
        value__isnull=False, n__gte=MIN_ROWS,
    )  # fmt: skip
    now = points.filter(start=start).first()
    if now is None or now.value is None or now.lower is None or now.upper is None:
        return None
    before = points.filter(end__lte=since, start__gte=earlier(floor(since, span), span, WINDOWS_BEFORE))
    rows = before.exclude(status=PointStatus.UNRELIABLE).values_list("value", "n")
    usual = [(value, n) for value, n in rows if value is not None]
    if not usual:
        return None
    return QualityEffect(
        metric=metric, segment=segment, value=now.value, lower=now.lower, upper=now.upper, n=now.n,
        before=sum(value * n for value, n in usual) / sum(n for _, n in usual), windows=len(usual), span=span,
    )  # fmt: skip
