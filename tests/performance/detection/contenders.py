"""Who decides: the product's own decision, Evidently's default tests, and Kolmogorov-Smirnov with Benjamini-Hochberg.

Each says of a window how loudly it would be flagged, so that thresholds can be tuned alike; 1 is its own line.
"""

import os
import warnings
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import stats

from monitors.stats.drift import Method, judge_drift
from monitors.stats.prepared import PreparedReference, prepare_reference
from monitors.stats.reference_days import count_days
from monitors.stats.sketches import choose_centre
from monitors.stats.thresholds import NullDistributions, resample_null
from monitors.stats.window_summary import ColumnSummary, summarise_window
from tests.performance.detection.worlds import Columns, Window

os.environ["DO_NOT_TRACK"] = "1"
FALSE_DISCOVERY_RATE = 0.05
_SMALLEST = 1e-300


class Fitted(Protocol):
    """A contender that knows its reference."""

    def measure(self, name: str, values: np.ndarray) -> object:
        """Reduce one column of a window to what the decision needs."""

    def loudness(self, measured: dict[str, object]) -> float:
        """Say how loudly a window is flagged: at 1 and above it is, with the settings as shipped."""


class Ours:
    """Summaries, the combined decision on calibrated p-values, effect floors, Benjamini-Hochberg: `judge_drift`."""

    name = "driftline"

    def __init__(self, reference: Window, seed: int) -> None:
        self.centres = {
            name: choose_centre(values)
            for name, values in reference.columns.items()
            if values.dtype != object
        }
        columns = self._summarise(reference.columns)
        self.references: dict[str, PreparedReference] = {
            name: prepare_reference(column) for name, column in columns.items()
        }
        self.days = count_days(self.references, [self._summarise(part) for part in _days_of(reference)])
        self.seed = seed
        self.nulls: dict[tuple[str, int], NullDistributions] = {}

    def _summarise(self, columns: Columns) -> dict[str, ColumnSummary]:
        rows = len(next(iter(columns.values())))
        return summarise_window(rows=rows, features=columns, centres=self.centres).features

    def _null_of(self, name: str, size: int) -> NullDistributions:
        if (name, size) not in self.nulls:
            self.nulls[name, size] = resample_null(
                self.references[name], size, rng=np.random.default_rng(self.seed), days=self.days[name]
            )
        return self.nulls[name, size]

    def measure(self, name: str, values: np.ndarray) -> object:
        return self._summarise({name: values})[name]

    def loudness(self, measured: dict[str, object]) -> float:
        """Invert the smallest false discovery rate at which some feature would count as drifted."""
        judged = judge_drift(self.references, measured, self._null_of)  # type: ignore[arg-type]
        p_values = [max(drift.p_value, _SMALLEST) for drift in judged.values()]
        rates = stats.false_discovery_control(p_values)
        enough = [drift.statistics[drift.decided_by].exceeds for drift in judged.values()]
        least = min((rate for rate, matters in zip(rates, enough, strict=True) if matters), default=np.inf)
        return float(Method.COMBINED.false_discovery_rate / least)


def _days_of(reference: Window) -> list[Columns]:
    parts = {name: np.split(values, reference.days) for name, values in reference.columns.items()}
    return [{name: days[i] for name, days in parts.items()} for i in range(reference.days)]


class Evidently:
    """Evidently 0.7.23's own choice of test, its own functions and thresholds; a window is flagged by any column."""

    name = "Evidently"

    def __init__(self, reference: Window, seed: int) -> None:
        self.columns = {name: _clean(values) for name, values in reference.columns.items()}

    def measure(self, name: str, values: np.ndarray) -> object:
        from evidently.legacy.calculations.stattests.registry import get_stattest
        from evidently.legacy.core import ColumnType

        kind = ColumnType.Categorical if values.dtype == object else ColumnType.Numerical
        current = _clean(values)
        if not len(current):
            return 0.0
        test = get_stattest(self.columns[name], current, kind, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = test(self.columns[name], current, kind, None)
        score, threshold = float(result.drift_score), result.actual_threshold
        if test.name in ("wasserstein", "jensenshannon"):
            return score / threshold
        return threshold / max(score, _SMALLEST)

    def loudness(self, measured: dict[str, object]) -> float:
        return max(measured.values())  # type: ignore[type-var, return-value]


def _clean(values: np.ndarray) -> pd.Series:
    """Leave out what Evidently leaves out: missing and infinite values."""
    return pd.Series(values[np.isfinite(values)] if values.dtype != object else values[pd.notna(values)])


class KolmogorovSmirnov:
    """KS for numbers and chi-square for categories, on p-values that Benjamini-Hochberg holds at 5%."""

    name = "KS + BH"

    def __init__(self, reference: Window, seed: int) -> None:
        self.columns = {name: _clean(values).to_numpy() for name, values in reference.columns.items()}

    def measure(self, name: str, values: np.ndarray) -> object:
        usual, current = self.columns[name], _clean(values).to_numpy()
        if not len(current):
            return 1.0
        if values.dtype != object:
            return float(stats.ks_2samp(usual, current, method="asymp").pvalue)
        levels, codes = np.unique(np.concatenate([usual, current]).astype(str), return_inverse=True)
        table = [
            np.bincount(part, minlength=levels.size) for part in (codes[: usual.size], codes[usual.size :])
        ]
        return float(stats.chi2_contingency(table).pvalue) if levels.size > 1 else 1.0

    def loudness(self, measured: dict[str, object]) -> float:
        rates = stats.false_discovery_control([max(p, _SMALLEST) for p in measured.values()])  # type: ignore[type-var]
        return float(FALSE_DISCOVERY_RATE / rates.min())


CONTENDERS = (Ours, Evidently, KolmogorovSmirnov)
