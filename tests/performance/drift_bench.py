"""One more day of 100,000 rows x 30 features, summarised and decided: `python -m tests.performance.drift_bench
[--json PATH]`.

Ours starts from the day's raw columns: it summarises them, measures every statistic against a prepared reference,
compares each with its calibrated threshold (cached, as in a running installation) and holds the false discovery
rate. Beside it, on the same arrays: Evidently's DataDriftPreset with its own tests, and a plain NumPy/SciPy script
that computes our statistics from the raw rows. A column of 20,000 levels is slow for Evidently alone, so both days,
with and without it, are run. Rounds are interleaved, so that noise falls on all alike; ratios pair runs of one round.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

from monitors.stats.drift.judging import FeatureDrift, judge_drift
from monitors.stats.drift.prepared import PreparedReference, prepare_reference
from monitors.stats.drift.thresholds import NullDistributions, grid_size, resample_null
from monitors.stats.mergeable.sketches import choose_centre
from monitors.stats.mergeable.window_summary import summarise_window

ROWS = 100_000
LEVELS = (3, 8, 40, 800, 20_000)
DRIFTED = 8
Columns = dict[str, np.ndarray]


def day_of(rng: np.random.Generator, *, drift: float) -> Columns:
    """Draw a day: 25 numeric columns of five awkward shapes, up to a fifth missing, and 5 categorical ones."""
    shapes: list[Callable[[], np.ndarray]] = [
        lambda: rng.lognormal(size=ROWS),
        lambda: rng.standard_t(2.5, size=ROWS),
        lambda: np.floor(rng.gamma(2, 3, size=ROWS)),
        lambda: np.where(rng.random(ROWS) < 0.6, 0.0, rng.exponential(size=ROWS)),
        lambda: np.where(rng.random(ROWS) < 0.5, rng.normal(-3, 1, ROWS), rng.normal(4, 0.5, ROWS)),
    ]
    columns: Columns = {}
    for i in range(25):
        values = shapes[i % 5]()
        values = values * (1 + drift) + drift if i < DRIFTED else values
        columns[f"n{i:02}"] = np.where(rng.random(ROWS) < 0.05 * (i % 5), np.nan, values)
    for levels in LEVELS:
        names = np.array([f"level {level}" for level in range(levels)], dtype=object)
        columns[f"c{levels}"] = names[(rng.zipf(1.3, size=ROWS) - 1) % levels]
    return columns


class Ours:
    """What a worker keeps in memory between windows, and what it does with one more."""

    def __init__(self, reference: Columns) -> None:
        numeric = {name: values for name, values in reference.items() if values.dtype != object}
        self.centres = {name: choose_centre(values) for name, values in numeric.items()}
        summary = summarise_window(rows=ROWS, features=reference, centres=self.centres)
        self.references: dict[str, PreparedReference] = {
            name: prepare_reference(column) for name, column in summary.features.items()
        }
        self.nulls: dict[str, NullDistributions] = {
            name: resample_null(column, grid_size(ROWS), rng=np.random.default_rng(0))
            for name, column in self.references.items()
        }

    def judge(self, day: Columns) -> dict[str, FeatureDrift]:
        window = summarise_window(rows=ROWS, features=day, centres=self.centres)
        return judge_drift(self.references, window.features, lambda name, size: self.nulls[name])


class Plain:
    """The same statistics by NumPy and SciPy on raw rows; what can be kept of the reference is kept."""

    def __init__(self, reference: Columns) -> None:
        self.reference: dict[str, Any] = {}
        for name, values in reference.items():
            if values.dtype == object:
                self.reference[name] = Counter(values.tolist())
            else:
                finite = np.sort(values[~np.isnan(values)])
                inner = np.unique(np.quantile(finite, np.arange(1, 10) / 10))
                edges = np.concatenate([[-np.inf], inner, [np.inf]])
                shares = np.append(np.histogram(finite, edges)[0], values.size - finite.size)
                self.reference[name] = finite, finite.std(), edges, shares

    def judge(self, day: Columns) -> dict[str, dict[str, float]]:
        return {
            name: self._categories(name, values) if values.dtype == object else self._numbers(name, values)
            for name, values in day.items()
        }

    def _numbers(self, name: str, values: np.ndarray) -> dict[str, float]:
        reference, spread, edges, reference_shares = self.reference[name]
        finite = values[~np.isnan(values)]
        shares = np.append(np.histogram(finite, edges)[0], values.size - finite.size)
        ks = stats.ks_2samp(reference, finite, method="asymp")
        return {
            "ks": ks.statistic,
            "ks_p": ks.pvalue,
            "wasserstein": stats.wasserstein_distance(reference, finite) / spread,
            **_shares_moved(reference_shares, shares),
        }

    def _categories(self, name: str, values: np.ndarray) -> dict[str, float]:
        reference, counted = self.reference[name], Counter(values.tolist())
        table = np.array(
            [[side[level] for level in {**reference, **counted}] for side in (reference, counted)]
        )
        chi_square = stats.chi2_contingency(table, correction=False)
        return {
            "chi_square": chi_square.statistic,
            "chi_square_p": chi_square.pvalue,
            **_shares_moved(*table),
        }


def _shares_moved(reference: np.ndarray, current: np.ndarray) -> dict[str, float]:
    used = reference + current > 0
    r, c = (np.maximum(side[used], 0.5) / side.sum() for side in (reference, current))
    return {"psi": float(((r - c) * np.log(r / c)).sum()), "js": float(jensenshannon(r, c, base=2))}


class Evidently:
    """DataDriftPreset as its documentation shows it, with declared column types."""

    def __init__(self, reference: Columns) -> None:
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        self.definition = DataDefinition(
            numerical_columns=[name for name, values in reference.items() if values.dtype != object],
            categorical_columns=[name for name, values in reference.items() if values.dtype == object],
        )
        self.dataset, self.report, self.preset = Dataset, Report, DataDriftPreset
        self.reference = self._dataset(reference)
        # Its lazy imports and first-call work are not a day's cost.
        few = self._dataset({name: values[:2_000] for name, values in reference.items()})
        self.report([self.preset()], include_tests=True).run(few, few)

    def _dataset(self, columns: Columns) -> Any:
        import pandas as pd

        return self.dataset.from_pandas(pd.DataFrame(columns), data_definition=self.definition)

    def judge(self, day: Columns) -> Any:
        return self.report([self.preset()], include_tests=True).run(self._dataset(day), self.reference)


def check_answers(ours: dict[str, FeatureDrift], plain: dict[str, dict[str, float]]) -> dict[str, float]:
    """The largest differences between ours and exact computation, and how many decisions they turn."""
    differences = {"ks": 0.0, "wasserstein": 0.0}
    turned = 0
    for name, exact in plain.items():
        for kernel in differences:
            if kernel in exact:
                value = ours[name].statistics[kernel].value
                differences[kernel] = max(differences[kernel], abs(value - float(exact[kernel])))
                turned += bool((value >= 0.1) != (exact[kernel] >= 0.1))
    drifted = {name for name, drift in ours.items() if drift.drifted}
    assert drifted <= {f"n{i:02}" for i in range(DRIFTED)}, (
        f"{drifted} drifted, but only n00 to n07 were moved."
    )
    assert drifted, "Eight columns were moved and none was found."
    return {
        "max_ks_error": differences["ks"],
        "max_wasserstein_error": differences["wasserstein"],
        "turned": turned,
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Run once and give the wall time in milliseconds with the result."""
    start = time.perf_counter()
    result = work()
    return (time.perf_counter() - start) * 1e3, result


