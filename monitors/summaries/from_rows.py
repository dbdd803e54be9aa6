"""Summarises rows of the log, hour by hour and segment by segment."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from driftline.common.periods import HOUR_US, following, to_us
from inference.prediction_log.queries.selectors import LogFrame
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.signatures import Signature
from monitors.definitions.feature_kinds import centres_of, declared_kinds, numbers_as_texts
from monitors.definitions.outcomes import answer_score, outcome_of
from monitors.definitions.segment_masks import DeclaredSegments, segment_masks
from monitors.stats.mergeable.outcomes import OutcomeSummary
from monitors.stats.mergeable.window_summary import WindowSummary, summarise_window
from monitors.summaries.stored import SummaryBySegment


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


type SegmentsByHour = Mapping[datetime, Collection[str]]
"""The segments that the stored summary of each hour has."""


def rows_by_hour(
    source: Source, rows: LogFrame, segments: SegmentsByHour
) -> dict[datetime, SummaryBySegment]:
    """Summarise rows, labels included, hour by hour and segment by segment."""
    signature = signature_of(source.version)
    declared = declared_kinds(signature)
    centres = centres_of(source.model, rows.features, prediction=rows.prediction, declared=declared)
    summarise = partial(_summarise_rows, signature=signature, centres=centres, declared=declared)
    return _by_hour(source, rows, segments, summarise)


def labels_by_hour(
    source: Source, rows: LogFrame, segments: SegmentsByHour
) -> dict[datetime, SummaryBySegment]:
    """Summarise the labels alone of rows that are summarised already, in the segments that are stored."""
    labelled = rows.take(rows.is_labelled)
    summarise = partial(_summarise_labels, signature=signature_of(source.version))
    return {
        hour: {name: one for name, one in by_segment.items() if not name or name in segments[hour]}
        for hour, by_segment in _by_hour(source, labelled, segments, summarise).items()
    }


def hours_of(rows: LogFrame) -> list[datetime]:
    """Return the hours that have rows, in order."""
    return [datetime.fromtimestamp(int(hour) * 3600, UTC) for hour in np.unique(rows.times_us // HOUR_US)]


def within(rows: LogFrame, start: datetime, end: datetime) -> LogFrame:
    """Return the rows of `[start, end)`."""
    inside = (rows.times_us >= to_us(start)) & (rows.times_us < to_us(end))
    return rows if inside.all() else rows.take(inside)


def _by_hour(
    source: Source, rows: LogFrame, segments: SegmentsByHour, summarise: Callable[[LogFrame], WindowSummary]
) -> dict[datetime, SummaryBySegment]:
    by_hour: dict[datetime, SummaryBySegment] = {}
    for hour in hours_of(rows):
        part = within(rows, hour, following(hour, "hour"))
        masks = segment_masks(source.segments, part, stored=segments.get(hour, ()))
        by_hour[hour] = {"": summarise(part)} | {name: summarise(part.take(mask)) for name, mask in masks}
    return by_hour


def _summarise_rows(
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
        label_lag_s=_lag_s(rows, labelled),
    )


def _summarise_labels(labelled: LogFrame, signature: Signature) -> WindowSummary:
    return summarise_window(
        rows=0,
        features={},
        centres={},
        outcome=_outcome(labelled, signature),
        labelled=len(labelled),
        label_lag_s=_lag_s(labelled, np.s_[:]),
    )


def _lag_s(rows: LogFrame, labelled: np.ndarray | slice) -> np.ndarray:
    """Return the lags of labels; one that was known at its event, as in a file without times, has none."""
    lags = rows.label_time_us[labelled] - rows.times_us[labelled]
    return lags[lags != 0] / 1e6


def _known(rows: LogFrame, features: Iterable[str]) -> dict[str, Any]:
    """Return the values of features; a dropped value is summarised already, so it is not missing."""
    known = {name: rows.known(name) for name in features if name in rows.features}
    return {name: values for name, values in known.items() if values is not None}


def _outcome(rows: LogFrame, signature: Signature) -> OutcomeSummary | None:
    queries = _queries(rows) if signature.task == "ranking" else None
    return outcome_of(signature, rows.label, rows.prediction, rows.probability, queries)


def _queries(rows: LogFrame) -> np.ndarray | None:
    """Return the number of each row's query, by its tag `query`; -1 for a row without one."""
    if rows.tags is None:
        return None
    numbers: dict[str, int] = {}
    names = rows.tag("query")
    return np.array(
        [-1 if name is None else numbers.setdefault(str(name), len(numbers)) for name in names],
        dtype=np.int64,
    )


def features_of_segments(segments: DeclaredSegments) -> Collection[str]:
    """Return the features that decide to which segments a row belongs."""
    conditions = [one for named in segments.named for one in named.conditions]
    return {*segments.features, *(one.feature for one in conditions if one.feature)}
