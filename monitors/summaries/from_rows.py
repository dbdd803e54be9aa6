"""Summarises rows of the log, hour by hour and segment by segment."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from driftline.common.periods import following
from inference.prediction_log.selectors import LogFrame
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.serving.plan import Signature
from monitors.definitions.feature_kinds import centres_of, declared_kinds, numbers_as_texts
from monitors.definitions.outcomes import answer_score, outcome_of
from monitors.definitions.segment_masks import DeclaredSegments, segment_masks
from monitors.stats.mergeable.outcomes import OutcomeSummary
from monitors.stats.mergeable.window_summary import WindowSummary, summarise_window
from monitors.summaries.stored import Told

_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Source:
    """Rows that one version made in one role."""

    model: Model
    version: Version
    role: str
    segments: DeclaredSegments

    @property
    def fields(self) -> dict[str, Any]:
        return {"model": self.model, "version": self.version, "role": self.role}


type Seats = dict[datetime, set[str]]
"""The segments that each hour's window has."""


def rows_by_hour(source: Source, rows: LogFrame, seats: Seats) -> dict[datetime, Told]:
    """Summarise rows with all that is known of them; none gives nothing."""
    signature = signature_of(source.version)
    declared = declared_kinds(signature)
    centres = centres_of(source.model, rows.features, prediction=rows.prediction, declared=declared)
    summarise = partial(_summary, signature=signature, centres=centres, declared=declared)
    return _by_hour(source, rows, seats, summarise)


def labels_by_hour(source: Source, rows: LogFrame, seats: Seats) -> dict[datetime, Told]:
    """Summarise what the labels of rows show, in segments that are there; the rows are counted already."""
    labelled = rows.take(rows.is_labelled)
    told = _by_hour(source, labelled, seats, partial(_labels, signature=signature_of(source.version)))
    return {
        hour: {segment: summary for segment, summary in one.items() if not segment or segment in seats[hour]}
        for hour, one in told.items()
    }


def hours_of(rows: LogFrame) -> list[datetime]:
    """List the hours that hold rows."""
    return [datetime.fromtimestamp(int(hour) * 3600, UTC) for hour in np.unique(rows.times_us // _HOUR_US)]


def within(rows: LogFrame, start: datetime, end: datetime) -> LogFrame:
    """Give the rows of `[start, end)`."""
    first, last = (int(moment.timestamp()) * 1_000_000 for moment in (start, end))
    inside = (rows.times_us >= first) & (rows.times_us < last)
    return rows if inside.all() else rows.take(inside)


def _by_hour(
    source: Source, rows: LogFrame, seats: Seats, summary_of: Callable[[LogFrame], WindowSummary]
) -> dict[datetime, Told]:
    told: dict[datetime, Told] = {}
    for hour in hours_of(rows):
        part = within(rows, hour, following(hour, "hour"))
        masks = segment_masks(source.segments, part, seated=seats.get(hour, ()))
        told[hour] = {"": summary_of(part)} | {name: summary_of(part.take(mask)) for name, mask in masks}
    return told


def _summary(
    rows: LogFrame, signature: Signature, centres: dict[str, float], declared: dict[str, bool]
) -> WindowSummary:
    labelled = rows.is_labelled
    return summarise_window(
        rows=len(rows),
        features=numbers_as_texts(_known(rows, rows.features), centres, declared),
        centres=centres,
        prediction=rows.prediction,
        score=answer_score(signature, rows.prediction, rows.probability),
        latency_ms=rows.latency_us / 1e3,
        outcome=_outcome(rows, signature),
        labelled=int(labelled.sum()),
        label_lag_s=_lag_s(rows.take(labelled)),
    )


def _labels(labelled: LogFrame, signature: Signature) -> WindowSummary:
    return summarise_window(
        rows=0,
        features={},
        centres={},
        outcome=_outcome(labelled, signature),
        labelled=len(labelled),
        label_lag_s=_lag_s(labelled),
    )


def _lag_s(labelled: LogFrame) -> np.ndarray:
    return (labelled.label_time_us - labelled.times_us) / 1e6


def _known(rows: LogFrame, features: Iterable[str]) -> dict[str, Any]:
    """Give what is still known of features: what was let go is in a summary already, and not missing."""
    known = {name: rows.known(name) for name in features if name in rows.features}
    return {name: values for name, values in known.items() if values is not None}


def _outcome(rows: LogFrame, signature: Signature) -> OutcomeSummary | None:
    queries = _queries(rows) if signature.task == "ranking" else None
    return outcome_of(signature, rows.label, rows.prediction, rows.probability, queries)


def _queries(rows: LogFrame) -> np.ndarray | None:
    """Number the query that each row answers, which its tag `query` names; -1 where it has none."""
    if rows.tags is None:
        return None
    numbers: dict[str, int] = {}
    names = rows.tag("query")
    return np.array(
        [-1 if name is None else numbers.setdefault(str(name), len(numbers)) for name in names],
        dtype=np.int64,
    )


def features_of_segments(segments: DeclaredSegments) -> Collection[str]:
    """Name the features that decide which segments a row is in."""
    conditions = [one for named in segments.named for one in named.conditions]
    return {*segments.features, *(one.feature for one in conditions if one.feature)}
