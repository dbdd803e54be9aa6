"""Judge one window's features against their reference: each statistic, its threshold and why, one decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from monitors.stats.drift.distances import kind_of, measure_drift
from monitors.stats.drift.prepared import PreparedReference
from monitors.stats.drift.thresholds import COMBINED, NullDistributions, benjamini_hochberg, grid_size
from monitors.stats.mergeable.window_summary import ColumnSummary

NullOf = Callable[[str, int], NullDistributions]


class Method(StrEnum):
    """Which p-value decides over a feature: the psi's alone, or those of several statistics together (calibrated)."""

    PSI = "psi"
    COMBINED = "combined"

    @property
    def false_discovery_rate(self) -> float:
        """The share of false ones among flagged features; where nothing drifts, of windows with any flag."""
        return 0.01 if self == Method.COMBINED else 0.05


@dataclass(frozen=True, slots=True)
class Judgement:
    """One statistic of one feature.

    `p_value` is calibrated at the window's own rows; `asymptotic_p_value` is the textbook's, where there is
    one. `exceeds` says whether the value reached its threshold, `is_informative` whether a large effect would.
    """

    value: float
    p_value: float
    asymptotic_p_value: float | None
    threshold: float
    reason: str
    exceeds: bool
    is_informative: bool


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """All that one window says about the drift of one feature; `n` counts its rows, missing ones included.

    `p_value` is the decision's; `decided_by` names the statistic that spoke loudest in it. `reference_windows` is how
    many windows without drift the reference is worth.
    """

    feature: str
    kind: str
    n: int
    statistics: dict[str, Judgement]
    p_value: float
    decided_by: str
    drifted: bool
    reference_windows: float


def judge_drift(
    references: Mapping[str, PreparedReference],
    current: Mapping[str, ColumnSummary],
    null_of: NullOf,
    *,
    quantile: float = 0.99,
    method: Method = Method.COMBINED,
) -> dict[str, FeatureDrift]:
    """Judge every feature that both sides know.

    `null_of(feature, size)` returns the feature's null distributions for windows of `size` rows, from the
    caller's cache. A feature drifted when its p-value passes Benjamini-Hochberg over all features and a deciding
    statistic reaches its threshold, and so its effect floor: surely different, and different enough to matter.
    """
    judged = {
        name: _judge_feature(references[name], current[name], name, null_of, quantile, method)
        for name in references
        if name in current
    }
    significant = benjamini_hochberg(
        [drift.p_value for drift in judged.values()], method.false_discovery_rate
    )
    return {
        name: replace(drift, drifted=sure and drift.statistics[drift.decided_by].exceeds)
        for (name, drift), sure in zip(judged.items(), significant, strict=True)
    }


def judge_alone(
    reference: PreparedReference,
    current: ColumnSummary,
    name: str,
    null_of: NullOf,
    *,
    among: int,
    quantile: float = 0.99,
    method: Method = Method.COMBINED,
) -> FeatureDrift | None:
    """Judge one feature of at most `among`, where the others cannot change what `judge_drift` says of it; else None.

    Benjamini-Hochberg rejects every p-value up to the rate's share of one feature, and none above the rate itself:
    between them the others decide.
    """
    drift = _judge_feature(reference, current, name, null_of, quantile, method)
    rate = method.false_discovery_rate
    if not drift.statistics[drift.decided_by].exceeds or drift.p_value > rate:
        return drift
    return replace(drift, drifted=True) if drift.p_value <= rate / among else None


def _judge_feature(
    reference: PreparedReference,
    current: ColumnSummary,
    name: str,
    null_of: NullOf,
    quantile: float,
    method: Method,
) -> FeatureDrift:
    null, kind = null_of(name, grid_size(current.rows)), kind_of(reference)
    judged = {}
    for kernel, statistic in measure_drift(reference, current).items():
        threshold = null.threshold(kernel, quantile=quantile)
        judged[kernel] = Judgement(
            value=statistic.value,
            p_value=null.p_value(kernel, statistic.value),
            asymptotic_p_value=statistic.p_value,
            threshold=threshold.value,
            reason=threshold.reason,
            exceeds=statistic.value >= threshold.value,
            is_informative=threshold.is_informative,
        )
    deciding = COMBINED[kind] if method == Method.COMBINED else ("psi",)
    # The one that exceeds its threshold most surely; where none does, the least likely one.
    loudest = min(deciding, key=lambda kernel: (not judged[kernel].exceeds, judged[kernel].p_value))
    p_value = judged["psi"].p_value
    if method == Method.COMBINED:
        p_value = null.combined_p_value({kernel: judged[kernel].value for kernel in deciding})
    return FeatureDrift(
        name, kind, current.rows, judged, p_value, loudest,
        drifted=False, reference_windows=null.reference_windows,
    )  # fmt: skip
