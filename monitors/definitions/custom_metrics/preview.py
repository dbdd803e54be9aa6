"""What an expression comes to over the newest rows, before anything is saved."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.newest_rows import newest_rows
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from monitors.definitions.custom_metrics.row_values import FeatureKinds, row_values
from monitors.definitions.custom_metrics.services import check_expression
from monitors.stats.expressions.estimates import estimate_metric
from monitors.stats.expressions.parsing import parse_metric
from monitors.stats.expressions.tree import Aggregate
from monitors.stats.mergeable.expression_sums import ExpressionSums, merge_expressions
from monitors.stats.performance.estimate import Estimate

PREVIEW_DAYS = 7
MAX_PREVIEW_ROWS = 100_000
"""Where seven days cost more than reading so many rows, the preview is of a shorter time."""
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
    """Compute an expression over the newest rows, of up to seven days; None where no row is kept. Raises Problem."""
    kinds = check_expression(model, expression)
    metric = parse_metric(expression)
    newest = newest_rows(
        model=model, roles=ANSWERING_ROLES, length=timedelta(days=PREVIEW_DAYS), max_rows=MAX_PREVIEW_ROWS
    )
    if newest is None:
        return None
    period, rows = newest
    sums = merge_expressions(_sums_by_version(model, metric, kinds, rows)).get(_KEY)
    if sums is None:
        return None
    hours = (period.end - period.start) / timedelta(hours=1)
    estimate = estimate_metric(metric, sums, hours)
    return MetricPreview(period.start, period.end, sums.rows, sums.left_out, estimate)


def _sums_by_version(
    model: Model, metric: Aggregate, kinds: FeatureKinds, frame: LogFrame
) -> Iterator[dict[str, ExpressionSums]]:
    """Add up the rows of each version: their classes may differ."""
    versions = model.versions.select_related("model").in_bulk(np.unique(frame.version_ids).tolist())
    for version_id, version in versions.items():
        rows = frame.take(frame.version_ids == version_id)
        values = row_values({_KEY: metric}, kinds, rows, signature_of(version))
        yield values.sums(len(rows), int(rows.is_labelled.sum()))
