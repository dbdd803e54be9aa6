"""The LightGBM trainer, with thresholds that survive the way to float32."""

import re
from typing import Any

import numpy as np
from lightgbm import Booster, LGBMClassifier, LGBMRegressor

from monitors.workflows.trainers.data import TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.pipeline import fit_tree_pipeline, parameters_of


def lightgbm(job: TrainingJob, data: TrainingData) -> TrainedModel:
    """Fit boosted trees with LightGBM."""
    chosen = parameters_of(
        job,
        trees=80,
        min_leaf=50,
        leaves=31,
        learning_rate=0.05,
        feature_share=1.0,
        row_share=1.0,
        penalty=0.0,
    )
    build = Float32Regressor if job.task == "regression" else Float32Classifier
    estimator = build(
        n_estimators=chosen["trees"],
        min_child_samples=chosen["min_leaf"],
        num_leaves=chosen["leaves"],
        learning_rate=chosen["learning_rate"],
        colsample_bytree=chosen["feature_share"],
        subsample=chosen["row_share"],
        subsample_freq=1,
        reg_lambda=chosen["penalty"],
        random_state=job.seed,
        deterministic=True,
        force_col_wise=True,
        n_jobs=1,
        verbosity=-1,
    )
    return fit_tree_pipeline(job, data, estimator)


class Float32Classifier(LGBMClassifier):
    """LGBMClassifier that answers the same before and after conversion to ONNX."""

    def fit(self, rows: Any, labels: Any, **options: Any) -> "Float32Classifier":  # type: ignore[override]
        super().fit(rows, labels, **options)
        self._Booster = _float32_booster(self.booster_)
        return self


class Float32Regressor(LGBMRegressor):
    """LGBMRegressor that answers the same before and after conversion to ONNX."""

    def fit(self, rows: Any, labels: Any, **options: Any) -> "Float32Regressor":  # type: ignore[override]
        super().fit(rows, labels, **options)
        self._Booster = _float32_booster(self.booster_)
        return self


def _float32_booster(booster: Booster) -> Booster:
    return Booster(model_str=round_thresholds_down(booster.model_to_string()))


def round_thresholds_down(booster_text: str) -> str:
    """Replace each threshold of LightGBM's model text by the largest float32 not above it.

    For float32 `x`, `x <= t` and `x <= float32_down(t)` are the same test, so no prediction changes. ONNX
    keeps thresholds as float32; rounded to nearest, some rows would go the other way. The line with each
    tree's length in bytes no longer holds and is left out: LightGBM then reads tree after tree.

    >>> round_thresholds_down("threshold=0.1 2")
    'threshold=0.09999999403953552 2.0'
    """
    unsized = re.sub(r"^tree_sizes=.*\n", "", booster_text, flags=re.MULTILINE)
    return re.sub(r"^threshold=(.*)$", _round_line, unsized, flags=re.MULTILINE)


def _round_line(line: re.Match[str]) -> str:
    exact = np.array(line[1].split(), np.float64)
    nearest = exact.astype(np.float32)
    down = np.where(nearest > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return "threshold=" + " ".join(repr(float(value)) for value in down)
