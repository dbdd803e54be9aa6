"""A reference as a worker holds it in memory: decoded and prepared once, used for every window."""

import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from inference.registry.models import Model
from monitors.definitions.models import Reference
from monitors.definitions.services import active_reference
from monitors.stats.distances import PreparedReference, prepare_reference
from monitors.stats.thresholds import NullDistributions, resample_null
from monitors.stats.window_summary import ColumnSummary, WindowSummary


@dataclass(frozen=True, eq=False)
class ReferenceInUse:
    """What windows of one version are compared with."""

    id: int
    version: str
    summary: WindowSummary
    performance: dict[str, dict[str, float]]
    importance: dict[str, float]
    _nulls: dict[tuple[str, int], NullDistributions] = field(default_factory=dict)

    @cached_property
    def columns(self) -> dict[str, PreparedReference]:
        """Every column that drift is measured on: the features, the answer and the score."""
        return {name: prepare_reference(column) for name, column in watched_columns(self.summary).items()}

    def null_of(self, column: str, size: int) -> NullDistributions:
        """Give what each statistic of a column does when nothing drifts, at `size` rows; the same in every process."""
        key = (column, size)
        if key not in self._nulls:
            rng = np.random.default_rng([self.id, size, zlib.crc32(column.encode())])
            self._nulls[key] = resample_null(self.columns[column], size, rng=rng)
        return self._nulls[key]


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
    return _load(reference.pk) if reference else None


@lru_cache(maxsize=64)
def _load(reference_id: int) -> ReferenceInUse:
    reference = Reference.objects.select_related("version").get(pk=reference_id)
    assert reference.payload is not None
    return ReferenceInUse(
        id=reference.pk,
        version=reference.version.version,
        summary=WindowSummary.decode(bytes(reference.payload)),
        performance=reference.performance,
        importance=reference.importance,
    )
