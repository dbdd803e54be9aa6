"""What Evidently 0.7.23 says of a column with its default settings, worked out from summaries.

Its choice of test looks at the reference alone: up to 1,000 rows a p-value (Kolmogorov-Smirnov, chi-square, z for two
values), above them a distance (Wasserstein in the reference's standard deviations, Jensen-Shannon in base e), each
with a line of its own whatever the window's size. Missing and infinite values are left out, so that they never are
drift. Categories agree exactly while all levels are counted by name; numbers to the width of a grid cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from monitors.stats.mergeable.sketches import CategoricalSummary, FloatArray, NumericSummary

_LARGE = 1_000
_FEW_VALUES = 5
_P_LINE, _DISTANCE_LINE = 0.05, 0.1
DRIFT_SHARE = 0.5
"""The share of drifted columns from which Evidently calls a data set drifted."""


@dataclass(frozen=True, slots=True)
class EvidentlyVerdict:
    """A column's score under the test that Evidently chooses; `score` is a p-value or a distance, by `test`."""

    test: str
    score: float
    threshold: float
    drifted: bool


def evidently_verdict(
    reference: NumericSummary | CategoricalSummary, current: NumericSummary | CategoricalSummary
) -> EvidentlyVerdict | None:
    """Judge a column as Evidently would; None where it refuses, because a side has no value."""
    if not reference.n or not current.n:
        return None
    if isinstance(reference, NumericSummary) and isinstance(current, NumericSummary):
        return _judge_numbers(reference, current.recentred(reference.centre))
    assert isinstance(reference, CategoricalSummary)
    assert isinstance(current, CategoricalSummary)
    levels = sorted({*reference.counts, *current.counts})
    usual, seen = (
        np.array([side.counts.get(level, 0) for level in levels], dtype=np.float64)
        for side in (reference, current)
    )
    if reference.rest or current.rest:  # levels that are counted together are one level
        usual, seen = np.append(usual, reference.rest), np.append(seen, current.rest)
    return _judge_values(usual, seen)


def _judge_numbers(reference: NumericSummary, current: NumericSummary) -> EvidentlyVerdict:
    keys = np.union1d(reference.keys, current.keys)
    if keys.size <= _FEW_VALUES:
        return _judge_values(_counts_at(keys, reference), _counts_at(keys, current))
    if reference.n > _LARGE:
        area = scipy.stats.wasserstein_distance(
            reference.offsets, current.offsets, reference.counts, current.counts
        )
        return _distance("wasserstein", float(area) / max(reference.std, 0.001))
    # Equal keys stand for equal values: what scipy reads of both columns is their order alone.
    usual, seen = (np.repeat(side.keys.astype(np.float64), side.counts) for side in (reference, current))
    return _p_value("ks", float(scipy.stats.ks_2samp(usual, seen).pvalue), inclusive=True)


def _counts_at(keys: np.ndarray, side: NumericSummary) -> FloatArray:
    counts = np.zeros(keys.size)
    counts[np.searchsorted(keys, side.keys)] = side.counts
    return counts


def _judge_values(usual: FloatArray, seen: FloatArray) -> EvidentlyVerdict:
    """Judge by the counts of each distinct value, in the order of the values."""
    if usual.sum() > _LARGE:
        return _distance(
            "jensenshannon",
            float(scipy.spatial.distance.jensenshannon(usual / usual.sum(), seen / seen.sum())),
        )
    if usual.size > 2:
        with np.errstate(divide="ignore", invalid="ignore"):  # a new level is infinitely unlikely to it
            statistic = (
                (seen - usual * seen.sum() / usual.sum()) ** 2 / (usual * seen.sum() / usual.sum())
            ).sum()
        return _p_value("chisquare", float(scipy.stats.chi2.sf(statistic, usual.size - 1)))
    return _p_value("z", _z_p_value(usual, seen))


def _z_p_value(usual: FloatArray, seen: FloatArray) -> float:
    """Test the share of all values but the smallest one, two-sided with pooled variance."""
    if usual.size == 1:
        return 1.0
    n_usual, n_seen = usual.sum(), seen.sum()
    pooled = (usual[1] + seen[1]) / (n_usual + n_seen)
    gap = usual[1] / n_usual - seen[1] / n_seen
    z = gap / np.sqrt(pooled * (1 - pooled) * (1 / n_usual + 1 / n_seen))
    return float(2 * (1 - scipy.stats.norm.cdf(abs(z))))


def _p_value(test: str, p_value: float, *, inclusive: bool = False) -> EvidentlyVerdict:
    drifted = p_value <= _P_LINE if inclusive else p_value < _P_LINE
    return EvidentlyVerdict(test, p_value, _P_LINE, drifted)


def _distance(test: str, value: float) -> EvidentlyVerdict:
    return EvidentlyVerdict(test, value, _DISTANCE_LINE, value >= _DISTANCE_LINE)
