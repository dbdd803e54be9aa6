"""Packs the points that one measure writes of a window into one row, by the positions of a layout.

A number is stored once at its position, a status as one byte, a sentence about a limit once for all windows that are
judged by the same draws, and what points say beside these once a row, or once for all that say the same.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from monitors.metrics.catalogue import Measure, measure_of
from monitors.metrics.store.models import STATUS_CODES, MetricPoint, PointStatus

type Name = tuple[str, str]
"""A metric and a feature: what stands at one position of a layout."""

type Number = float | int | None

_CODES = {name: code for code, name in enumerate(STATUS_CODES)}
_WITH_LIMITS = (Measure.DRIFT, Measure.QUALITY)
"""Measures with limits of the reference, which are the same in many windows."""
_P_VALUES = ("p_value", "decision_p_value")
_DIGEST_BYTES = 16
MIN_P_VALUE = 1e-37  # what four bytes hold; nobody tells less likely ones apart


class RowKey(NamedTuple):
    """Which row holds a point."""

    model_id: int
    span: str
    start: datetime
    role: str
    version: str
    segment: str
    measure: str


@dataclass(frozen=True)
class ReasonedLimits:
    """Thresholds and their reasons by position."""

    thresholds: list[Number]
    whys: list[str | None]

    def digest(self, layout: int) -> bytes:
        text = json.dumps([layout, self.thresholds, self.whys])
        return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


@dataclass(frozen=True)
class PackedColumns:
    """The columns of one row but for its key; see `PackedPoints`. Arrays are None where all they would hold is null."""

    n: int
    statuses: bytes
    values: list[Number] | None
    ns: list[Number] | None
    lowers: list[Number] | None
    uppers: list[Number] | None
    thresholds: list[Number] | None
    limits: ReasonedLimits | None
    p_values: list[Number] | None
    decision_p_values: list[Number] | None
    kinds: list[Number] | None
    details: list[dict[str, Any]] | None
    detail: dict[str, Any] | None
    ripe_at: datetime | None

    @property
    def has_errors(self) -> bool:
        return _CODES[PointStatus.ERROR] in self.statuses


def key_of(point: MetricPoint) -> RowKey:
    """Return which row holds a point."""
    return RowKey(
        point.model_id, point.span, point.start, point.role, point.version, point.segment, measure_of(point.metric)
    )  # fmt: skip


def name_of(point: MetricPoint) -> Name:
    return point.metric, point.feature


def pack(points: Iterable[MetricPoint], layout: Mapping[Name, int], measure: str) -> PackedColumns:
    """Pack the points of one row; `layout` gives the position of each, from 1 on, and maybe more positions.

    A position may have lost its name. A point of drift or quality that has too few rows keeps only its status and `n`.
    """
    length = max(layout.values(), default=0)
    by_position = {layout[name_of(point)]: point for point in points}
    has_limits = measure in _WITH_LIMITS
    unjudged = {
        place
        for place, point in by_position.items()
        if has_limits and point.feature and point.status == PointStatus.INSUFFICIENT
    }
    judged = {place: point for place, point in by_position.items() if place not in unjudged}
    said = {place: _said(point, place in unjudged) for place, point in by_position.items()}

    def column(name: str) -> list[Number] | None:
        given = {
            place: float(number)
            for place, point in judged.items()
            if (number := getattr(point, name)) is not None
        }
        return _by_position(given, length)

    thresholds = column("threshold")
    limits = _take_limits(thresholds, said) if has_limits and thresholds else None
    n, ns = _count_rows(by_position, length)
    p_values = decision_p_values = shared = kinds = details = None
    if any(said.values()):  # of small hours nothing is said
        p_values, decision_p_values = (_take_p_values(name, said, length) for name in _P_VALUES)
        shared = _take_shared(said)
        kinds, details = _number_details(said, length)
    return PackedColumns(
        n=n,
        statuses=bytes(
            _CODES[by_position[place].status] if place in by_position else 0 for place in range(1, length + 1)
        ),
        values=column("value"),
        ns=ns,
        lowers=column("lower"),
        uppers=column("upper"),
        thresholds=None if has_limits else thresholds,
        limits=limits,
        p_values=p_values,
        decision_p_values=decision_p_values,
        kinds=kinds,
        details=details,
        detail=shared,
        ripe_at=_ripe_at(by_position.values()),
    )


def _said(point: MetricPoint, is_unjudged: bool) -> dict[str, Any]:
    """Copy what a point says; where it was not judged, by what and why."""
    detail = point.detail or {}
    return (
        {name: detail[name] for name in ("why", "reference") if name in detail} if is_unjudged else {**detail}
    )


def _count_rows(points: Mapping[int, MetricPoint], length: int) -> tuple[int, list[Number] | None]:
    """Return the `n` that most points have, and those of the others by position."""
    counts = [int(point.n) for point in points.values()]
    if len(set(counts)) == 1:
        return counts[0], None
    n = Counter(counts).most_common(1)[0][0] if counts else 0
    others = {place: int(point.n) for place, point in points.items() if point.n != n}
    return n, _by_position(others, length)


def _by_position(numbers: Mapping[int, Number], length: int) -> list[Number] | None:
    """List numbers by their position, from 1; None where there is none."""
    return [numbers.get(place) for place in range(1, length + 1)] if numbers else None


def _take_limits(thresholds: Sequence[Number], said: Mapping[int, dict[str, Any]]) -> ReasonedLimits:
    """Take the reasons of the thresholds out of what points say."""
    whys = [
        said[place].pop("why", None) if threshold is not None else None
        for place, threshold in enumerate(thresholds, 1)
    ]
    return ReasonedLimits(list(thresholds), whys)


def _take_p_values(name: str, said: Mapping[int, dict[str, Any]], length: int) -> list[Number] | None:
    """Take a p-value out of what points say, by position."""
    taken = {
        place: max(float(detail.pop(name)), MIN_P_VALUE)
        for place, detail in said.items()
        if isinstance(detail.get(name), float | int)
    }
    return _by_position(taken, length)


def _take_shared(said: Mapping[int, dict[str, Any]]) -> dict[str, Any] | None:
    """Take out what all points say alike."""
    details = list(said.values())
    first = details[0] if details else {}
    shared = {
        name: value
        for name, value in first.items()
        if all(name in detail and detail[name] == value for detail in details)
    }
    for detail in details:
        for name in shared:
            del detail[name]
    return shared or None


def _number_details(
    said: Mapping[int, dict[str, Any]], length: int
) -> tuple[list[Number] | None, list[dict[str, Any]] | None]:
    """List what is left of what points say, each once, and give the place in that list, from 1, by position."""
    kinds: list[Number] = [None] * length
    places: dict[str, int] = {}
    details: list[dict[str, Any]] = []
    for place, detail in sorted(said.items()):
        if not detail:
            continue
        text = json.dumps(detail, sort_keys=True, default=str)
        if text not in places:
            details.append(detail)
            places[text] = len(details)
        kinds[place - 1] = places[text]
    return (kinds, details) if details else (None, None)


def _ripe_at(points: Iterable[MetricPoint]) -> datetime | None:
    """Return when labels that are still coming may be judged."""
    for point in points:
        ripe_at = (point.detail or {}).get("ripe_at")
        if ripe_at and point.metric == "label_coverage" and point.status == PointStatus.UNRIPE:
            return datetime.fromisoformat(ripe_at)
    return None
