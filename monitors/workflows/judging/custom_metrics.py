"""Custom metrics in the gate: what both versions come to on the same requests."""

from dataclasses import replace

from driftline.base.periods import DAY_US
from inference.prediction_log.queries.frames import LogFrame, PairedFrame
from inference.registry.models import Model
from inference.signatures import Signature
from monitors.definitions.custom_metrics.row_values import row_values
from monitors.stats.expressions.evaluation import MetricValues
from monitors.stats.promotion.custom_metrics import custom_differences
from monitors.stats.promotion.differences import MetricDifference
from monitors.workflows.judging.margins import CUSTOM_PREFIX


def compare_custom(
    model: Model, pairs: PairedFrame, signature: Signature, *, tail: float
) -> dict[str, MetricDifference]:
    """Compare the custom metrics of a model on pairs, by the names that margins have for them.

    Either bound of a difference is wrong with the chance `tail`.
    """
    defined = list(model.custom_metrics.order_by("name"))
    if not defined:
        return {}
    metrics = {CUSTOM_PREFIX + one.name: one.parsed for one in defined}
    kinds = {feature: kind for one in defined for feature, kind in one.kinds.items()}
    challenger = replace(
        pairs.challenger, label=pairs.champion.label, label_time_us=pairs.champion.label_time_us
    )

    def values_of(frame: LogFrame) -> MetricValues:
        return row_values(metrics, kinds, frame, signature)

    return custom_differences(
        values_of(pairs.champion),
        values_of(challenger),
        pairs.champion.times_us // DAY_US,
        higher_is_better={CUSTOM_PREFIX + one.name: not one.lower_is_better for one in defined},
        tail=tail,
    )
