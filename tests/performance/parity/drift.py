"""Drift statistics and decisions: from summaries, and exactly from raw rows by NumPy, SciPy and Evidently."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.stats import _morestats as scipy_internals

from monitors.stats.drift.distances import measure_drift
from monitors.stats.drift.evidently_defaults import evidently_verdict
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.thresholds import COMBINED, NullDistributions, grid_size, resample_null
from monitors.stats.mergeable.sketches import (
    NumericSummary,
    choose_centre,
    summarise_categories,
    summarise_numbers,
)
from tests.performance.parity.columns import Comparison

STATISTICS = ("ks", "wasserstein", "js", "psi", "tv", "anderson_darling")
EVIDENTLY_LINES = {"ks": 0.05, "wasserstein": 0.1, "jensenshannon": 0.1, "psi": 0.1}
RATE = 0.01  # of false flags, as `Method.COMBINED` holds it
DRAWS = 400


@dataclass
class Tally:
    """The largest difference of one number, on which column, and the decisions that it turned."""

    furthest: float = 0.0
    where: str = ""
    flips: int = 0
    flagged: int = 0
    compared: int = 0
    flipped: list[str] = field(default_factory=list)

    def add(self, ours: float, exact: float, name: str) -> None:
        self.compared += 1
        if abs(ours - exact) > self.furthest:
            self.furthest, self.where = float(abs(ours - exact)), name

    def decide(self, ours: bool, exact: bool, name: str) -> None:
        self.flagged += int(exact)
        if ours != exact:
            self.flips += 1
            self.flipped.append(name)


@dataclass(frozen=True)
class Measured:
    """One comparison, by summaries and exactly."""

    comparison: Comparison

    @cached_property
    def centre(self) -> float:
        return choose_centre(self.comparison.reference)

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The finite values of both sides."""
        return tuple(side[np.isfinite(side)] for side in (self.comparison.reference, self.comparison.current))  # type: ignore[return-value]

    @cached_property
    def summaries(self) -> tuple[NumericSummary, NumericSummary]:
        reference, current = self.comparison.reference, self.comparison.current
        return summarise_numbers(reference, centre=self.centre), summarise_numbers(
            current, centre=self.centre
        )

    def ours(self) -> dict[str, float]:
        reference, current = self.summaries
        return {
            name: found.value for name, found in measure_drift(prepare_reference(reference), current).items()
        }

    def exact(self) -> dict[str, float]:
        """The same statistics by their definitions, on raw rows."""
        (reference, current), (usual, seen) = self.rows, _tenths(self.comparison)
        r, c = usual / usual.sum(), seen / seen.sum()
        return {
            "ks": stats.ks_2samp(reference, current, method="asymp").statistic,
            "wasserstein": stats.wasserstein_distance(reference, current) / reference.std(),
            "js": float(jensenshannon(r, c, base=2)),
            "psi": _psi(usual, seen),
            "tv": float(np.abs(r - c).sum() / 2),
            "anderson_darling": _anderson_darling(reference, current),
        }

    def calibrated(self, nulls: NullDistributions, values: dict[str, float]) -> bool:
        """Decide over one column as a monitor does that watches it alone."""
        deciding = {name: values[name] for name in COMBINED["numeric"]}
        beyond = [nulls.threshold(name, quantile=0.99).value <= value for name, value in deciding.items()]
        return any(beyond) and nulls.combined_p_value(deciding) <= RATE

    def nulls(self, cache: dict[tuple[str, str, int, int], NullDistributions]) -> NullDistributions:
        reference, current = self.summaries
        size = grid_size(current.rows)
        key = (self.comparison.group, self.comparison.column, id(self.comparison.reference), size)
        if key not in cache:
            cache[key] = resample_null(
                prepare_reference(reference), size, rng=np.random.default_rng(0), draws=DRAWS
            )
        return cache[key]

    def by_evidently(self) -> dict[str, float]:
        """The scores of four of Evidently's tests, by its own code on raw rows."""
        from evidently.legacy.calculations.stattests.registry import get_stattest
        from evidently.legacy.core import ColumnType

        reference, current = (pd.Series(side) for side in self.rows)
        scores = {}
        for name in EVIDENTLY_LINES:
            test = get_stattest(reference, current, ColumnType.Numerical, name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores[name] = float(test(reference, current, ColumnType.Numerical, None).drift_score)
        return scores

    def evidently_from_summaries(self) -> dict[str, float]:
        """The same scores with nothing but the summaries: its bins span the least and the largest of both sides."""
        usual, seen = self.summaries
        edges = _sturges(usual, seen)
        shares = [
            side.histogram(edges) / side.n if edges is not None else _shares_by_value(side, usual, seen)
            for side in (usual, seen)
        ]
        ks = stats.ks_2samp(*(np.repeat(side.keys.astype(float), side.counts) for side in (usual, seen)))
        area = stats.wasserstein_distance(usual.offsets, seen.offsets, usual.counts, seen.counts)
        filled = [_fill_zeros(side) for side in shares]
        return {
            "ks": float(ks.pvalue),
            "wasserstein": float(area / max(usual.std, 0.001)),
            "jensenshannon": float(jensenshannon(*shares)),
            "psi": float(((filled[0] - filled[1]) * np.log(filled[0] / filled[1])).sum()),
        }


def _sturges(usual: NumericSummary, seen: NumericSummary) -> np.ndarray | None:
    """Evidently's edges; None where the reference has up to twenty values, which are then bins of their own."""
    if usual.keys.size <= 20:
        return None
    bins = int(np.ceil(np.log2(usual.n + seen.n) + 1))
    return np.linspace(min(usual.minimum, seen.minimum), max(usual.maximum, seen.maximum), bins + 1)


def _shares_by_value(side: NumericSummary, *both: NumericSummary) -> np.ndarray:
    keys = np.union1d(both[0].keys, both[1].keys)
    counts = np.zeros(keys.size)
    counts[np.searchsorted(keys, side.keys)] = side.counts
    return counts / side.n


def _fill_zeros(shares: np.ndarray) -> np.ndarray:
    least = shares[shares > 0].min()
    return np.where(shares == 0, least / 1e6 if least <= 1e-4 else 1e-4, shares)


def _tenths(comparison: Comparison) -> list[np.ndarray]:
    """Count both sides in the reference's tenths; a value that is several of them stands alone, so do gaps."""
    finite = np.sort(comparison.reference[np.isfinite(comparison.reference)])
    tenths = (
        -(-finite.size * np.arange(1, 10) // 10) - 1
    )  # whole numbers: 0.7 times 5,000 rows is a little more
    edges, times = np.unique(finite[tenths], return_counts=True)
    edges = np.union1d(edges, np.nextafter(edges[times > 1], -np.inf))
    counted = []
    for side in (comparison.reference, comparison.current):
        inside = side[np.isfinite(side)]
        bins = np.bincount(np.searchsorted(edges, inside), minlength=edges.size + 1)
        counted.append(np.append(bins, side.size - inside.size).astype(float))
    return counted


def _psi(usual: np.ndarray, seen: np.ndarray) -> float:
    used = usual + seen > 0
    r, c = (np.maximum(side[used], 0.5) / np.maximum(side[used], 0.5).sum() for side in (usual, seen))
    return float(((r - c) * np.log(r / c)).sum())


def _anderson_darling(reference: np.ndarray, current: np.ndarray) -> float:
    """The kernel's definition on rows: midranks, no cells."""
    pooled = np.sort(np.concatenate([reference, current]))
    usual, seen = (
        sum(np.searchsorted(np.sort(side), pooled, side=way) for way in ("left", "right")) / (2 * side.size)
        for side in (reference, current)
    )
    joint = (usual * reference.size + seen * current.size) / pooled.size
    return float(np.sqrt(((usual - seen) ** 2 / (joint * (1 - joint))).mean()))


def scipys_anderson_darling(reference: np.ndarray, current: np.ndarray) -> float:
    """SciPy's two-sample statistic before it is standardised, as a distance."""
    pooled = np.sort(np.concatenate([reference, current]))
    sizes = np.array([reference.size, current.size])
    samples = [np.sort(reference), np.sort(current)]
    found = scipy_internals._anderson_ksamp_midrank(samples, pooled, np.unique(pooled), 2, sizes, pooled.size)
    return float(np.sqrt(found * pooled.size / (pooled.size - 1) * pooled.size / sizes.prod()))


# -- all of them -------------------------------------------------------------------------------------------------------
def compare_all(comparisons: Iterable[Comparison]) -> dict[str, dict[str, Tally]]:
    """Tally every number and decision: by group, then by `ks`, ..., `calibrated`, `evidently ks`, ..."""
    groups: dict[str, dict[str, Tally]] = {}
    cache: dict[tuple[str, str, int, int], NullDistributions] = {}
    keep = []  # so that no array's id is used again
    for comparison in comparisons:
        keep.append(comparison)
        measured, name = Measured(comparison), f"{comparison.group} {comparison.column}"
        group = groups.setdefault(_group_of(comparison), {})
        ours, exact, nulls = measured.ours(), measured.exact(), measured.nulls(cache)
        for statistic in STATISTICS:
            tally = group.setdefault(statistic, Tally())
            limit = nulls.threshold(statistic, quantile=0.99).value
            tally.add(ours[statistic], exact[statistic], name)
            tally.decide(ours[statistic] >= limit, exact[statistic] >= limit, name)
        tally = group.setdefault("calibrated", Tally())
        tally.compared += 1
        tally.decide(measured.calibrated(nulls, ours), measured.calibrated(nulls, exact), name)
        _compare_with_evidently(measured, group, name)
    return groups


def _compare_with_evidently(measured: Measured, group: dict[str, Tally], name: str) -> None:
    ours, theirs = measured.evidently_from_summaries(), measured.by_evidently()
    for test, line in EVIDENTLY_LINES.items():
        tally = group.setdefault(f"evidently {test}", Tally())
        tally.add(ours[test], theirs[test], name)
        below = test == "ks"
        tally.decide(
            (ours[test] <= line) if below else (ours[test] >= line),
            (theirs[test] <= line) if below else (theirs[test] >= line),
            name,
        )
    usual, seen = measured.summaries
    verdict = evidently_verdict(usual, seen)
    if verdict is not None and verdict.test in theirs:
        tally = group.setdefault("evidently's choice", Tally())
        tally.add(verdict.score, theirs[verdict.test], name)
        is_drift = theirs[verdict.test] <= 0.05 if verdict.test == "ks" else theirs[verdict.test] >= 0.1
        tally.decide(verdict.drifted, is_drift, name)


def _group_of(comparison: Comparison) -> str:
    return comparison.column if comparison.group == "made up" else comparison.group


# -- the formulae ------------------------------------------------------------------------------------------------------
def formulae(rng: np.random.Generator) -> dict[str, float]:
    """The largest difference to SciPy where each value has a cell of its own: what is left are the formulae."""
    names = (
        *STATISTICS,
        "ks p",
        "anderson_darling to SciPy's",
        "chi_square",
        "chi_square p",
        "js of categories",
    )
    furthest = dict.fromkeys(names, 0.0)
    for _ in range(50):
        reference, current = (
            rng.integers(-60, 61, size) + 0.0 + shift for size, shift in ((900, 0), (500, rng.integers(0, 9)))
        )
        measured = Measured(Comparison("", "", reference, current))
        ours, exact = measured.ours(), measured.exact()
        for name in STATISTICS:
            furthest[name] = max(furthest[name], float(abs(ours[name] - exact[name])))
        _compare_tests(measured, furthest)
        _compare_levels(rng, furthest)
    return furthest


def _compare_tests(measured: Measured, furthest: dict[str, float]) -> None:
    reference, current = measured.rows
    summaries = measured.summaries
    found = measure_drift(prepare_reference(summaries[0]), summaries[1])
    p_value = stats.ks_2samp(reference, current, method="asymp").pvalue
    # SciPy's statistic weighs equal values otherwise, so it is asked about rows without any.
    rows = np.random.default_rng(int(reference.sum()) & 0xFFFF).permutation(1_400) + 0.5
    theirs, ours = scipys_anderson_darling(rows[:900], rows[900:]), _anderson_darling(rows[:900], rows[900:])
    furthest["ks p"] = max(furthest["ks p"], float(abs((found["ks"].p_value or 0.0) - p_value)))
    key = "anderson_darling to SciPy's"
    furthest[key] = max(furthest[key], abs(theirs - ours))


def _compare_levels(rng: np.random.Generator, furthest: dict[str, float]) -> None:
    usual, seen = (rng.choice(list("abcdefgh"), size, p=rng.dirichlet(np.full(8, 20))) for size in (900, 500))
    found = measure_drift(prepare_reference(summarise_categories(usual)), summarise_categories(seen))
    table = np.array([[(side == level).sum() for level in "abcdefgh"] for side in (usual, seen)])
    exact = stats.chi2_contingency(table, correction=False)
    shares = table / table.sum(axis=1, keepdims=True)
    for name, ours, theirs in (
        ("chi_square", found["chi_square"].value, exact.statistic),
        ("chi_square p", found["chi_square"].p_value or 0.0, exact.pvalue),
        ("js of categories", found["js"].value, jensenshannon(*shares, base=2)),
    ):
        furthest[name] = max(furthest[name], abs(float(ours) - float(theirs)))
