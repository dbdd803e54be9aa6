"""The rows on which a version and its variants are compared: ripe labelled ones, or the next best that there are."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftline.base.periods import DAY_US
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import frame_of, oldest_event
from inference.prediction_log.spool.privacy import KEEP, policy_of
from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset, Model, Version
from inference.registry.selectors import signature_of
from inference.runtime.feeds import feed_of
from inference.runtime.variants.base import Feed
from inference.signatures import Feature, Signature, TensorSpec
from monitors.definitions.outcomes import coded
from monitors.optimiser.evaluation_set import MAX_CALIBRATION_ROWS, MIN_LABELLED, EvaluationSet
from monitors.workflows.judging.pairs import ripe_until

MAX_ROWS = 5_000
_LOOK_BACK = [timedelta(hours=hours) for hours in (1, 4, 24, 96, 384, 1536, 6144)]
_ENOUGH_READ = 50_000
_MADE_UP_ROWS = 256
_GUESSED_SIZE = 32  # of an open dimension beyond rows, such as an image's side: as the intake guesses it
_NUMPY_TYPES = {"FP16": "f2", "FP32": "f4", "FP64": "f8", "BOOL": "?", "BYTES": "O"}


@dataclass(frozen=True)
class TrialRows:
    """Rows that both models are asked, and others that a builder may look at before."""

    asked: EvaluationSet
    calibration: EvaluationSet
    calibration_is_made_up: bool


def trial_rows(version: Version) -> TrialRows:
    """Choose the rows: the model's ripe labelled ones, else its reference's, else logged ones, else made-up ones.

    What a builder calibrates on is the reference, else a part of the rows that is then not asked.
    """
    signature = signature_of(version)
    if not signature.features:
        made_up = _made_up(signature)
        return TrialRows(made_up, made_up, calibration_is_made_up=True)
    logged, reference = _logged(version.model, signature), _reference(version.model, signature)
    asked = _best(logged, reference)
    if asked is None:
        made_up = _made_up(signature)
        return TrialRows(made_up, made_up, calibration_is_made_up=True)
    if reference is None or asked is reference:
        calibration, asked = _split(asked)
    else:
        calibration = reference.take(np.arange(min(MAX_CALIBRATION_ROWS, len(reference))))
    return TrialRows(_most(asked), calibration, calibration_is_made_up=False)


def _best(logged: EvaluationSet | None, reference: EvaluationSet | None) -> EvaluationSet | None:
    found = [rows for rows in (logged, reference) if rows is not None and len(rows) > 1]
    labelled = [rows for rows in found if rows.labelled >= MIN_LABELLED]
    return next(iter([*labelled, *reversed(found)]), None)


def _split(rows: EvaluationSet) -> tuple[EvaluationSet, EvaluationSet]:
    cut = min(MAX_CALIBRATION_ROWS, max(1, len(rows) // 5))
    return rows.take(np.arange(cut)), rows.take(np.arange(cut, len(rows)))


def _most(rows: EvaluationSet) -> EvaluationSet:
    """Take as many rows as are asked, labelled ones first."""
    chosen = np.argsort(np.isnan(rows.y), kind="stable")[:MAX_ROWS]
    if rows.labelled >= MIN_LABELLED:
        chosen = chosen[: rows.labelled]
    return rows.take(chosen)


def _logged(model: Model, signature: Signature) -> EvaluationSet | None:
    """Read the newest ripe rows; None where there are none, or where the log has not what callers sent."""
    if any(policy_of(model.privacy, feature.name) != KEEP for feature in signature.features):
        return None
    frame = _newest_ripe(model)
    if frame is None or not {feature.name for feature in signature.features} <= frame.features.keys():
        return None
    labels = coded(frame.label, signature)
    source = f"ripe rows of the log, up to {ripe_until(model):%-d %b %Y}"
    return _rows(signature, frame.features, labels, frame.times_us // DAY_US, source)


def _newest_ripe(model: Model) -> LogFrame | None:
    """Look back further and further until there are labelled rows enough, or enough was read."""
    until, oldest = ripe_until(model), oldest_event(model)
    if oldest is None or oldest >= until:
        return None
    for span in _LOOK_BACK:
        start = max(oldest, until - span)
        frame = frame_of(model=model, start=start, end=until, role=ANSWERING_ROLES)
        if start == oldest or len(frame) >= _ENOUGH_READ or frame.is_labelled.sum() >= MAX_ROWS:
            break
    return frame


def _reference(model: Model, signature: Signature) -> EvaluationSet | None:
    """Read rows of the newest reference, spread over the file; None where it has not the version's features."""
    dataset = model.datasets.filter(kind="reference").order_by("-created_at", "-pk").first()
    names = [feature.name for feature in signature.features]
    if dataset is None or not set(names) <= set(dataset.columns):
        return None
    wanted = [*names, *(name for name in ("label", "timestamp") if name in dataset.columns)]
    try:
        columns = _read(dataset, wanted)
    except FileNotFoundError:
        return None  # as in the registry: the version itself can still be examined
    nothing = np.full(len(columns[names[0]]), None, object)
    labels = coded(columns.get("label", nothing), signature)
    days = columns["timestamp"].astype("datetime64[D]").astype(np.int64) if "timestamp" in columns else None
    block = np.zeros(len(labels), np.int64) if days is None else days
    return _rows(signature, columns, labels, block, "rows of the reference")


