"""A regression's errors by its features: how many rows of an ended day lie in each bin of the error expected of them.

They are counted from rows, once for each version and role, and kept: the estimate is measured again from the counts as
often as labels come, and that of weeks is their sum. A day is counted again when it has other rows by then, or another
reference. Where it cannot be, as when its rows are gone, the size of the prediction stands in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from driftline.base.periods import Period, following
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.registry.models import Model, RowsKept
from monitors.metrics.references.loaded import LoadedReference, References
from monitors.metrics.rows.sampling import sample_rows
from monitors.metrics.store.models import ExpectedErrors
from monitors.stats.estimation.learnt_errors import LearntErrors
from monitors.stats.mergeable.sketches import IntArray
from monitors.summaries.models import Summary

MAX_READ_ROWS = 100_000  # rows of a day; of a larger one a part of each hour is read
_ENOUGH = 0.9  # of a window's rows that were there when they were counted: a few come late


# -- what is known of a window -----------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ExpectedRows:
    """A window's rows by the error that is expected of them; without counts `why` says what stands in their way.

    `is_awaited` says that they will be counted.
    """

    counts: IntArray | None
    why: str
    is_awaited: bool = False


def expected_rows(
    model: Model, reference: LoadedReference, *, role: str, version: str, rows: int, span: str, window: Period
) -> ExpectedRows:
    """Add up what was counted of a window of `rows` rows."""
    if reference.learnt_errors is None:
        return ExpectedRows(None, reference.error_basis)
    if span == "hour":
        return ExpectedRows(None, "Features are read once a day has ended; an hour goes by its predictions.")
    stored = list(
        ExpectedErrors.objects.filter(
            model=model, role=role, version=version, digest=reference.learnt_digest,
            start__gte=window.start, start__lt=window.end,
        ).order_by("start")
    )  # fmt: skip
    counted = [np.array(one.counts) for one in stored if one.counts is not None]
    if counted and sum(one.rows for one in stored if one.counts is not None) >= _ENOUGH * rows:
        return ExpectedRows(np.sum(counted, axis=0), reference.error_basis)
    if model.rows_kept == RowsKept.NONE:
        return ExpectedRows(None, "Rows are not kept, and features are read row by row.")
    missing = next((one.why for one in stored if one.why), "")
    why = missing or "Not every day of this period has been read row by row."
    return ExpectedRows(None, why, is_awaited=span == "day" and not missing)


# -- counting a day ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Answers:
    """What one version answered in a role on a day, or without a version what the model's callers were answered.

    Its rows are those that any version, or `of_version` alone, answered in `roles`.
    """

    role: str
    version: str
    version_id: int
    rows: int
    roles: tuple[str, ...]
    of_version: int | None


def count_errors(model: Model, references: References, start: datetime) -> list[ExpectedErrors]:
    """Count a day's rows; what is news, and not saved yet."""
    window = Period(start, following(start, "day"))
    found: list[ExpectedErrors] = []
    counted: dict[Any, tuple[list[int] | None, str]] = {}
    for answers in _answers_of(model, start):
        reference = references.of(answers.version_id, window)
        if reference is None or reference.version_id != answers.version_id or reference.learnt_errors is None:
            continue
        of_what = {"model": model, "start": start, "role": answers.role, "version": answers.version}
        fingerprint = {"digest": reference.learnt_digest, "rows": answers.rows}
        if ExpectedErrors.objects.filter(**of_what, **fingerprint).exists():
            continue
        rows = answers.roles, answers.of_version, reference.learnt_digest
        if rows not in counted:
            counted[rows] = _count(model, window, answers, reference.learnt_errors)
        counts, why = counted[rows]
        found.append(ExpectedErrors(**of_what, **fingerprint, counts=counts, why=why[:300]))
    return found


def _answers_of(model: Model, start: datetime) -> Iterator[_Answers]:
    stored = Summary.objects.filter(model=model, span="day", segment="", start=start, rows__gt=0)
    answered = []
    for row in stored.select_related("version").defer("payload", "blocks").order_by("role", "version_id"):
        answers = _Answers(
            row.role, row.version.version, row.version_id, row.rows, (row.role,), row.version_id
        )
        answered += [answers] if row.role in ANSWERING_ROLES else []
        yield answers
    if answered:
        largest = max(answered, key=lambda answers: answers.rows)
        alone = len(answered) == 1  # so that its rows are read once
        yield _Answers(
            PredictionRole.CHAMPION,
            "",
            largest.version_id,
            sum(answers.rows for answers in answered),
            largest.roles if alone else ANSWERING_ROLES,
            largest.of_version if alone else None,
        )


def _count(
    model: Model, window: Period, answers: _Answers, learnt: LearntErrors
) -> tuple[list[int] | None, str]:
    """Count rows by the error that is expected of them, or say why not."""
    frames = sample_rows(
        model=model, window=window, rows=answers.rows, most=MAX_READ_ROWS, parts=24, roles=answers.roles,
        version_id=answers.of_version, rng=np.random.default_rng(abs(int(window.start.timestamp()))),
    )  # fmt: skip
    counts = learnt.profile.count([])
    for frame in frames:
        columns = {name: values for name, values in frame.features.items() if name not in frame.dropped}
        lacking = learnt.lacking(columns) if len(frame) else []
        if lacking:
            return None, f"Rows of this day do not have {lacking[0]!r} as the reference has it."
        if len(frame):
            counts = counts + learnt.count(columns, frame.prediction.astype(np.float64))
    return (counts.tolist(), "") if counts.any() else (None, "The rows of this day are not kept any more.")
