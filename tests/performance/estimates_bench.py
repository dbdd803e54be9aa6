"""Estimates without labels beside NannyML's, against what labels said: `python -m tests.performance.estimates_bench
[--only NAME] [--json PATH]`.

On the sequences of `labelled_sequences`, cut into the same windows: CBPE for classes, where ours reads a window's
summary as in the product, and for numbers the errors that features or the size of the prediction tell, as the reference
chooses, beside NannyML's DLE. Of each metric:

- how far estimates are from the realised metric (mean of the absolute differences), ours, NannyML's, and the
  reference's own value given for every window: what one would expect without any estimate;
- in how many windows the realised value lies within the interval (95% are meant): ours, which has a window's own
  sampling, what is not known of the calibration, and what days of the reference share; and NannyML's value with 1.96
  of its sampling errors on either side (it draws 3 of them, which is meant to hold 99.7%);
- half the interval's width, which is what holding more costs.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from monitors.stats.estimation.day_errors import allow_for_days, errors_by_day
from monitors.stats.estimation.error_profile import estimate_errors, profile_errors
from monitors.stats.estimation.expectation import ConfidenceEstimator, estimate_performance, prepare_estimator
from monitors.stats.estimation.learnt_errors import LearntErrors, learn_errors
from monitors.stats.mergeable.outcomes import summarise_binary_outcomes, summarise_regression_outcomes
from monitors.stats.mergeable.sketches import choose_centre, summarise_numbers
from monitors.stats.performance.estimate import Z95, Estimate
from monitors.stats.performance.metrics import measure_outcomes
from tests.performance.labelled_sequences import Labelled, cut, sequences
from tests.performance.nannyml_rival import Rival, nannyml_rival

MIN_ROWS = 100
DAYS = {"day": 1, "week": 7, "month": 30}
METRICS = {True: ("accuracy", "f1", "roc_auc"), False: ("mae", "rmse")}


def realised(rows: pd.DataFrame) -> dict[str, float]:
    """Measure with scikit-learn what labels said; without both classes there is no ROC AUC."""
    truth, answer = rows["y_true"], rows["y_pred"]
    if "y_pred_proba" not in rows:
        return {
            "mae": metrics.mean_absolute_error(truth, answer),
            "rmse": metrics.root_mean_squared_error(truth, answer),
        }
    both = truth.nunique() == 2
    return {
        "accuracy": metrics.accuracy_score(truth, answer),
        "f1": metrics.f1_score(truth, answer, zero_division=np.nan),
        "roc_auc": metrics.roc_auc_score(truth, rows["y_pred_proba"]) if both else np.nan,
    }


class Ours:
    """What a worker knows of a reference, and how it estimates a window."""

    def __init__(self, sequence: Labelled, length: int) -> None:
        reference, self.length = sequence.reference, length
        self.learnt: LearntErrors | None = None
        self.rng = np.random.default_rng(0)
        if "y_pred_proba" in reference:
            outcome = summarise_binary_outcomes(
                *(reference[name] for name in ("y_true", "y_pred", "y_pred_proba"))
            )
            estimator = prepare_estimator(outcome, rng=self.rng)
            assert isinstance(estimator, ConfidenceEstimator), estimator
            self.estimator = estimator
        else:
            self.features = sequence.features
            self.learn(sequence)
        days = reference.groupby(cut(reference, "day")) if sequence.is_timed else ()
        self.errors = (
            errors_by_day([(self._estimate(day), outcome_of(day)) for _, day in days])
            if self.learnt is None
            else self.learnt.days
        )

    def learn(self, sequence: Labelled) -> None:
        """Learn a regression's errors, of the features where they tell more than the size of the prediction."""
        reference = sequence.reference
        self.centre = choose_centre(reference["y_pred"].to_numpy())
        profile = profile_errors(reference["y_pred"] - reference["y_true"], reference["y_pred"])
        assert profile is not None
        self.profile = profile
        self.learnt, why = learn_errors(
            self._features(reference),
            reference["y_true"].to_numpy(np.float64),
            reference["y_pred"].to_numpy(np.float64),
            cut(reference, "day") if sequence.is_timed else None,
        )
        print(f"{sequence.name}: {'by features' if self.learnt else 'by size of the prediction'}. {why}")

    def _features(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        return {
            name: rows[name].to_numpy(object if rows[name].dtype == object else np.float64)
            for name in self.features
        }

    def estimate(self, rows: pd.DataFrame) -> dict[str, Estimate]:
        return {
            name: allow_for_days(name, estimate, self.errors.get(name), length=self.length)
            for name, estimate in self._estimate(rows).items()
        }

    def _estimate(self, rows: pd.DataFrame) -> dict[str, Estimate]:
        if self.learnt is not None:
            counts = self.learnt.count(self._features(rows), rows["y_pred"].to_numpy(np.float64))
            return estimate_errors(self.learnt.profile, counts)
        if "y_pred_proba" not in rows:
            answers = summarise_numbers(rows["y_pred"], centre=self.centre)
            return estimate_errors(self.profile, self.profile.count(answers.positions, answers.counts))
        score = summarise_numbers(rows["y_pred_proba"], centre=0.0)
        return estimate_performance(self.estimator, score, answered=int(rows["y_pred"].sum()), rng=self.rng)


def outcome_of(rows: pd.DataFrame) -> dict[str, Estimate]:
    if "y_pred_proba" in rows:
        return measure_outcomes(
            summarise_binary_outcomes(rows["y_true"], rows["y_pred"], rows["y_pred_proba"])
        )
    return measure_outcomes(summarise_regression_outcomes(rows["y_true"], rows["y_pred"]))


CUTTING = {"timestamp_column_name": "timestamp", "chunk_period": "D"}


def dated_by_window(sequence: Labelled, window: str | int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give reference and later rows a date for each window: NannyML cuts by days, and so as ours does."""
    parts = [
        rows.drop(columns="time", errors="ignore").assign(
            timestamp=pd.Timestamp("2001-01-01") + pd.to_timedelta(cut(rows, window), unit="D")
        )
        for rows in (sequence.reference, sequence.later)
    ]
    return parts[0], parts[1]


def ask_nannyml(rival: Rival, sequence: Labelled, window: str | int) -> pd.DataFrame:
    """Give NannyML's estimates, a row a window."""
    reference, later = dated_by_window(sequence, window)
    kind, arguments = "DLE", {"feature_column_names": sequence.features}
    if classes := "y_pred_proba" in reference:
        kind = "CBPE"
        arguments = {"y_pred_proba": "y_pred_proba", "problem_type": "classification_binary"}
    fitted = rival.fit(
        kind,
        reference,
        y_true="y_true",
        y_pred="y_pred",
        metrics=list(METRICS[classes]),
        **arguments,
        **CUTTING,
    )
    return fitted.measure(later)


def compare(rival: Rival, sequence: Labelled, window: str | int) -> Iterator[dict[str, Any]]:
    """Estimate each window by both, and tell of each metric how well."""
    ours = Ours(sequence, DAYS[window] if isinstance(window, str) else 1)
    theirs = ask_nannyml(rival, sequence, window)
    usual = realised(sequence.reference)
    found: dict[str, list[dict[str, float]]] = {}
    for number, rows in sequence.later.groupby(cut(sequence.later, window)):
        if len(rows) < MIN_ROWS:
            continue
        truth, estimates, chunk = realised(rows), ours.estimate(rows), theirs.iloc[number]
        for name, value in truth.items():
            estimate = estimates[name]
            if np.isnan(value) or estimate.value is None or estimate.lower is None or estimate.upper is None:
                continue
            found.setdefault(name, []).append(
                {
                    "rows": len(rows), "realised": value, "usual": usual[name],
                    "ours": estimate.value, "lower": estimate.lower, "upper": estimate.upper,
                    "nannyml": chunk[f"{name}.value"], "error": chunk[f"{name}.sampling_error"],
                }
            )  # fmt: skip
    for name, windows in found.items():
        yield {"sequence": sequence.name, "window": window, "metric": name} | score(pd.DataFrame(windows))


def score(windows: pd.DataFrame) -> dict[str, Any]:
    held = windows["realised"].between(windows["lower"], windows["upper"])
    apart = {name: (windows[name] - windows["realised"]).abs() for name in ("ours", "nannyml", "usual")}
    return {
        "windows": len(windows),
        "rows": float(windows["rows"].median()),
        "realised": float(windows["realised"].mean()),
        **{f"apart_{name}": float(values.mean()) for name, values in apart.items()},
        "held_ours": float(held.mean()),
        "held_nannyml": float((apart["nannyml"] <= Z95 * windows["error"]).mean()),
        "held_nannyml_as_drawn": float((apart["nannyml"] <= 3 * windows["error"]).mean()),
        "half_ours": float((windows["upper"] - windows["lower"]).mean() / 2),
        "half_nannyml": float(Z95 * windows["error"].mean()),
    }


HEAD = f"{'':>44}{'apart from realised':^30}{'held, %':^21}{'half width':^18}\n" + (
    f"{'sequence':22}{'window':7}{'metric':9}{'n':>5}{'realised':>10}"
    f"{'ours':>9}{'NannyML':>9}{'usual':>9}{'ours':>7}{'NannyML':>9}{'(3)':>5}{'ours':>9}{'NannyML':>9}"
)


def show(line: dict[str, Any]) -> None:
    def short(value: float) -> str:
        return f"{value:>9.4f}" if abs(value) < 10 else f"{value:>9.1f}"

    print(
        f"{line['sequence']:22.22}{line['window']!s:7}{line['metric']:9}{line['windows']:>5}{short(line['realised']):>10}"
        + "".join(short(line[f"apart_{name}"]) for name in ("ours", "nannyml", "usual"))
        + f"{line['held_ours']:>7.0%}{line['held_nannyml']:>9.0%}{line['held_nannyml_as_drawn']:>5.0%}"
        + short(line["half_ours"]) + short(line["half_nannyml"]),
        flush=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.estimates_bench", description=__doc__)
    parser.add_argument("--only", default="", help="the beginning of the names of the sequences to run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began, lines = time.process_time(), []
    print(HEAD)
    with nannyml_rival() as rival:
        for sequence in sequences(options.only):
            for window in sequence.windows:
                for line in compare(rival, sequence, window):
                    lines.append(line)
                    show(line)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=2) + "\n")
    print(f"{time.process_time() - began:.0f} CPU seconds of ours")


if __name__ == "__main__":
    main()
