"""Our numbers beside NannyML's where it defines the same quantity: `python -m tests.performance.nannyml_parity`.

Of the same windows NannyML reads rows, ours summaries of them. Prints each quantity's largest difference over all
windows and columns, and the range that NannyML's values have:

- drift: Kolmogorov-Smirnov and Wasserstein (in standard deviations of the reference) of references below 10,000 rows,
  above which NannyML bins the column; Jensen-Shannon and chi-square of categories (the latter of columns without rare
  levels, which ours counts together); Jensen-Shannon of numbers by our formula on its bins, Doane's, where the product
  has tenths;
- CBPE's point estimates: NannyML fits its calibration to rows, ours to cells of a grid;
- realised metrics.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from monitors.stats.drift.distances import CategoricalPair, jensen_shannon_distance, measure_drift
from monitors.stats.drift.prepared import CategoricalReference, NumericReference, prepare_reference
from monitors.stats.mergeable.sketches import (
    choose_centre,
    summarise_categories,
    summarise_numbers,
)
from monitors.stats.performance.estimate import Estimate
from tests.performance.estimates_bench import CUTTING, Ours, dated_by_window, outcome_of
from tests.performance.labelled_sequences import Labelled, cut, sequences
from tests.performance.nannyml_rival import Rival, nannyml_rival

RARE = 5
KINDS = {"CBPE": "CBPE", "PerformanceCalculator": "realised"}
CLASSES = ("accuracy", "precision", "recall", "f1", "roc_auc")
NUMBERS = ("mae", "rmse")
Difference = tuple[str, float | None, float]  # what, ours, NannyML's
Frames = tuple[pd.DataFrame, pd.DataFrame]
Measured = tuple[str, str, float, float]  # what, NannyML's name, ours, the unit that NannyML's is divided by


CUTS: dict[str, str | int] = {"California": "month", "car loan": "month", "car price": "week"}


def differences(rival: Rival, sequence: Labelled, window: str | int) -> Iterator[Difference]:
    windows = [rows for _, rows in sequence.later.groupby(cut(sequence.later, window))]
    frames = dated_by_window(sequence, window)
    classes = "y_pred_proba" in sequence.reference
    task = {"y_true": "y_true", "y_pred": "y_pred", "problem_type": "regression"} | CUTTING
    if classes:
        task |= {"y_pred_proba": "y_pred_proba", "problem_type": "classification_binary"}
        ours = Ours(sequence, 1)
        yield from _metrics("CBPE", [ours.estimate(rows) for rows in windows], rival, frames, task)
    realised = [outcome_of(rows) for rows in windows]
    yield from _metrics("PerformanceCalculator", realised, rival, frames, task)
    yield from _drift(sequence, windows, rival, frames)


def _metrics(
    kind: str, windows: list[dict[str, Estimate]], rival: Rival, frames: Frames, task: dict[str, str]
) -> Iterator[Difference]:
    metrics = CLASSES if "y_pred_proba" in task else NUMBERS
    told = rival.fit(kind, frames[0], metrics=list(metrics), **task).measure(frames[1])
    for number, ours in enumerate(windows):
        for name in metrics:
            yield f"{KINDS[kind]} {name}", ours[name].value, told[f"{name}.value"][number]


def _drift(
    sequence: Labelled, windows: list[pd.DataFrame], rival: Rival, frames: Frames
) -> Iterator[Difference]:
    told = rival.fit(
        "UnivariateDriftCalculator", frames[0], column_names=sequence.features,
        continuous_methods=["kolmogorov_smirnov", "wasserstein", "jensen_shannon"],
        categorical_methods=["chi2", "jensen_shannon"], **CUTTING,
    ).measure(frames[1])  # fmt: skip
    for name in sequence.features:
        reference = sequence.reference[name].to_numpy()
        measure = _categories if reference.dtype == object else _numbers
        for number, measured in enumerate(measure(reference, [rows[name].to_numpy() for rows in windows])):
            for what, theirs, value, unit in measured:
                yield what, value, told[f"{name}.{theirs}.value"][number] / unit


def _numbers(reference: np.ndarray, windows: list[np.ndarray]) -> Iterator[list[Measured]]:
    centre = choose_centre(reference)
    prepared = prepare_reference(summarise_numbers(reference, centre=centre))
    assert isinstance(prepared, NumericReference)
    edges = np.histogram_bin_edges(reference[~np.isnan(reference)], bins="doane")
    on_bins = _binned(reference, edges)
    for window in windows:
        drift = measure_drift(prepared, summarise_numbers(window, centre=centre))
        js = jensen_shannon_distance(CategoricalPair(on_bins, _binned(window, edges).summary))
        found = [("Jensen-Shannon, its bins", "jensen_shannon", js.value, 1.0)]
        if reference.size < 10_000:
            found += [
                ("Kolmogorov-Smirnov", "kolmogorov_smirnov", drift["ks"].value, 1.0),
                ("Wasserstein", "wasserstein", drift["wasserstein"].value, prepared.scale),
            ]
        yield found


def _binned(values: np.ndarray, edges: np.ndarray) -> CategoricalReference:
    """Count values by bins of closed-open ends, the last closed; what lies outside is one level of its own."""
    known = values[~np.isnan(values)]
    bins = np.clip(np.searchsorted(edges, known, side="right"), 0, edges.size)
    bins[known == edges[-1]] = edges.size - 1
    bins[bins == edges.size] = 0
    levels = {str(number): number for number in range(1, edges.size)}
    summary = summarise_categories(bins.astype(str).astype(object))
    counts = [summary.counts.get(level, 0) for level in levels]
    return CategoricalReference(
        summary, levels, np.array([*counts, summary.n - sum(counts), 0], dtype=np.float64)
    )


def _categories(reference: np.ndarray, windows: list[np.ndarray]) -> Iterator[list[Measured]]:
    prepared = prepare_reference(summarise_categories(reference))
    for window in windows:
        drift = measure_drift(prepared, summarise_categories(window))
        found = [("Jensen-Shannon, categories", "jensen_shannon", drift["js"].value, 1.0)]
        levels, counts = np.unique(np.concatenate([reference, window]), return_counts=True)
        expected = counts.min() * min(reference.size, window.size) / counts.sum()
        if levels.size > 2 and expected >= RARE:  # of two levels NannyML's has Yates' correction
            found.append(("chi-square", "chi2", drift["chi_square"].value, 1.0))
        yield found


def main() -> None:
    found: dict[str, list[tuple[float, float]]] = {}
    with nannyml_rival() as rival:
        for source, window in CUTS.items():
            for sequence in sequences(source):
                for what, ours, theirs in differences(rival, sequence, window):
                    if theirs is not None and ours is not None and np.isfinite(theirs):
                        found.setdefault(what, []).append((ours, theirs))
    print(f"{'quantity':32}{'compared':>9}{'NannyML, from':>15}{'to':>11}{'largest difference':>20}")
    for what, pairs in sorted(found.items()):
        ours, theirs = np.array(pairs, dtype=np.float64).T
        print(
            f"{what:32}{ours.size:>9}{theirs.min():>15.4f}{theirs.max():>11.4f}{np.abs(ours - theirs).max():>20.2g}"
        )


if __name__ == "__main__":
    main()
