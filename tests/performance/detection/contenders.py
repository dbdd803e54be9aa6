"""Who decides: the product, Evidently's and NannyML's defaults, and Kolmogorov-Smirnov with Benjamini-Hochberg.

Each says of a window how loudly it would be flagged, so that thresholds can be tuned alike; 1 is its own line.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import stats

from monitors.stats.drift.judging import FeatureDrift, Method, judge_drift
from monitors.stats.drift.prepared import PreparedReference, prepare_reference
from monitors.stats.drift.reference_days import count_days
from monitors.stats.drift.thresholds import NullDistributions, resample_null
from monitors.stats.mergeable.sketches import choose_centre
from monitors.stats.mergeable.window_summary import ColumnSummary, summarise_window
from tests.performance.detection.worlds import Columns, Window
from tests.performance.nannyml_rival import Rival, nannyml_rival

FALSE_DISCOVERY_RATE = 0.05
# What a drift monitor asks of a window, unless it is told otherwise.
MIN_ROWS = 50
MIN_CHUNKS = 6
FIRST_DAY = date(2026, 1, 1)
_MIN_POSITIVE = 1e-300


class Fitted(Protocol):
    """A contender that knows its reference."""

    def measure(self, columns: Columns) -> dict[str, object]:
        """Reduce some columns of a window to what the decision needs."""

    def loudness(self, measured: dict[str, object]) -> float:
        """Say how loudly a window is flagged: at 1 and above it is, with the settings as shipped.

        Not a number where the window is `insufficient`.
        """


Contender = Callable[[Window, int, int], Fitted]  # the reference, the rows of later windows, a seed


class Ours:
    """Summaries, the combined decision on calibrated p-values, effect floors, Benjamini-Hochberg: `judge_drift`."""

    def __init__(self, reference: Window, rows: int, seed: int) -> None:
        self.centres = {
            name: choose_centre(values)
            for name, values in reference.columns.items()
            if values.dtype != object
        }
        columns = self._summarise(reference.columns)
        self.references: dict[str, PreparedReference] = {
            name: prepare_reference(column) for name, column in columns.items()
        }
        self.days = count_days(
            self.references,
            [
                (FIRST_DAY + timedelta(days=number), self._summarise(part))
                for number, part in enumerate(_days_of(reference))
            ],
        )
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

    def measure(self, columns: Columns) -> dict[str, object]:
        """Judge each column by itself: all but the correction for looking at many."""
        return dict(judge_drift(self.references, self._summarise(columns), self._null_of))

    def loudness(self, measured: dict[str, object]) -> float:
        """Invert the smallest false discovery rate at which some feature would count as drifted."""
        judged: list[FeatureDrift] = list(measured.values())  # type: ignore[arg-type]
        if judged[0].n < MIN_ROWS:
            return np.nan
        rates = stats.false_discovery_control([max(drift.p_value, _MIN_POSITIVE) for drift in judged])
        enough = [drift.statistics[drift.decided_by].exceeds for drift in judged]
        least = min((rate for rate, matters in zip(rates, enough, strict=True) if matters), default=np.inf)
        return float(Method.COMBINED.false_discovery_rate / least)


def _days_of(reference: Window) -> list[Columns]:
    parts = {name: np.split(values, reference.days) for name, values in reference.columns.items()}
    return [{name: days[i] for name, days in parts.items()} for i in range(reference.days)]


class Evidently:
    """Evidently 0.7.23's own choice of test, its own functions and thresholds; a window is flagged by any column."""

    def __init__(self, reference: Window, rows: int, seed: int) -> None:
        self.columns = {name: _clean(values) for name, values in reference.columns.items()}

    def measure(self, columns: Columns) -> dict[str, object]:
        return {name: self._measure(name, values) for name, values in columns.items()}

    def _measure(self, name: str, values: np.ndarray) -> float:
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
        return threshold / max(score, _MIN_POSITIVE)

    def loudness(self, measured: dict[str, object]) -> float:
        return max(measured.values())  # type: ignore[type-var, return-value]


def _clean(values: np.ndarray) -> pd.Series:
    """Leave out what Evidently leaves out: missing and infinite values."""
    return pd.Series(values[np.isfinite(values)] if values.dtype != object else values[pd.notna(values)])


class NannyML:
    """NannyML 0.13.1's own calculator as it comes: the Jensen-Shannon distance of every column, and its limit.

    The limit is the mean of the reference's chunks and three of their standard deviations; a chunk has the rows of a
    window where the reference has at least the six of them that NannyML asks for, else there are its default of ten.
    Tuned alike with the others is the number of standard deviations.
    """

    def __init__(self, rival: Rival, reference: Window, rows: int, seed: int) -> None:
        frame = pd.DataFrame(reference.columns)
        chunks = {"chunk_size": rows} if len(frame) >= MIN_CHUNKS * rows else {}
        self.calculator = rival.fit(
            "UnivariateDriftCalculator", frame, column_names=list(reference.columns), **chunks
        )
        said = self.calculator.measure(frame)
        self.usual: dict[str, tuple[float, float]] = {}
        for name in reference.columns:
            usual = float(said[f"{name}.jensen_shannon.value"].mean())
            limit = float(said[f"{name}.jensen_shannon.upper_threshold"].iloc[0])
            self.usual[name] = usual, limit - usual

    def measure(self, columns: Columns) -> dict[str, object]:
        said = self.calculator.distances(pd.DataFrame(columns))
        return {name: self._beyond(name, distance) for name, [distance] in said.items()}

    def _beyond(self, name: str, distance: float | None) -> float:
        """Give the distance from the usual one, in those of the limit; a column without a value says nothing."""
        usual, room = self.usual[name]
        if distance is None or distance <= usual:
            return 0.0
        return (distance - usual) / max(room, _MIN_POSITIVE)

    def loudness(self, measured: dict[str, object]) -> float:
        return max(measured.values())  # type: ignore[type-var, return-value]


class KolmogorovSmirnov:
    """KS for numbers and chi-square for categories, on p-values that Benjamini-Hochberg holds at 5%."""

    def __init__(self, reference: Window, rows: int, seed: int) -> None:
        self.numbers, self.levels = {}, {}
        for name, values in reference.columns.items():
            if values.dtype == object:
                self.levels[name] = _clean(values).value_counts()
            else:
                self.numbers[name] = np.sort(_clean(values).to_numpy())

    def measure(self, columns: Columns) -> dict[str, object]:
        return {name: self._p_value(name, _clean(values)) for name, values in columns.items()}

    def _p_value(self, name: str, current: pd.Series) -> float:
        if not len(current):
            return 1.0
        if name in self.numbers:
            return float(stats.ks_2samp(self.numbers[name], current.to_numpy(), method="asymp").pvalue)
        table = pd.concat([self.levels[name], current.value_counts()], axis=1).fillna(0)
        return float(stats.chi2_contingency(table.to_numpy().T).pvalue) if len(table) > 1 else 1.0

    def loudness(self, measured: dict[str, object]) -> float:
        rates = stats.false_discovery_control([max(p, _MIN_POSITIVE) for p in measured.values()])  # type: ignore[type-var]
        return float(FALSE_DISCOVERY_RATE / rates.min())


OURS = "driftline"
WITHIN: dict[str, Contender] = {OURS: Ours, "Evidently": Evidently, "KS + BH": KolmogorovSmirnov}


@contextmanager
def everybody() -> Iterator[dict[str, Contender]]:
    """Give all contenders by name, ours first; NannyML's process runs until the block ends."""
    with nannyml_rival() as rival:
        yield WITHIN | {"NannyML": partial(NannyML, rival)}
