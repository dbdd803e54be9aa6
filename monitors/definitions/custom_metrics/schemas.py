"""What the API says of custom metrics."""

from typing import Self

from driftline.base.http.responses import ResponseBody, Time
from monitors.definitions.custom_metrics.preview import MetricPreview
from monitors.definitions.models import CustomMetric


class CustomMetricOut(ResponseBody, frozen=True):
    """A metric that people defined; its points are those of `metric` with its name as their `feature`.

    `since` is when it was defined, or its expression was changed.
    """

    id: int
    name: str
    expression: str
    unit: str
    lower_is_better: bool
    metric: str
    since: Time

    @classmethod
    def of(cls, custom: CustomMetric) -> Self:
        return cls(
            id=custom.pk,
            name=custom.name,
            expression=custom.expression,
            unit=custom.unit,
            lower_is_better=custom.lower_is_better,
            metric=custom.metric,
            since=custom.since,
        )


class CustomMetricPreviewOut(ResponseBody, frozen=True):
    """The value over the newest rows that are kept, with its 95 % interval where it has one; null without any row."""

    start: Time | None
    end: Time | None
    value: float | None
    lower: float | None
    upper: float | None
    n: int
    rows: int
    left_out: int

    @classmethod
    def of(cls, preview: MetricPreview | None) -> Self:
        if preview is None:
            return cls(start=None, end=None, value=None, lower=None, upper=None, n=0, rows=0, left_out=0)
        found = preview.estimate
        return cls(
            start=preview.start, end=preview.end, value=found.value, lower=found.lower, upper=found.upper, n=found.n,
            rows=preview.rows, left_out=preview.left_out,
        )  # fmt: skip