def _read(dataset: Dataset, names: list[str]) -> dict[str, NDArray[Any]]:
    table = pq.read_table(path_of(dataset), columns=names)
    most = MAX_ROWS + MAX_CALIBRATION_ROWS
    if table.num_rows > most:
        table = table.take(np.linspace(0, table.num_rows - 1, most).astype(np.int64))
    return {name: table[name].to_numpy() for name in names}


def _rows(
    signature: Signature,
    features: dict[str, NDArray[Any]],
    y: NDArray[np.float64],
    block: NDArray[np.int64],
    source: str,
) -> EvaluationSet | None:
    """Lay rows out for the version in an order of chance, without those that lack a whole number: no request could."""
    columns = {one.name: _typed(one, features[one.name]) for one in signature.features}
    askable = np.ones(len(y), bool)
    for feature, spec in _places(signature):
        if spec.datatype not in ("BYTES", "FP16", "FP32", "FP64"):
            askable &= np.isfinite(columns[feature.name])
    order = np.random.default_rng(0).permutation(np.flatnonzero(askable))
    if not order.size:
        return None
    feed = feed_of(signature, {name: values[order] for name, values in columns.items()})
    return EvaluationSet(feed, y[order], block[order], source)


def _places(signature: Signature) -> list[tuple[Feature, TensorSpec]]:
    inputs = {spec.name: spec for spec in signature.inputs}
    only = signature.inputs[0]
    return [(feature, inputs.get(feature.name, only)) for feature in signature.features]


def _typed(feature: Feature, values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as float64, NaN where the log holds something else, and texts as they are."""
    if feature.type == "string":
        return np.array([None if value is None or value != value else str(value) for value in values], object)
    if values.dtype != object:
        return values.astype(np.float64)
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _made_up(signature: Signature) -> EvaluationSet:
    """Make rows of chance up: numbers around 0, and empty texts."""
    chance = np.random.default_rng(0)
    feed: Feed = {}
    for spec in signature.inputs:
        sizes = [size if size >= 0 else _GUESSED_SIZE for size in spec.shape[1:]]
        kind = _NUMPY_TYPES.get(spec.datatype, spec.datatype.lower())
        values = (
            np.full((_MADE_UP_ROWS, *sizes), "", object)
            if kind == "O"
            else chance.normal(size=(_MADE_UP_ROWS, *sizes))
        )
        feed[spec.name] = values.astype(kind)
    nothing = np.full(_MADE_UP_ROWS, np.nan)
    return EvaluationSet(
        feed, nothing, np.zeros(_MADE_UP_ROWS, np.int64), "made-up rows: no real ones are kept"
    )
