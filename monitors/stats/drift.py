"""Judge one window's features against their reference: each statistic, its threshold and why, one decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitors.stats.distances import (
    CATEGORICAL,
    NUMERIC,
    PreparedReference,
    kind_of,
    measure_drift,
)
from monitors.stats.thresholds import NullDistributions, benjamini_hochberg, grid_size
from monitors.stats.window_summary import ColumnSummary

# The statistic whose p-values decide over a feature; all others are shown beside it.
DECIDING_KERNEL = {NUMERIC: "psi", CATEGORICAL: "psi"}

NullOf = Callable[[str, int], NullDistributions]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One statistic of one feature.

    `p_value` is calibrated at the window's own rows; `asymptotic_p_value` is the textbook's, where there is
    one. `exceeds` says whether the value reached its threshold.
    """

    value: float
    p_value: float
    asymptotic_p_value: float | None
    threshold: float
    reason: str
    exceeds: bool


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """All that one window says about the drift of one feature; `n` counts its rows, missing ones included."""

    feature: str
    kind: str
    n: int
    statistics: dict[str, Judgement]
    decided_by: str
    drifted: bool


def judge_drift(
    references: Mapping[str, PreparedReference],
    current: Mapping[str, ColumnSummary],
    null_of: NullOf,
    *,
    quantile: float = 0.99,
    false_discovery_rate: float = 0.05,
    deciding: Mapping[str, str] = DECIDING_KERNEL,
) -> dict[str, FeatureDrift]:
    """Judge every feature that both sides know.

    `null_of(feature, size)` returns the feature's null distributions for windows of `size` rows, from the
    caller's cache. A feature drifted when its deciding statistic passes Benjamini-Hochberg over all features
    and reaches its effect floor: surely different, and different enough to matter.
    """
    judged = {
        name: _judge_feature(references[name], current[name], name, null_of, quantile)
        for name in references
        if name in current
    }
    decided_by = {name: deciding[kind_of(references[name])] for name in judged}
    p_values = [judged[name][decided_by[name]].p_value for name in judged]
    significant = benjamini_hochberg(p_values, false_discovery_rate)
    return {
        name: FeatureDrift(
            feature=name,
            kind=kind_of(references[name]),
            n=current[name].rows,
            statistics=statistics,
            decided_by=decided_by[name],
            drifted=sure and statistics[decided_by[name]].exceeds,
        )
        for (name, statistics), sure in zip(judged.items(), significant, strict=True)
    }


def _judge_feature(
    reference: PreparedReference, current: ColumnSummary, name: str, null_of: NullOf, quantile: float
) -> dict[str, Judgement]:
    null = null_of(name, grid_size(current.rows))
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
        )
    return judged
