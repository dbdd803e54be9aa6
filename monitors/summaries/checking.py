"""Compares summaries with what their rows give: they are added up as rows come, and must not drift from them."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from inference.prediction_log.models import RelabelledPrediction, TouchedPeriod
from inference.prediction_log.selectors import frame_of
from inference.registry.models import Version
from monitors.definitions.segment_masks import declared_segments
from monitors.stats.mergeable.outcomes import MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import CategoricalSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.from_rows import Source, rows_by_hour
from monitors.summaries.models import Summary

_SUMS = 1e-9  # relative: of what is added in another order
_CELLS = 1e-5  # of what is stored as float32 each time


def compare_with_rows(windows: int) -> Iterator[str | None]:
    """Compare some hours, drawn anew each time, with their rows; give what differs, or None of each that was compared.

    Hours are left out that are being worked on, and those of which rows have gone.
    """
    hours = Summary.objects.filter(span="hour", segment="").order_by("?")[:windows]
    for summary in hours.select_related("model", "version"):
        version = Version.objects.select_related("model").get(pk=summary.version_id)
        source = Source(summary.model, version, summary.role, declared_segments(summary.model))
        if _is_changing(source, summary):
            continue
        rows = frame_of(
            model=source.model, role=source.role, version_id=version.pk, start=summary.start,
            end=summary.start + timedelta(hours=1), as_summarised=True,
        )  # fmt: skip
        if len(rows) == summary.rows and not rows.let_go:
            yield _compare(source, summary, rows)


def _is_changing(source: Source, summary: Summary) -> bool:
    touched = TouchedPeriod.objects.filter(**source.fields, hour=summary.start)
    noted = RelabelledPrediction.objects.filter(
        model=source.model,
        prediction_time__gte=summary.start,
        prediction_time__lt=summary.start + timedelta(hours=1),
    )
    return touched.exists() or noted.exists()


def _compare(source: Source, summary: Summary, rows: Any) -> str | None:
    same_hour = Summary.objects.filter(**source.fields, span="hour", start=summary.start)
    held = {
        segment: WindowSummary.decode(bytes(payload))
        for segment, payload in same_hour.values_list("segment", "payload")
    }
    made = rows_by_hour(source, rows, {summary.start: set(held)})[summary.start]
    for segment in sorted(held.keys() & made.keys()):
        stored = WindowSummary.decode(made[segment].encode())  # as exact as what is stored
        if (difference := difference_of(held[segment], stored)) is not None:
            return f"{summary} {segment}: {difference}"
    return None


def difference_of(held: Any, made: Any, name: str = "summary", tolerance: float = _SUMS) -> str | None:
    """Say where two summaries of the same rows differ by more than the order of adding explains; None where nowhere."""
    if (
        isinstance(held, CategoricalSummary)
        and isinstance(made, CategoricalSummary)
        and held.rest + made.rest
    ):
        held, made = replace(held, counts={}, rest=0), replace(made, counts={}, rest=0)  # which are frequent
    if isinstance(held, MulticlassOutcomeSummary) and isinstance(made, MulticlassOutcomeSummary):
        held, made = _in_order(held), _in_order(made)
    if is_dataclass(held) and type(held) is type(made):
        for field in fields(held):
            bound = _CELLS if field.name == "sums" else _SUMS
            found = difference_of(getattr(held, field.name), getattr(made, field.name), field.name, bound)
            if found is not None:
                return f"{name}.{found}"
        return None
    if isinstance(held, dict) and isinstance(made, dict) and held.keys() == made.keys():
        differences = (difference_of(held[key], made[key], f"{name}[{key!r}]") for key in held)
        return next((one for one in differences if one is not None), None)
    return None if _is_close(held, made, tolerance) else f"{name}: {held} and {made}"


def _in_order(outcome: MulticlassOutcomeSummary) -> MulticlassOutcomeSummary:
    """Put classes, which may have been learnt as they came, in the order of their names."""
    classes = tuple(sorted(outcome.classes))
    return replace(outcome, classes=classes, confusion=outcome.confusion_of(classes))


def _is_close(held: Any, made: Any, tolerance: float) -> bool:
    if isinstance(held, np.ndarray) and isinstance(made, np.ndarray):
        scale = float(np.abs(made).max(initial=1.0))
        return held.shape == made.shape and np.allclose(held, made, rtol=tolerance, atol=tolerance * scale)
    if isinstance(held, float) and isinstance(made, float):
        both_missing = math.isnan(held) and math.isnan(made)
        return both_missing or math.isclose(held, made, rel_tol=tolerance, abs_tol=tolerance)
    return bool(held == made)
