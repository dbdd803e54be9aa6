"""Compares stored summaries, which are updated row by row, with summaries computed from all rows."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from inference.prediction_log.models import LabelChange, TouchedPeriod
from inference.prediction_log.queries.selectors import frame_of
from inference.registry.models import Version
from monitors.stats.mergeable.class_scores import ClassScores
from monitors.stats.mergeable.outcomes import MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.from_rows import RowDefinitions, RowsOfVersion, rows_by_hour
from monitors.summaries.models import Summary

_SUM_TOLERANCE = 1e-9  # relative; sums depend on the order of addition
_CELL_TOLERANCE = 1e-5  # cell means are stored as float32


def compare_with_rows(windows: int) -> Iterator[str | None]:
    """Compare randomly chosen hours with their rows; yield the first difference of each, or None if there is none.

    Skips hours that are being worked on and hours with missing rows.
    """
    hours = Summary.objects.filter(span="hour", segment="").order_by("?")[:windows]
    for summary in hours.select_related("model", "version"):
        version = Version.objects.select_related("model").get(pk=summary.version_id)
        source = RowsOfVersion(summary.model, version, summary.role, RowDefinitions.of(summary.model))
        if _is_changing(source, summary):
            continue
        rows = frame_of(
            model=source.model, role=source.role, version_id=version.pk, start=summary.start,
            end=summary.start + timedelta(hours=1), as_summarised=True,
        )  # fmt: skip
        if len(rows) == summary.rows and not rows.dropped:
            yield _compare(source, summary, rows)


def _is_changing(source: RowsOfVersion, summary: Summary) -> bool:
    touched = TouchedPeriod.objects.filter(**source.fields, hour=summary.start)
    changes = LabelChange.objects.filter(
        model=source.model,
        prediction_time__gte=summary.start,
        prediction_time__lt=summary.start + timedelta(hours=1),
    )
    return touched.exists() or changes.exists()


def _compare(source: RowsOfVersion, summary: Summary, rows: Any) -> str | None:
    same_hour = Summary.objects.filter(**source.fields, span="hour", start=summary.start)
    summaries = {
        segment: WindowSummary.decode(bytes(payload))
        for segment, payload in same_hour.values_list("segment", "payload")
    }
    computed = rows_by_hour(source, rows, {summary.start: set(summaries)})[summary.start]
    for segment in sorted(summaries.keys() & computed.keys()):
        rounded = WindowSummary.decode(computed[segment].encode())  # stored summaries are rounded
        if (difference := difference_of(summaries[segment], rounded)) is not None:
            return f"{summary} {segment}: {difference}"
    return None


def difference_of(
    stored: Any, computed: Any, name: str = "summary", tolerance: float = _SUM_TOLERANCE
) -> str | None:
    """Return where two summaries of the same rows differ by more than rounding, or None."""
    if (
        isinstance(stored, CategoricalSummary)
        and isinstance(computed, CategoricalSummary)
        and stored.rest + computed.rest
    ):
        # Which values have a count of their own depends on the order in which they came.
        stored, computed = replace(stored, counts={}, rest=0), replace(computed, counts={}, rest=0)
    if (
        isinstance(stored, NumericSummary)
        and isinstance(computed, NumericSummary)
        and (stored.distinct is None or computed.distinct is None)
    ):
        # What was once counted by cells alone stays so.
        stored, computed = replace(stored, distinct=None), replace(computed, distinct=None)
    if isinstance(stored, MulticlassOutcomeSummary) and isinstance(computed, MulticlassOutcomeSummary):
        stored, computed = _in_order(stored), _in_order(computed)
    if isinstance(stored, ClassScores) and isinstance(computed, ClassScores):
        # Bits that were once dropped stay so.
        dropped = max(stored.dropped_bits, computed.dropped_bits)
        stored, computed = stored.coarser(dropped), computed.coarser(dropped)
    if is_dataclass(stored) and type(stored) is type(computed):
        for field in fields(stored):
            bound = _CELL_TOLERANCE if field.name == "sums" else _SUM_TOLERANCE
            difference = difference_of(
                getattr(stored, field.name), getattr(computed, field.name), field.name, bound
            )
            if difference is not None:
                return f"{name}.{difference}"
        return None
    if isinstance(stored, dict) and isinstance(computed, dict) and stored.keys() == computed.keys():
        differences = (difference_of(stored[key], computed[key], f"{name}[{key!r}]") for key in stored)
        return next((one for one in differences if one is not None), None)
    return None if _is_close(stored, computed, tolerance) else f"{name}: {stored} and {computed}"


def _in_order(outcome: MulticlassOutcomeSummary) -> MulticlassOutcomeSummary:
    """Return the outcome with its classes sorted by name; they may have been learnt in any order."""
    classes = tuple(sorted(outcome.classes))
    return replace(
        outcome, classes=classes, confusion=outcome.confusion_of(classes), scores=outcome.scores_of(classes)
    )


def _is_close(stored: Any, computed: Any, tolerance: float) -> bool:
    if isinstance(stored, np.ndarray) and isinstance(computed, np.ndarray):
        scale = float(np.abs(computed).max(initial=1.0))
        return stored.shape == computed.shape and np.allclose(
            stored, computed, rtol=tolerance, atol=tolerance * scale
        )
    if isinstance(stored, float) and isinstance(computed, float):
        both_missing = math.isnan(stored) and math.isnan(computed)
        return both_missing or math.isclose(stored, computed, rel_tol=tolerance, abs_tol=tolerance)
    return bool(stored == computed)
