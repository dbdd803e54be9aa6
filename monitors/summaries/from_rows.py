"""Summarises rows of the log, hour by hour and segment by segment."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

import numpy as np

from driftline.base.periods import HOUR_US, following, to_us
from inference.prediction_log.queries.frames import LogFrame
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.signatures import Signature
from inference.texts import text_parts
from monitors.definitions.custom_metrics.row_values import FeatureKinds, row_values
from monitors.definitions.feature_kinds import centres_of, declared_kinds, numbers_as_texts
from monitors.definitions.outcomes import answer_score, outcome_of
from monitors.definitions.segment_masks import DeclaredSegments, declared_segments, segment_masks
from monitors.definitions.text_features import texts_among, with_text_statistics
from monitors.stats.expressions.evaluation import MetricValues
from monitors.stats.expressions.tree import Aggregate, ColumnSource
from monitors.stats.mergeable.outcomes import OutcomeSummary
from monitors.stats.mergeable.window_summary import WindowSummary, summarise_window
from monitors.summaries.stored import SummaryBySegment


@dataclass(frozen=True)
class CustomMetrics:
    """The custom metrics of a model, by the key of their sums, and the kinds of the features that they read."""

    by_key: Mapping[str, Aggregate]
    kinds: FeatureKinds

    @classmethod
    def of(cls, model: Model) -> Self:
        """Read those of a model."""
        defined = list(model.custom_metrics.order_by("pk"))
        kinds = {feature: kind for one in defined for feature, kind in one.kinds.items()}
        return cls({one.key: one.parsed for one in defined}, kinds)

    def of_labels(self) -> "CustomMetrics":
        """Return those that change with labels."""
        by_key = {key: metric for key, metric in self.by_key.items() if metric.has_labels}
        return CustomMetrics(by_key, self.kinds)

    @property
    def features(self) -> set[str]:
        """The features that they read."""
        columns = {column for metric in self.by_key.values() for column in metric.columns}
        return {column.name for column in columns if column.source == ColumnSource.FEATURE}


@dataclass(frozen=True)
class RowDefinitions:
    """What people defined over the rows of a model, read once for all versions and days that one pass summarises."""

    segments: DeclaredSegments
    custom: CustomMetrics

    @classmethod
    def of(cls, model: Model) -> Self:
        """Read those of a model."""
        return cls(declared_segments(model), CustomMetrics.of(model))

    @property
    def features_of_labels(self) -> set[str]:
        """The features by which a label counts: in a segment, or in a custom metric of labels."""
        return {*features_of_segments(self.segments), *self.custom.of_labels().features}


@dataclass(frozen=True)
class RowsOfVersion:
    """Rows that one version made in one role."""

    model: Model
    version: Version
    role: str
    defined: RowDefinitions

    @property
    def fields(self) -> dict[str, Any]:
        return {"model": self.model, "version": self.version, "role": self.role}


type SegmentsByHour = Mapping[datetime, Collection[str]]
"""The segments that the stored summary of each hour has."""


def rows_by_hour(
    source: RowsOfVersion, rows: LogFrame, segments: SegmentsByHour
) -> dict[datetime, SummaryBySegment]:
    """Summarise rows, labels included, hour by hour and segment by segment."""
    signature = signature_of(source.version)
    declared = declared_kinds(signature)
    rows, compared = _with_text_statistics(source.model, rows)
    features = {name: rows.features[name] for name in compared}
    centres = centres_of(source.model, features, prediction=rows.prediction, declared=declared)
    summarise = partial(
        _summarise_rows, compared=compared, signature=signature, centres=centres, declared=declared
    )
    return _by_hour(source, rows, segments, summarise, source.defined.custom)


def _with_text_statistics(model: Model, rows: LogFrame) -> tuple[LogFrame, list[str]]:
    """Add what is measured of texts to rows, and name the features that are compared: all but the texts themselves.

    The texts stay, as segments and custom metrics read them. What was dropped of a text is not known of these either.
    """
    texts = texts_among(model, rows.features)
    if not texts:
        return rows, list(rows.features)
    compared = with_text_statistics(model, rows.features)
    dropped = {
        part: rows.dropped[name] for name in texts if name in rows.dropped for part in text_parts(name)
    }
    return (
        replace(rows, features={**rows.features, **compared}, dropped={**rows.dropped, **dropped}),
        list(compared),
    )


def labels_by_hour(
    source: RowsOfVersion, rows: LogFrame, segments: SegmentsByHour
) -> dict[datetime, SummaryBySegment]:
    """Summarise the labels alone of rows that are summarised already, in the segments that are stored."""
    labelled = rows.take(rows.is_labelled)
    summarise = partial(_summarise_labels, signature=signature_of(source.version))
    by_hour = _by_hour(source, labelled, segments, summarise, source.defined.custom.of_labels())
    return {
        hour: {name: one for name, one in by_segment.items() if not name or name in segments[hour]}
        for hour, by_segment in by_hour.items()
    }


def hours_of(rows: LogFrame) -> list[datetime]:
    """Return the hours that have rows, in order."""
    return [datetime.fromtimestamp(int(hour) * 3600, UTC) for hour in np.unique(rows.times_us // HOUR_US)]


def within(rows: LogFrame, start: datetime, end: datetime) -> LogFrame:
    """Return the rows of `[start, end)`."""
    inside = _inside(rows, start, end)
    return rows if inside is None else rows.take(inside)


def _inside(rows: LogFrame, start: datetime, end: datetime) -> np.ndarray | slice | None:
    """Return the places of the rows of `[start, end)`, as a slice where they follow each other; None if all are."""
    [inside] = np.nonzero((rows.times_us >= to_us(start)) & (rows.times_us < to_us(end)))
    if len(inside) == len(rows):
        return None
    is_run = len(inside) and inside[-1] - inside[0] + 1 == len(inside)
    return slice(int(inside[0]), int(inside[-1]) + 1) if is_run else inside


def _by_hour(
    source: RowsOfVersion,
    rows: LogFrame,
    segments: SegmentsByHour,
    summarise: Callable[[LogFrame, MetricValues | None], WindowSummary],
    custom: CustomMetrics,
) -> dict[datetime, SummaryBySegment]:
    """Summarise rows hour by hour and segment by segment; custom metrics are computed for all rows at once."""
    values = (
        row_values(custom.by_key, custom.kinds, rows, signature_of(source.version)) if custom.by_key else None
    )
    by_hour: dict[datetime, SummaryBySegment] = {}
    for hour in hours_of(rows):
        inside = _inside(rows, hour, following(hour, "hour"))
        part, of_part = (
            (rows, values) if inside is None else (rows.take(inside), values and values.take(inside))
        )
        masks = segment_masks(source.defined.segments, part, stored=segments.get(hour, ()))
        by_hour[hour] = {"": summarise(part, of_part)} | {
            name: summarise(part.take(mask), of_part and of_part.take(mask)) for name, mask in masks
        }
    return by_hour


def _summarise_rows(
    rows: LogFrame,
    values: MetricValues | None,
    compared: Collection[str],
    signature: Signature,
    centres: dict[str, float],
    declared: dict[str, bool],
) -> WindowSummary:
    labelled = rows.is_labelled
    count = int(labelled.sum())
    return summarise_window(
        rows=len(rows),
        features=numbers_as_texts(_known(rows, compared), centres, declared),
        centres=centres,
        prediction=rows.prediction,
        score=answer_score(signature, rows.prediction, rows.probability),
        latency_ms=rows.latency_us / 1e3,
        outcome=_outcome(rows, signature),
        labelled=count,
        label_lag_s=_lag_s(rows, labelled),
        custom=values.sums(len(rows), count) if values else None,
    )


def _summarise_labels(labelled: LogFrame, values: MetricValues | None, signature: Signature) -> WindowSummary:
    return summarise_window(
        rows=0,
        features={},
        centres={},
        outcome=_outcome(labelled, signature),
        labelled=len(labelled),
        label_lag_s=_lag_s(labelled, np.s_[:]),
        custom=values.sums(0, len(labelled)) if values else None,
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
