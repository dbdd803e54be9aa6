"""A reference as a worker holds it in memory: decoded and prepared once, used for every window that it judges."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from functools import cached_property, lru_cache, partial
from typing import Any

import msgspec
import numpy as np

from driftline.base.periods import Period, rfc3339
from inference.registry.models import Model
from monitors.definitions.choosing import file_reference, in_force, references_in_force
from monitors.definitions.models import Reference, ReferenceDay
from monitors.definitions.outcomes import usual_performance
from monitors.metrics.references.from_log import (
    Stretch,
    Stretches,
    find_stretches,
    merged,
    read_stretches,
    with_answers_of_most,
)
from monitors.metrics.store.models import PointStatus
from monitors.metrics.store.points import Point
from monitors.stats.column_faults import count_faults
from monitors.stats.drift.prepared import PreparedReference, prepare_reference
from monitors.stats.drift.reference_days import Days, count_days
from monitors.stats.estimation.error_profile import ErrorProfile
from monitors.stats.estimation.expectation import ConfidenceEstimator, prepare_estimator
from monitors.stats.estimation.learnt_errors import LearntErrors
from monitors.stats.impossible_values import ValueReach, reach_of
from monitors.stats.mergeable.outcomes import BinaryOutcomeSummary, MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.stats.share_limits import DayCounts

REFERENCES_KEPT = 64


@dataclass(frozen=True, eq=False)
class LoadedReference:
    """What windows of one version are compared with.

    `seed` is what draws by it begin with. It comes of the data, not of sums over them, which differ in their last digit
    between processors: so the same data give the same limits everywhere. `digest` tells when the summary changes.
    `error_basis` says why a regression's errors go by features (`learnt_errors`) or by the prediction; `learnt_digest`
    tells when the former change. `dates` are its days, ascending, which `read_days` reads the summaries of. `period` is
    that of its rows, if known; `part` names the days of a longer reference that it consists of, if it does; `lacks`
    says why it is too little to judge by, if it is.
    """

    id: int
    kind: str
    digest: bytes
    seed: int
    version: str
    version_id: int
    summary: WindowSummary
    performance: dict[str, dict[str, float]]
    importance: dict[str, float]
    error_profile: ErrorProfile | None
    learnt_errors: LearntErrors | None
    error_basis: str
    learnt_digest: str
    dates: tuple[date, ...]
    read_days: Callable[[Sequence[date]], list[tuple[date, WindowSummary]]]
    period: Period | None = None
    part: str = ""
    lacks: str = ""

    @cached_property
    def columns(self) -> dict[str, PreparedReference]:
        """Every column that drift is measured on: the features, the answer and the score."""
        return {name: prepare_reference(column) for name, column in watched_columns(self.summary).items()}

    @cached_property
    def estimator(self) -> ConfidenceEstimator | str | None:
        """How often its scores come true; None without labelled scores, or why it cannot tell."""
        outcome = self.summary.outcome
        if isinstance(outcome, BinaryOutcomeSummary):
            scored = outcome.positives.n + outcome.negatives.n
        elif isinstance(outcome, MulticlassOutcomeSummary):
            scored = outcome.right.n + outcome.wrong.n
        else:
            return None
        return prepare_estimator(outcome, rng=np.random.default_rng([self.seed, 0])) if scored else None

    @cached_property
    def days(self) -> dict[str, Days | None]:
        """What the reference's own days say of each column; nothing where it has no times or too few days."""
        return count_days(
            self.columns,
            [(day, watched_columns(summary)) for day, summary in self.read_days(self.dates)],
        )

    @cached_property
    def faults_of_days(self) -> dict[tuple[str, str], DayCounts]:
        """How many rows of its days have which fault, by metric and feature; nothing where it has no days."""
        return count_faults([summary for _, summary in self.read_days(self.dates)])

    @cached_property
    def reaches(self) -> dict[str, ValueReach]:
        """How far each number among the features can reach, where that is known."""
        reaches = {
            name: reach_of(column)
            for name, column in self.summary.features.items()
            if isinstance(column, NumericSummary)
        }
        return {name: reach for name, reach in reaches.items() if reach is not None}

    @property
    def as_detail(self) -> dict[str, Any]:
        """Return which one it is, as points do."""
        period = {"from": rfc3339(self.period.start), "to": rfc3339(self.period.end)} if self.period else {}
        part = {"part": self.part} if self.part else {}
        return {"kind": self.kind, **period, **part, "rows": self.summary.rows}

    def days_in(self, length: timedelta) -> int:
        """Return how many of its days are as long as a window; of the same hours each stretch is."""
        return 1 if self.kind == Reference.Kind.SAME_HOURS else max(round(length / timedelta(days=1)), 1)


def watched_columns(summary: WindowSummary) -> dict[str, ColumnSummary]:
    """Name the columns whose drift is watched; the answer is `prediction`, its probability `score`."""
    columns = dict(summary.features)
    if summary.prediction is not None:
        columns["prediction"] = summary.prediction
    if summary.score is not None:
        columns["score"] = summary.score
    return columns


