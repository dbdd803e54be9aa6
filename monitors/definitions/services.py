"""Writes of what is watched: monitors, feature profiles, and references reduced to summaries."""

import logging
from collections.abc import Mapping

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.processes.machine_paths import without_folders
from driftline.base.work.leased_work import WorkFailed, WorkLease, attempt
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.spool.privacy import HASH, SUMMARY, policy_of
from inference.registry.files.datasets import path_of
from inference.registry.models import Model
from inference.registry.selectors import privacy_of, signature_of
from inference.registry.services import number_cannot_be_hashed
from inference.signatures import Signature
from monitors.definitions.choosing import put_in_use
from monitors.definitions.custom_metrics.services import refuse_to_hide_operands
from monitors.definitions.feature_kinds import centres_of, declared_kinds, numbers_as_texts
from monitors.definitions.importance import NoImportance, measure_importance
from monitors.definitions.models import (
    DriftMethod,
    Monitor,
    MonitorKind,
    Reference,
    ReferenceDay,
)
from monitors.definitions.outcomes import answer_score, outcome_of, usual_performance
from monitors.definitions.reference_rows import (
    class_probabilities,
    column_of,
    feature_arrays,
    positive_score,
)
from monitors.definitions.segments import refuse_to_hide
from monitors.definitions.text_features import with_text_statistics
from monitors.stats.estimation.error_profile import profile_errors
from monitors.stats.estimation.learnt_errors import MAX_COLUMNS, learn_errors
from monitors.stats.mergeable.outcomes import OutcomeSummary
from monitors.stats.mergeable.window_summary import summarise_window

log = logging.getLogger(__name__)

IMPORTANCE_ROWS = 2_000
_BUILT = (
    "payload",
    "performance",
    "importance",
    "importance_note",
    "error_profile",
    "learnt_errors",
    "error_basis",
)
"""Fields of a reference that are worked out from its file."""
MAX_DAYS = 400
"""The newest days of a reference that are kept apart."""
DEFAULT_MIN_ROWS = {
    MonitorKind.DRIFT: 50,  # limits know the rows of a window, so that small ones are safe to judge
    MonitorKind.QUALITY: 50,
    MonitorKind.PERFORMANCE: 100,
    MonitorKind.SERVICE: 1,
}


def ensure_monitors(model: Model) -> None:
    """Make a model's four monitors with sensible settings; what exists stays as it is."""
    Monitor.objects.bulk_create(
        [Monitor(model=model, kind=kind, min_rows=rows) for kind, rows in DEFAULT_MIN_ROWS.items()],
        ignore_conflicts=True,
    )


# -- references --------------------------------------------------------------------------------------------------------
def build_reference(reference_id: int) -> None:
    """Reduce a file to its summary, performance and importance, and put it in use; safe to repeat."""
    attempt(Reference.objects.filter(pk=reference_id), _build)


def _build(lease: WorkLease[Reference]) -> None:
    reference = Reference.objects.select_related("model", "version", "dataset").get(pk=lease.pk)
    try:
        days = _fill(reference)
    except (Problem, ValueError, IndexError, FileNotFoundError, pa.ArrowException) as error:
        log.warning("a reference cannot be built", extra={"reference": lease.pk}, exc_info=True)
        raise WorkFailed(without_folders(str(error))) from error
    with lease.fenced():
        reference.save(update_fields=_BUILT)
        lease.finish(Reference.State.READY)
        _replace_days(reference, days)
        put_in_use(Reference.objects.select_related("model", "version").get(pk=lease.pk))


def retry_reference(*, reference: Reference, actor: str) -> None:
    """Schedule a reference that failed to be built again; raises Problem `reference_not_failed` (409) for any other."""
    with transaction.atomic():
        if not Reference.objects.filter(pk=reference.pk, state=Reference.State.FAILED).begin_again():
            raise Problem(409, "reference_not_failed", "Only a reference that failed can be built again.")
        record_audit(
            project=reference.model.project,
            actor=actor,
            action="reference.retry",
            subject=reference.model.name,
        )
        enqueue(Task.LONG_WORK)


def rebuild_reference(reference: Reference) -> None:
    """Reduce a reference again whose data set has lost rows, in the caller's transaction; in use or not it stays."""
    days: list[ReferenceDay] = []
    try:
        days = _fill(reference)
    except (Problem, ValueError, IndexError, pa.ArrowException) as error:
        log.warning("a reference has too few rows left", extra={"reference": reference.pk})
        reference.payload, reference.is_active, reference.state = None, False, Reference.State.FAILED
        reference.error = without_folders(str(error))[:500]
    reference.save()
    _replace_days(reference, days)


def _replace_days(reference: Reference, days: list[ReferenceDay]) -> None:
    reference.days.all().delete()
    ReferenceDay.objects.bulk_create(days)


def hide(model: Model) -> None:
    """Bring what is known of the features to the model's privacy, in the transaction that changes it.

    Raises Problem where a feature that is to be hashed has been a number so far, or a segment or a custom
    metric needs what would go.
    """
    refuse_to_hide(model)
    refuse_to_hide_operands(model)
    hashed = [name for name, policy in model.privacy.items() if policy == HASH]
    numbers = model.feature_profiles.filter(feature__in=hashed, centre__isnull=False)
    if (number := numbers.order_by("feature").first()) is not None:
        raise number_cannot_be_hashed(number.feature)
    build_files_again(model)


def build_files_again(model: Model) -> None:
    """Schedule the references of files to be built again, in the transaction that changes what is compared."""
    for reference in model.references.filter(is_active=True, kind=Reference.Kind.FILE):
        Reference.objects.filter(pk=reference.pk).begin_again()
        enqueue(Task.LONG_WORK)


