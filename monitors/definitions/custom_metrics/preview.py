"""What an expression comes to over the newest rows, before anything is saved."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.selectors import LogFrame, frame_of, newest_event
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from monitors.definitions.custom_metrics.row_values import FeatureKinds, row_values
from monitors.definitions.custom_metrics.services import check_expression
from monitors.stats.expressions.estimates import estimate_metric
from monitors.stats.expressions.parsing import parse_metric
from monitors.stats.expressions.tree import Aggregate
from monitors.stats.mergeable.expression_sums import ExpressionSums, merge_expressions
from monitors.stats.performance.estimate import Estimate

PREVIEW_DAYS = 7
MAX_PREVIEW_ROWS = 100_000  # after which no earlier day is read
_KEY = "preview"


@dataclass(frozen=True)
class MetricPreview:
    """The value over the rows of `[start, end)` that are kept; `rows` were looked at and `left_out` lack an operand."""

    start: datetime
    end: datetime
    rows: int
    left_out: int
    estimate: Estimate


def preview_metric(*, model: Model, expression: str) -> MetricPreview | None:
    """Compute an expression over up to the newest seven days; None where no row is kept. Raises Problem."""
    kinds = check_expression(model, expression)
    metric = parse_metric(expression)
    newest = newest_event(model)
    if newest is None:
        return None
    end = (newest + timedelta(hours=1)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    parts, start = list[dict[str, ExpressionSums]](), end
    while start > end - timedelta(days=PREVIEW_DAYS) and _rows(parts) < MAX_PREVIEW_ROWS:
        start, until = start - timedelta(days=1), start
        frame = frame_of(model=model, start=start, end=until, role=ANSWERING_ROLES)
        parts += _sums_by_version(model, metric, kinds, frame)
    sums = merge_expressions(parts).get(_KEY)
    if sums is None:
        return None
    hours = (end - start) / timedelta(hours=1)
    return MetricPreview(start, end, sums.rows, sums.left_out, estimate_metric(metric, sums, hours))


def _rows(parts: list[dict[str, ExpressionSums]]) -> int:
    return sum(part[_KEY].rows for part in parts)


def _sums_by_version(
    model: Model, metric: Aggregate, kinds: FeatureKinds, frame: LogFrame
) -> list[dict[str, ExpressionSums]]:
    """Add up the rows of each version: their classes may differ."""
    parts = []
    for version_id in np.unique(frame.version_ids):
        rows = frame.take(frame.version_ids == version_id)
        version = Version.objects.select_related("model").get(pk=int(version_id), model=model)
        values = row_values({_KEY: metric}, kinds, rows, signature_of(version))
        parts.append(values.sums(len(rows), int(rows.is_labelled.sum())))
    return parts
