"""A reference as a worker holds it in memory: decoded and prepared once, used for every window."""

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import msgspec
import numpy as np

from inference.registry.models import Model
from monitors.definitions.models import Reference, ReferenceDay
from monitors.definitions.services import active_reference
from monitors.metrics.quality import worst_days
from monitors.stats.error_profile import ErrorProfile
from monitors.stats.estimation import ConfidenceEstimator, prepare_estimator
from monitors.stats.outcomes import BinaryOutcomeSummary, MulticlassOutcomeSummary
from monitors.stats.prepared import PreparedReference, prepare_reference
from monitors.stats.reference_days import Days, count_days
from monitors.stats.thresholds import NullDistributions, resample_null
from monitors.stats.window_summary import ColumnSummary, WindowSummary

REFERENCES_KEPT = 64
NULLS_KEPT = (
    4_096  # of 56 kB: of all references together, for a growing day asks for a dozen sizes of each column
)


@dataclass(frozen=True, eq=False)
class ReferenceInUse:
    """What windows of one version are compared with."""

    id: int
    digest: bytes
    version: str
    version_id: int
    summary: WindowSummary
    performance: dict[str, dict[str, float]]
    importance: dict[str, float]
    error_profile: ErrorProfile | None

    @property
    def seed(self) -> int:
        """What draws by this reference begin with: the same data give the same limits in every database."""
        return int.from_bytes(self.digest[:8])

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
        return count_days(self.columns, [watched_columns(day) for day in self._read_days()])

    @cached_property
    def worst_days(self) -> dict[tuple[str, str], float]:
        """The worst data quality that single days of the reference show; nothing where it has no days."""
        return worst_days(self._read_days())

    def _read_days(self) -> list[WindowSummary]:
        """Read the summaries of the reference's days: they are large, and not kept."""
        days = ReferenceDay.objects.filter(reference_id=self.id).order_by("day")
        return [WindowSummary.decode(bytes(payload)) for payload in days.values_list("payload", flat=True)]

    def null_of(self, column: str, size: int, days: int) -> NullDistributions:
        """Give what each statistic of a column does when nothing drifts, at `size` rows; the same in every process.

        `days` is how many a window has.
        """
        return _null_of(self.id, self.digest, column, size, days)

    def draw_null(self, column: str, size: int, days: int) -> NullDistributions:
        """Draw what `null_of` gives, which takes some milliseconds."""
        rng = np.random.default_rng([self.seed, size, zlib.crc32(column.encode())])
        return resample_null(self.columns[column], size, rng=rng, days=self.days[column], length=days)


@lru_cache(maxsize=NULLS_KEPT)
def _null_of(reference_id: int, digest: bytes, column: str, size: int, days: int) -> NullDistributions:
    return _load(reference_id, digest).draw_null(column, size, days)


ANSWER_COLUMNS = ("prediction", "score")


def watched_columns(summary: WindowSummary) -> dict[str, ColumnSummary]:
    """Name the columns whose drift is watched; the answer is `prediction`, its probability `score`."""
    columns = dict(summary.features)
    if summary.prediction is not None:
        columns["prediction"] = summary.prediction
    if summary.score is not None:
        columns["score"] = summary.score
    return columns


def reference_in_use(*, model: Model, version_id: int | None) -> ReferenceInUse | None:
    """Find what a version's windows are compared with, if anything yet."""
    reference = active_reference(model=model, version_id=version_id)
    return _load(reference.pk, hashlib.sha256(reference.payload or b"").digest()) if reference else None


@lru_cache(maxsize=REFERENCES_KEPT)
def _load(reference_id: int, digest: bytes) -> ReferenceInUse:
    """Decode a reference; it is built anew in its row where its rows or the model's privacy change: `digest` tells."""
    reference = Reference.objects.select_related("version").get(pk=reference_id)
    assert reference.payload is not None
    return ReferenceInUse(
        id=reference.pk,
        digest=digest,
        version=reference.version.version,
        version_id=reference.version_id,
        summary=WindowSummary.decode(bytes(reference.payload)),
        performance=reference.performance,
        importance=reference.importance,
        error_profile=msgspec.convert(reference.error_profile, ErrorProfile | None),
    )
