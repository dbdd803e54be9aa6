"""Writes of what is watched: monitors, segments, feature profiles, and references reduced to summaries."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db import transaction

from driftline.common.doorbell import ring
from driftline.common.errors import Problem, invalid
from inference.registry.datasets import path_of
from inference.registry.models import Dataset, Model, Version
from inference.registry.selectors import signature_of
from inference.runtime.scoring import FeatureScorer
from inference.serving.plan import Signature
from monitors.definitions.models import FeatureProfile, Monitor, MonitorKind, Reference, Segment
from monitors.definitions.outcomes import outcome_of
from monitors.definitions.signals import reference_ready
from monitors.stats.importance import permutation_importance
from monitors.stats.outcomes import OutcomeSummary
from monitors.stats.performance import measure_outcomes
from monitors.stats.sketches import choose_centre
from monitors.stats.window_summary import summarise_window

log = logging.getLogger(__name__)

IMPORTANCE_ROWS = 2_000
DEFAULT_MIN_ROWS = {
    MonitorKind.DRIFT: 200,
    MonitorKind.QUALITY: 50,
    MonitorKind.PERFORMANCE: 100,
    MonitorKind.SERVICE: 1,
}


def ensure_monitors(model: Model) -> None:
    """Give a model its four monitors with sensible settings; what exists stays as it is."""
    Monitor.objects.bulk_create(
        [Monitor(model=model, kind=kind, min_rows=rows) for kind, rows in DEFAULT_MIN_ROWS.items()],
        ignore_conflicts=True,
    )


def set_segments(*, model: Model, features: Sequence[str]) -> None:
    """Choose the features whose values are looked at apart."""
    if len(features) > 10:
        raise invalid("/segments", f"{len(features)} segment features; use up to 10.")
    with transaction.atomic():
        model.segments.exclude(feature__in=features).delete()
        Segment.objects.bulk_create(
            [Segment(model=model, feature=f) for f in features], ignore_conflicts=True
        )


def centres_of(model: Model, features: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Give the grid centre of each numeric column, fixing it for columns seen for the first time."""
    known = dict(model.feature_profiles.values_list("feature", "centre"))
    fresh = [
        FeatureProfile(
            model=model, feature=name, centre=None if values.dtype == object else choose_centre(values)
        )
        for name, values in features.items()
        if name not in known and len(values)
    ]
    if fresh:
        FeatureProfile.objects.bulk_create(fresh, ignore_conflicts=True)
        known = dict(model.feature_profiles.values_list("feature", "centre"))
    return {name: centre for name, centre in known.items() if centre is not None}


# -- references --------------------------------------------------------------------------------------------------------
def adopt_reference(*, dataset: Dataset) -> Reference:
    """Start turning a stored data set into the reference of its version."""
    assert dataset.version is not None
    reference = Reference.objects.create(model=dataset.model, version=dataset.version, dataset=dataset)
    ring("monitors.build_reference", reference_id=reference.pk)
    return reference


def build_reference(reference_id: int) -> None:
    """Reduce a reference to its summary, performance and importance, and make it the one in use; safe to repeat."""
    reference = Reference.objects.select_related("model", "version", "dataset").get(pk=reference_id)
    if reference.state == Reference.State.READY:
        return
    try:
        _fill(reference)
    except (Problem, ValueError, pa.ArrowException) as error:
        log.exception("reference failed")
        Reference.objects.filter(pk=reference_id).update(state=Reference.State.FAILED, error=str(error)[:500])
        return
    with transaction.atomic():
        Reference.objects.filter(model=reference.model, version=reference.version, is_active=True).update(
            is_active=False
        )
        reference.state, reference.is_active = Reference.State.READY, True
        reference.save()
        reference_ready.send(sender=Reference, reference=reference)