def run(reference: Columns, day: Columns, rounds: int, evidently_rounds: int) -> dict[str, Any]:
    """Time all contenders in interleaved rounds."""
    contenders: dict[str, Any] = {"ours": Ours(reference), "plain": Plain(reference)}
    if evidently_rounds:
        contenders["evidently"] = Evidently(reference)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    answers: dict[str, Any] = {}
    for round_number in range(rounds):
        for name, contender in contenders.items():
            if name == "evidently" and round_number >= evidently_rounds:
                continue
            elapsed, answers[name] = timed(lambda contender=contender: contender.judge(day))
            times[name].append(elapsed)
    return {
        "ms": {name: spread(values) for name, values in times.items()},
        "ratios": {
            name: spread([peer / own for peer, own in zip(times[name], times["ours"], strict=False)])
            for name in contenders
            if name != "ours"
        },
        "answers": check_answers(answers["ours"], answers["plain"]),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def show(title: str, results: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, ms in results["ms"].items():
        ratio = results["ratios"].get(name)
        beside = f"{ratio['median']:8.1f}x ours [{ratio['min']:.1f}-{ratio['max']:.1f}]" if ratio else ""
        print(
            f"  {name:<10}{ms['median']:>10.1f} ms [{ms['min']:.1f}-{ms['max']:.1f}, {ms['runs']} runs]  {beside}"
        )
    print(f"  answers   {results['answers']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--evidently-rounds", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(20130101)
    reference, day = day_of(rng, drift=0.0), day_of(rng, drift=0.4)
    results = {"all_30_columns": run(reference, day, options.rounds, options.evidently_rounds)}
    show("summarise and decide 100,000 rows x 30 columns", results["all_30_columns"])
    wide = f"c{LEVELS[-1]}"
    for columns in (reference, day):
        del columns[wide]
    results["without_20k_levels"] = run(reference, day, options.rounds, options.evidently_rounds)
    show("the same without the column of 20,000 levels", results["without_20k_levels"])
    if options.json:
        options.json.write_text(json.dumps({"drift": results}, indent=2))


if __name__ == "__main__":
    main()
