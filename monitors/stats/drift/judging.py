"""Judge one window's features against their reference: each statistic, its threshold and why, one decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from monitors.stats.drift.distances import kind_of, measure_drift
from monitors.stats.drift.judged import FeatureDrift, Judgement
from monitors.stats.drift.prepared import PreparedReference
from monitors.stats.drift.thresholds import COMBINED, NullDistributions, benjamini_hochberg, grid_size
from monitors.stats.drift.vectors import column_quantile, judge_vector
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


def judge_drift(
    references: Mapping[str, PreparedReference],
    current: Mapping[str, ColumnSummary],
    null_of: NullOf,
    *,
    quantile: float = 0.99,
    method: Method = Method.COMBINED,
    vectors: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, FeatureDrift]:
    """Judge every feature that both sides know; the columns that a vector consists of as one.

    `null_of(feature, size)` returns the feature's null distributions for windows of `size` rows, from the
    caller's cache. A feature drifted when its p-value passes Benjamini-Hochberg over all features and a deciding
    statistic reaches its threshold, and so its effect floor: surely different, and different enough to matter.
    """
    known = [name for name in references if name in current]
    columns = {
        vector: [name for name in parts if name in current] for vector, parts in (vectors or {}).items()
    }
    among = {name: len(parts) for parts in columns.values() for name in parts}
    judged = {
        name: _judge_feature(
            references[name],
            current[name],
            name,
            null_of,
            column_quantile(quantile, among.get(name, 1)),
            method,
        )
        for name in known
    }
    for vector, parts in columns.items():
        if parts:
            judged[vector] = judge_vector(vector, [judged.pop(name) for name in parts])
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