def _fill(reference: Reference) -> list[ReferenceDay]:
    """Work out everything about a reference; returns its days, which are not saved."""
    signature = signature_of(reference.version)
    assert reference.dataset is not None
    table = pq.read_table(path_of(reference.dataset))
    features = feature_arrays(table, signature.features)
    truth, prediction, score = (
        column_of(table, "label"),
        column_of(table, "prediction"),
        _answer_score(table, signature),
    )
    kept, declared = privacy_of(reference.model_id).protect(features), declared_kinds(signature)
    compared = with_text_statistics(reference.model, kept)
    centres = centres_of(reference.model, compared, prediction=prediction, declared=declared)
    watched = numbers_as_texts(compared, centres, declared)
    summary = summarise_window(
        rows=table.num_rows,
        features=watched,
        centres=centres,
        prediction=prediction,
        score=score,
        outcome=_outcome(table, signature, slice(None)),
        labelled=0 if truth is None else int(sum(value is not None for value in truth)),
    )
    reference.payload = summary.encode()
    reference.performance = _performance_by_day(table, signature, reference.model.objectives.get("quantile"))
    _measure_importance(reference, signature, features)
    reference.error_profile = reference.learnt_errors = None
    reference.error_basis = ""
    if signature.task == "regression" and truth is not None and prediction is not None:
        _learn_errors(reference, truth, prediction, kept, _days(table))
    return [
        ReferenceDay(
            reference=reference,
            day=day.item(),
            payload=summarise_window(
                rows=len(rows),
                features={name: values[rows] for name, values in watched.items()},
                centres=centres,
                prediction=None if prediction is None else prediction[rows],
                score=None if score is None else score[rows],
                outcome=_outcome(table, signature, rows),
            ).encode(),
        )
        for day, rows in _rows_by_day(table)[-MAX_DAYS:]
    ]


def _rows_by_day(table: pa.Table) -> list[tuple[np.datetime64, np.ndarray]]:
    """Return which rows are of which day, oldest first; rows without a time are of none."""
    days = _days(table)
    if days is None:
        return []
    rows = np.argsort(days, kind="stable")  # NaT sorts last
    rows = rows[: int((~np.isnat(days)).sum())]
    found, starts = np.unique(days[rows], return_index=True)
    return list(zip(found, np.split(rows, starts[1:]), strict=True)) if len(rows) else []


def _days(table: pa.Table) -> np.ndarray | None:
    """Return the day of each row; None without times."""
    return (
        table["timestamp"].to_numpy().astype("datetime64[D]") if "timestamp" in table.column_names else None
    )


def _answer_score(table: pa.Table, signature: Signature) -> np.ndarray | None:
    if signature.task != "multiclass":
        return positive_score(table, signature)
    prediction, table_of_classes = column_of(table, "prediction"), class_probabilities(table, signature)
    if prediction is None or table_of_classes is None:
        return None
    return answer_score(signature, prediction, table_of_classes)


def _outcome(table: pa.Table, signature: Signature, rows: slice | np.ndarray) -> OutcomeSummary | None:
    label, prediction, score = (
        column_of(table, "label"),
        column_of(table, "prediction"),
        positive_score(table, signature),
    )
    if label is None or prediction is None:
        return None
    if signature.task == "multiclass":
        score = class_probabilities(table, signature)
    return outcome_of(signature, label[rows], prediction[rows], None if score is None else score[rows])


def _performance_by_day(
    table: pa.Table, signature: Signature, quantile: float | None
) -> dict[str, dict[str, float]]:
    """Summarise each metric over the reference's days; without times the whole counts as one day."""
    times = _days(table)
    days = [slice(None)] if times is None else [times == day for day in np.unique(times)]
    return usual_performance((_outcome(table, signature, day) for day in days), quantile)


def _learn_errors(
    reference: Reference,
    truth: np.ndarray,
    prediction: np.ndarray,
    kept: Mapping[str, np.ndarray],
    days: np.ndarray | None,
) -> None:
    """Learn a regression's losses, by its prediction and, where they tell more, by the features that rows keep."""
    answer = prediction.astype(np.float64)
    profile = profile_errors(answer - truth.astype(np.float64), answer)
    reference.error_profile = msgspec.to_builtins(profile)
    policies = reference.model.privacy
    in_rows = [name for name in kept if policy_of(policies, name) != SUMMARY]
    names = sorted(in_rows, key=lambda name: (-reference.importance.get(name, 0.0), name))
    labels = truth.astype(np.float64)
    if days is not None:
        labels = np.where(np.isnat(days), np.nan, labels)  # of rows without a time nobody knows the day
    learnt, reference.error_basis = learn_errors(
        {name: kept[name] for name in names[:MAX_COLUMNS]},
        labels,
        answer,
        None if days is None else days.astype(np.int64),
    )
    reference.learnt_errors = learnt.encode() if learnt else None


def _measure_importance(reference: Reference, signature: Signature, features: dict[str, np.ndarray]) -> None:
    """Measure importance through the version's own ONNX; one that another server answers has none.

    A model that cannot be asked in time leaves the reference without: everything else about it holds.
    """
    version = reference.version
    reference.importance, reference.importance_note = {}, ""
    if not version.has_artifact:
        return
    rows = np.linspace(0, len(next(iter(features.values()))) - 1, IMPORTANCE_ROWS).astype(int)
    sample = {name: values[np.unique(rows)] for name, values in features.items()}
    try:
        reference.importance = measure_importance(
            settings.HOME / version.path, version.sha256, signature, sample
        )
    except NoImportance as why:
        reference.importance_note = str(why)[:300]


def drift_method(model: Model) -> str:
    """Return how a model's drift is decided."""
    monitor = Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).first()
    return monitor.method if monitor else DriftMethod.COMBINED