def annotate_reference(points: Iterable[Point], reference: LoadedReference) -> list[Point]:
    """Add to points which reference they were compared with, but for a whole file; where it lacks, none is judged."""
    if reference.kind == Reference.Kind.FILE and not reference.part:
        return list(points)
    about: dict[str, Any] = {"reference": reference.as_detail}
    if not reference.lacks:
        return [replace(point, detail=point.detail | about) for point in points]
    about["why"] = reference.lacks
    return [
        replace(point, status=PointStatus.INSUFFICIENT, detail=point.detail | about)
        if point.threshold is not None or not point.feature
        else point
        for point in points
    ]


class References:
    """The references of one model as one pass over its windows finds them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known = references_in_force(model)
        self._digests: dict[int, tuple[bytes, bytes]] = {}
        self._stretches: dict[tuple[int, Period], Stretches] = {}
        self._files: dict[int | None, Reference | None] = {}

    def of(self, version_id: int | None, window: Period) -> LoadedReference | None:
        """Return what a version's window is compared with, if anything yet."""
        reference = in_force(self._known, version_id=version_id, at=window.start)
        if reference is None:
            return None
        if reference.kind == Reference.Kind.FILE:
            return self._file(reference)
        stretches = self._stretches.get((reference.pk, window))
        if stretches is None:
            stretches = self._stretches[reference.pk, window] = find_stretches(reference, window)
        return _load_stretches(reference.pk, stretches.found, stretches.period, stretches.lacks)

    def with_rows(self, version_id: int | None) -> LoadedReference | None:
        """Return what a version's rows are compared with: the newest file."""
        if version_id not in self._files:
            self._files[version_id] = file_reference(model=self._model, version_id=version_id)
        reference = self._files[version_id]
        return self._file(reference) if reference else None

    def _file(self, reference: Reference) -> LoadedReference:
        if reference.pk not in self._digests:
            payload, learnt = Reference.objects.values_list("payload", "learnt_errors").get(pk=reference.pk)
            self._digests[reference.pk] = _digest(payload), _digest(learnt)
        return _load(reference.pk, *self._digests[reference.pk])


def _digest(stored: bytes | memoryview | None) -> bytes:
    return hashlib.sha256(stored or b"").digest()


def _seed_of(*facts: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(facts).encode()).digest()[:8])


def reference_in_use(*, model: Model, version_id: int | None, window: Period) -> LoadedReference | None:
    """Find what a version's window is compared with, if anything yet."""
    return References(model).of(version_id, window)


@lru_cache(maxsize=REFERENCES_KEPT)
def _load(reference_id: int, digest: bytes, learnt_digest: bytes) -> LoadedReference:
    """Decode a file's summary; where its rows or the model's privacy change it is built anew: the digests tell."""
    reference = Reference.objects.select_related("version", "dataset").get(pk=reference_id)
    assert reference.payload is not None
    dataset = reference.dataset
    return LoadedReference(
        id=reference.pk,
        kind=reference.kind,
        digest=digest,
        seed=_seed_of(dataset.sha256 if dataset else digest.hex()),
        version=reference.version.version,
        version_id=reference.version_id,
        summary=WindowSummary.decode(bytes(reference.payload)),
        performance=reference.performance,
        importance=reference.importance,
        error_profile=msgspec.convert(reference.error_profile, ErrorProfile | None),
        learnt_errors=LearntErrors.decode(bytes(learnt)) if (learnt := reference.learnt_errors) else None,
        error_basis=reference.error_basis,
        learnt_digest=learnt_digest.hex(),
        dates=tuple(reference.days.order_by("day").values_list("day", flat=True)),
        read_days=partial(_days_of_file, reference_id),
        period=Period(dataset.start, dataset.end) if dataset and dataset.start and dataset.end else None,
    )


def _days_of_file(reference_id: int, dates: Sequence[date]) -> list[tuple[date, WindowSummary]]:
    """Read the summaries of a file's days, of those that are still there: they are large, and not kept."""
    days = ReferenceDay.objects.filter(reference_id=reference_id, day__in=dates).order_by("day")
    return [
        (day, WindowSummary.decode(bytes(payload))) for day, payload in days.values_list("day", "payload")
    ]


@lru_cache(maxsize=8)
def _load_stretches(
    reference_id: int, stretches: tuple[Stretch, ...], period: Period | None, lacks: str
) -> LoadedReference:
    """Add up what was found of a reference in the log; other summaries than these would be other arguments."""
    reference = Reference.objects.select_related("version", "model").get(pk=reference_id)
    by_date = {one.period.start.astimezone(UTC).date(): one for one in stretches}
    parts = read_stretches(reference, stretches)
    summary = with_answers_of_most(merged(parts), parts)
    model = reference.model
    file = file_reference(model=model, version_id=reference.version_id)
    outcomes = [part.outcome for part in parts] if summary.outcome else []
    return LoadedReference(
        id=reference.pk,
        kind=reference.kind,
        digest=hashlib.sha256(summary.encode()).digest(),
        seed=_seed_of(*(str(one.period) for one in stretches), str(summary.rows)),
        version=reference.version.version,
        version_id=reference.version_id,
        summary=summary,
        performance={} if lacks else usual_performance(outcomes, model.objectives.get("quantile")),
        importance=file.importance if file else {},
        error_profile=None,
        learnt_errors=None,
        error_basis="",
        learnt_digest="",
        dates=tuple(by_date),
        read_days=lambda dates: list(
            zip(dates, read_stretches(reference, [by_date[day] for day in dates]), strict=True)
        ),
        period=period,
        lacks=lacks,
    )
