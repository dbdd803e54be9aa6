"""Which rows of the log each declared segment of a model has."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from inference.prediction_log.queries.frames import LogFrame
from inference.registry.models import Model
from monitors.stats.segments.conditions import RowCondition

NAME_LENGTH = 200  # of a segment; a longer value too is seen only in the whole
MAX_VALUES = 50  # a segment feature's most frequent ones; the rest is seen only in the whole


@dataclass(frozen=True)
class NamedSegment:
    """A segment as its conditions have been `since` then."""

    name: str
    conditions: tuple[RowCondition, ...]
    since: datetime


@dataclass(frozen=True)
class DeclaredSegments:
    """All that a model looks at apart: each value of some features, and segments by their names."""

    features: tuple[str, ...] = ()
    named: tuple[NamedSegment, ...] = ()

    def features_of(self, segment: str) -> frozenset[str]:
        """Return the features by which a segment chooses its rows: within it they are what it says, not what came."""
        by_value = {feature for feature in self.features if segment.startswith(f"{feature}:")}
        conditions = [one for named in self.named if named.name == segment for one in named.conditions]
        return frozenset(by_value | {one.feature for one in conditions if one.feature})


def declared_segments(model: Model) -> DeclaredSegments:
    """Read what a model looks at apart."""
    return DeclaredSegments(
        tuple(model.segment_features.order_by("feature").values_list("feature", flat=True)),
        tuple(NamedSegment(one.name, one.parsed, one.since) for one in model.segments.order_by("name")),
    )


def features_of_segment(model: Model, segment: str) -> frozenset[str]:
    """Return the features by which a segment of a model chooses its rows; none of all rows."""
    return declared_segments(model).features_of(segment) if segment else frozenset()


def segment_masks(
    declared: DeclaredSegments, frame: LogFrame, *, stored: Collection[str] = ()
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the mask of each segment with rows: `feature:value` for a feature's frequent values, then the named ones.

    A feature has at most MAX_VALUES segments an hour. Those that are `stored` already keep their places, and new values
    take the remaining ones, the most frequent first. So a value has either all its rows of an hour in its summary or
    none, however many parts they come in.
    """
    for feature in declared.features:
        if feature in frame.features:
            yield from _each_value(feature, frame, stored)
    for one in declared.named:
        mask = rows_where(one.conditions, frame)
        if mask.any():
            yield one.name, mask


def _each_value(
    feature: str, frame: LogFrame, stored: Collection[str]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    column = frame.features[feature]
    texts = np.array(["" if value is None or value != value else as_text(value) for value in column], object)
    values, counts = np.unique(texts.astype(str), return_counts=True)
    room = MAX_VALUES - sum(segment.startswith(f"{feature}:") for segment in stored)
    for value in values[np.argsort(-counts, kind="stable")]:
        segment = f"{feature}:{value}"
        if not value or len(segment) > NAME_LENGTH:
            continue
        if segment not in stored:
            room -= 1
        if segment in stored or room >= 0:
            yield segment, texts == value


def rows_where(conditions: Sequence[RowCondition], frame: LogFrame) -> NDArray[np.bool_]:
    """Mark the rows of which all conditions hold."""
    return np.logical_and.reduce([one.holds(_column(one, frame)) for one in conditions])


def _column(condition: RowCondition, frame: LogFrame) -> NDArray[np.generic]:
    if condition.tag:
        return frame.tag(condition.tag)
    absent = np.full(len(frame), None, object)
    return frame.features.get(condition.feature, absent)


def as_text(value: object) -> str:
    """Write a value as a segment's name has it: a whole number without decimals."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
