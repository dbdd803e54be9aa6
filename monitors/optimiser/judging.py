"""Whether a variant gains anything, within what the model's objectives and these defaults let it cost. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftline.base.number_format import format_number, format_pair
from inference.runtime.variants.measuring import Timing
from monitors.optimiser.comparing import Measured
from monitors.stats.promotion.differences import HIGHER_IS_BETTER
from monitors.stats.promotion.gate import judge_guard

GAIN, NO_GAIN, REFUSED = "gain", "no_gain", "refused"


@dataclass(frozen=True)
class VariantBudget:
    """What a variant may cost, and what counts as a gain.

    `margins` are the losses of each metric that its whole interval has to stay within: half a point, for mae and rmse
    half a percent of the original's. Without labels, `least_agreement` of the rows get the same class, or numbers
    differ by `most_difference` of their spread on average. A run may be `slower` times as long, beyond its interval;
    it gains where it takes `faster` of the time or `smaller` of the bytes.
    """

    margins: Mapping[str, float] = field(
        default_factory=lambda: {
            "roc_auc": 0.005, "accuracy": 0.005, "log_loss": 0.005, "brier": 0.005, "mae": 0.005, "rmse": 0.005,
        }
    )  # fmt: skip
    quality_metric: str | None = None
    quality_floor: float | None = None
    latency_p99_ms: float | None = None
    least_agreement: float = 0.995
    most_difference: float = 0.005
    slower: float = 1.05
    faster: float = 0.95
    smaller: float = 0.9


@dataclass(frozen=True)
class VariantVerdict:
    """`gain`, `no_gain` or `refused`, and the sentences that say why."""

    status: str
    reason: str


def budget_of(objectives: Mapping[str, Any]) -> VariantBudget:
    """Read the objectives of a model into the budget of its variants."""
    quality = objectives.get("quality") or {}
    return VariantBudget(
        quality_metric=quality.get("metric"),
        quality_floor=quality.get("floor"),
        latency_p99_ms=objectives.get("latency_p99_ms"),
    )


def judge(measured: Measured, budget: VariantBudget, *, size: int, original_size: int) -> VariantVerdict:
    """Refuse a variant that costs more than it may, else tell what it gains; sizes in bytes."""
    faults = [fault for check in _CHECKS if (fault := check(measured, budget)) is not None]
    if faults:
        return VariantVerdict(REFUSED, " ".join(faults))
    gains = [*_faster(measured.timings, budget), *_smaller(size, original_size, budget)]
    if gains:
        return VariantVerdict(GAIN, f"{' '.join(gains)} {_kept(measured)}")
    return VariantVerdict(NO_GAIN, f"Neither faster nor smaller than the original. {_kept(measured)}")


def _finite(measured: Measured, budget: VariantBudget) -> str | None:
    if not measured.not_finite:
        return None
    return f"It gives no finite number on {measured.not_finite:,} rows that the original answers."


def _quality(measured: Measured, budget: VariantBudget) -> str | None:
    findings = [
        judge_guard(metric, budget.margins[name])
        for name, metric in measured.quality.items()
        if name in budget.margins
        and not metric.lower == metric.upper == 0  # a perfect original has no margin
    ]
    lost = [finding.sentence for finding in findings if not finding.passed]
    return " ".join(lost) or None


def _floor(measured: Measured, budget: VariantBudget) -> str | None:
    metric = measured.quality.get(budget.quality_metric or "")
    if metric is None or budget.quality_floor is None:
        return None
    sign = 1 if HIGHER_IS_BETTER[metric.metric] else -1
    floor = budget.quality_floor * sign
    if metric.challenger * sign >= floor or metric.champion * sign < floor:
        return None
    return (
        f"Its {metric.metric} of {format_number(metric.challenger, 4)} is worse than the objective's "
        f"{budget.quality_floor:g}, which the original meets with {format_number(metric.champion, 4)}."
    )


def _agreement(measured: Measured, budget: VariantBudget) -> str | None:
    """Without labels nobody knows which of two answers is right, so they may hardly differ."""
    if measured.quality:
        return None
    if measured.agreement is not None:
        if measured.agreement >= budget.least_agreement:
            return None
        return (
            f"There are no labels to judge by, and it gives another class to {1 - measured.agreement:.2%} of the rows; "
            f"{1 - budget.least_agreement:.2%} may differ."
        )
    if measured.mean_difference <= budget.most_difference * measured.spread:
        return None
    return (
        "There are no labels to judge by, and its numbers differ by "
        f"{format_number(measured.mean_difference)} on average; "
        f"{format_number(budget.most_difference * measured.spread)} may ({budget.most_difference:.2%} of their spread)."
    )


def _p99(measured: Measured, budget: VariantBudget) -> str | None:
    single, limit = measured.timings[0], budget.latency_p99_ms
    if limit is None or not single.original_p99_us <= limit * 1e3 < single.variant_p99_us:
        return None
    p99, allowed = format_pair(single.variant_p99_us / 1e3, limit)
    return f"Its p99 of {p99} ms a row is over the objective's {allowed} ms."


def _slower(measured: Measured, budget: VariantBudget) -> str | None:
    slow = [
        f"{_rows(timing)} takes {timing.ratio:.2f} times as long ({timing.variant_us[1]:,.1f} against "
        f"{timing.original_us[1]:,.1f} µs)"
        for timing in measured.timings
        if timing.ratio_lower > budget.slower
    ]
    return f"It is slower on this machine: {' and '.join(slow)}." if slow else None


_CHECKS: tuple[Callable[[Measured, VariantBudget], str | None], ...] = (
    _finite, _quality, _floor, _agreement, _p99, _slower,
)  # fmt: skip


def _faster(timings: list[Timing], budget: VariantBudget) -> list[str]:
    fast = [
        f"{_rows(timing)} takes {timing.ratio:.0%} of the time"
        for timing in timings
        if timing.ratio_upper < budget.faster
    ]
    return [f"Faster: {' and '.join(fast)}."] if fast else []


def _rows(timing: Timing) -> str:
    return "one row" if timing.rows == 1 else f"a batch of {timing.rows}"


def _smaller(size: int, original_size: int, budget: VariantBudget) -> list[str]:
    share = size / original_size
    return [f"Smaller: {share:.0%} of the bytes."] if share <= budget.smaller else []


def _kept(measured: Measured) -> str:
    if measured.quality:
        return f"No metric is worse than its margin on {measured.labelled:,} labelled rows."
    if measured.agreement is not None:
        same = f"{measured.agreement:.2%} of {measured.rows:,} rows get the same class"
        return f"{same}; there are no labels to judge by."
    return f"Its numbers hardly differ on {measured.rows:,} rows; there are no labels to judge by."