def _fill(reference: Reference) -> None:
    signature = signature_of(reference.version)
    table = pq.read_table(path_of(reference.dataset))
    features = _feature_arrays(table, signature)
    truth = _column(table, "label")
    summary = summarise_window(
        rows=table.num_rows,
        features=features,
        centres=centres_of(reference.model, features),
        prediction=_column(table, "prediction"),
        score=_score(table, signature),
        outcome=_outcome(table, signature, slice(None)),
        labelled=0 if truth is None else int(sum(value is not None for value in truth)),
    )
    reference.payload = summary.encode()
    reference.performance = _performance_by_day(table, signature)
    reference.importance = _importance(reference.version, signature, features)


def _feature_arrays(table: pa.Table, signature: Signature) -> dict[str, np.ndarray]:
    return {
        feature.name: (
            np.array(table[feature.name].to_pylist(), object)
            if feature.type == "string"
            else table[feature.name].to_numpy().astype(np.float64)
        )
        for feature in signature.features
    }


def _column(table: pa.Table, name: str) -> np.ndarray | None:
    if name not in table.column_names:
        return None
    if pa.types.is_string(table[name].type):
        return np.array(table[name].to_pylist(), object)
    return table[name].to_numpy().astype(np.float64)


def _score(table: pa.Table, signature: Signature) -> np.ndarray | None:
    for name in ("probability", f"probability_{signature.positive_class}"):
        if name in table.column_names:
            return _column(table, name)
    return None


def _outcome(table: pa.Table, signature: Signature, rows: slice | np.ndarray) -> OutcomeSummary | None:
    label, prediction, score = _column(table, "label"), _column(table, "prediction"), _score(table, signature)
    if label is None or prediction is None:
        return None
    if signature.task == "multiclass":
        score = _class_probabilities(table, signature)
    return outcome_of(signature, label[rows], prediction[rows], None if score is None else score[rows])


def _class_probabilities(table: pa.Table, signature: Signature) -> np.ndarray | None:
    names = [f"probability_{name}" for name in signature.classes]
    if not all(name in table.column_names for name in names):
        return None
    return np.column_stack([table[name].to_numpy() for name in names])


def _performance_by_day(table: pa.Table, signature: Signature) -> dict[str, dict[str, float]]:
    """Summarise each metric over the reference's days; without times the whole counts as one day."""
    times = (
        table["timestamp"].to_numpy().astype("datetime64[D]") if "timestamp" in table.column_names else None
    )
    days = [slice(None)] if times is None else [times == day for day in np.unique(times)]
    values: dict[str, list[float]] = {}
    for day in days:
        outcome = _outcome(table, signature, day)
        for metric, estimate in (measure_outcomes(outcome) if outcome else {}).items():
            if estimate.value is not None and np.isfinite(estimate.value):
                values.setdefault(metric, []).append(estimate.value)
    return {
        metric: {
            "mean": float(np.mean(series)),
            "low": float(np.quantile(series, 0.05)),
            "high": float(np.quantile(series, 0.95)),
            "days": len(series),
        }
        for metric, series in values.items()
    }


def _importance(version: Version, signature: Signature, features: dict[str, np.ndarray]) -> dict[str, float]:
    """Measure permutation importance through the version's own ONNX; an external version has none."""
    if version.is_external:
        return {}
    score = FeatureScorer(settings.HOME / version.path, version.sha256, signature)
    rows = np.linspace(0, len(next(iter(features.values()))) - 1, IMPORTANCE_ROWS).astype(int)
    sample = {name: values[np.unique(rows)] for name, values in features.items()}
    return permutation_importance(score, sample, rng=np.random.default_rng(0))


# -- which reference a window is compared with -------------------------------------------------------------------------
def active_reference(*, model: Model, version_id: int | None) -> Reference | None:
    """Find the reference of a version, else of the newest version that has one."""
    ready = Reference.objects.filter(model=model, is_active=True).order_by("-created_at")
    own = ready.filter(version_id=version_id).first() if version_id else None
    return own or ready.first()
