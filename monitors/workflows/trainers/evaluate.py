"""How good a trainer's model is on days that it did not see."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from monitors.workflows.trainers.data import FloatArray, Trainer, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.report import OutOfFold

Array = npt.NDArray[Any]


def out_of_fold(job: TrainingJob, trainer: Trainer, data: TrainingData) -> tuple[FloatArray, OutOfFold]:
    """Score each row of `data` by a model trained without that row's day (UTC), and sum up how well it did.

    Rows of one day share weather, crowds and outages: random folds leak them and promise too much.
    """
    day = data.time.dt.floor("D").to_numpy()
    days = np.unique(day)
    groups = np.searchsorted(days, day) if len(days) > 1 else np.arange(len(data))
    folds = min(job.folds, int(groups.max()) + 1)
    fold = np.random.default_rng(job.seed).permutation(np.arange(groups.max() + 1) % folds)[groups]
    scores = _scores_by_fold(job, trainer, data, fold)
    return scores, OutOfFold(
        metrics=performance(job, data.label, scores),
        baseline=performance(job, data.label, _featureless(job, data.label)),
        daily=_daily_quantiles(job, data.label, scores, day),
        rows=len(data),
        days=len(days),
        folds=folds,
        grouped_by="day" if len(days) > 1 else "row",
    )


def _scores_by_fold(job: TrainingJob, trainer: Trainer, data: TrainingData, fold: Array) -> FloatArray:
    """Out-of-fold answers; a class that a fold's training rows lack gets probability 0 there."""
    columns = job.output_classes()
    scores = np.zeros((len(data), max(1, len(columns))))
    for held_out in np.unique(fold):
        model = trainer(job, data.rows(np.flatnonzero(fold != held_out)))
        rows = np.flatnonzero(fold == held_out)
        answers = np.asarray(model.predict(data.frame.iloc[rows])).reshape(len(rows), -1)
        scores[np.ix_(rows, [columns.index(text) for text in model.classes] or [0])] = answers
    return scores


def performance(job: TrainingJob, labels: Array, scores: FloatArray) -> dict[str, float]:
    """Metrics of `scores` against `labels`; ROC AUC is absent unless every class occurs."""
    if job.task == "regression":
        return {
            "mae": float(mean_absolute_error(labels, scores)),
            "rmse": float(np.sqrt(mean_squared_error(labels, scores))),
            "r2": float(r2_score(labels, scores)),
        }
    classes = job.output_classes()
    codes = np.searchsorted(np.array(classes, labels.dtype), labels)
    return _class_metrics(codes, scores, positive=_positive_column(job, classes))


def _positive_column(job: TrainingJob, classes: list[str]) -> int | None:
    if len(classes) != 2:
        return None
    return classes.index(job.positive_class) if job.positive_class else 1


def _class_metrics(codes: Array, scores: FloatArray, *, positive: int | None) -> dict[str, float]:
    every = np.arange(scores.shape[1])
    metrics = {
        "log_loss": float(log_loss(codes, scores, labels=every)),
        "accuracy": float(accuracy_score(codes, scores.argmax(axis=1))),
    }
    if len(np.unique(codes)) < len(every):
        return metrics
    if positive is None:
        return {"roc_auc": float(roc_auc_score(codes, scores, multi_class="ovr", labels=every))} | metrics
    return {"roc_auc": float(roc_auc_score(codes == positive, scores[:, positive]))} | metrics


def _featureless(job: TrainingJob, labels: Array) -> FloatArray:
    if job.task == "regression":
        return np.full((len(labels), 1), labels.mean())
    shares = [(labels == label).mean() for label in np.array(job.output_classes(), labels.dtype)]
    return np.tile(shares, (len(labels), 1))


def _daily_quantiles(
    job: TrainingJob, labels: Array, scores: FloatArray, day: Array
) -> dict[str, list[float]]:
    by_day: dict[str, list[float]] = {}
    for one in np.unique(day):
        rows = day == one
        for metric, value in performance(job, labels[rows], scores[rows]).items():
            by_day.setdefault(metric, []).append(value)
    return {m: [float(q) for q in np.nanquantile(v, [0.05, 0.5, 0.95])] for m, v in by_day.items()}
