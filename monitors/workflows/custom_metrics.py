"""Custom metrics in the gate: what both versions come to on the same requests, and margins by `custom:<name>`."""

from dataclasses import replace

from driftline.common.errors import Problem
from driftline.common.periods import DAY_US
from inference.prediction_log.queries.selectors import LogFrame, PairedFrame
from inference.registry.models import Model
from inference.signatures import Signature
from monitors.definitions.custom_metrics.row_values import row_values
from monitors.stats.expressions.evaluation import MetricValues
from monitors.stats.promotion.custom_metrics import COMPARED, custom_differences
from monitors.stats.promotion.differences import MetricDifference
from monitors.stats.promotion.gate import CUSTOM_PREFIX
from monitors.workflows.models import Workflow


def custom_margins(model: Model) -> list[str]:
    """Name what a margin of the gate may be of beside the metrics of the task: those that pairs can be compared by."""
    defined = model.custom_metrics.order_by("name")
    return [CUSTOM_PREFIX + one.name for one in defined if one.parsed.function in COMPARED]


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


def has_margin(model: Model, name: str) -> bool:
    """Tell whether the gate of promotions has a margin for a custom metric."""
    return CUSTOM_PREFIX + name in Workflow.of(model).gate.get("margins", {})


def remove_margin(model: Model, name: str) -> None:
    """Take the margin for a custom metric out of the gate of promotions, in the caller's transaction."""
    workflow = Workflow.objects.select_for_update().filter(model=model).first()
    if workflow is not None and workflow.gate.get("margins", {}).pop(CUSTOM_PREFIX + name, None) is not None:
        workflow.save(update_fields=["gate"])


def refuse_while_gated(*, model: Model, name: str) -> None:
    """Raise Problem where the gate of promotions has a margin for a custom metric."""
    if has_margin(model, name):
        raise Problem(
            409,
            "custom_metric_watched",
            f"The gate of promotions has a margin for the custom metric {name!r}; empty the margin first.",
        )
