"""Drift of all features together: a day's rows beside rows of the reference (kernels in `monitors.stats.joint`).

Summaries hold each column by itself, so this needs rows: a seeded sample of the log's, once the day has ended
(`monitors.metrics.rows.ended_days`).
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np

from driftline.base.periods import EPOCH, HOUR_US, Period, following
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.prediction_log.queries.frames import LogFrame
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind, Reference
from monitors.definitions.reference_rows import read_rows
from monitors.definitions.text_features import with_text_statistics
from monitors.metrics.context import Context
from monitors.metrics.inputs.drift import CRITICAL_TIMES
from monitors.metrics.references.loaded import LoadedReference, annotate_reference
from monitors.metrics.references.seasons import advice_for, in_season
from monitors.metrics.rows.sampling import sample_rows
from monitors.metrics.store.models import JointNullDraws, MetricPoint, PointStatus
from monitors.metrics.store.points import Point
from monitors.stats.joint.judging import (
    JOINT_KERNELS,
    MAX_ROWS,
    MIN_ROWS,
    JointMeasure,
    JointNull,
    draw_joint_null,
    joint_size,
    judge_jointly,
)
from monitors.stats.joint.rows import JointEncoding, JointRows
from monitors.summaries.models import Summary

MAX_COLUMNS = 200  # the model's most important features; a fit takes time by rows times columns
MAX_READ_ROWS = 100_000  # rows of a day; of a larger one a part of each hour is read
MAX_REFERENCE_ROWS = 300_000  # rows of a reference's file, among them those of each of its days
_NAMED = 5  # features that separate, and columns that were left out
_EPOCH_DAY = EPOCH.toordinal()


# -- one day -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Day:
    """A day's rows, how many there are, and the reference of the version that answered most of them."""

    model: Model
    start: datetime
    rows: int
    min_rows: int
    reference: LoadedReference

    @property
    def needed(self) -> int:
        """How many rows are compared at least."""
        return max(self.min_rows, MIN_ROWS)

    @property
    def compared(self) -> dict[str, Any]:
        """What a comparison depends on: where it is the same it need not be made again."""
        return {"rows": self.rows, "reference": self.reference.digest.hex()[:16], "part": self.reference.part}


def compare(context: Context, start: datetime) -> list[Point]:
    """Compare a day with its reference; nothing where there is nothing new to say."""
    day = _days_of(context, [start]).get(start)
    if day is None or _known_days([day]):
        return []
    try:
        return _points(day)
    except FileNotFoundError:
        return _said(day, 0, PointStatus.ERROR, "The reference's file is missing; upload it again.")


def days_of_few_rows(context: Context, starts: Collection[datetime]) -> dict[datetime, list[Point]]:
    """Return what is said of those of some days that have too few rows to compare, by their start.

    Nothing is read of them, so that many are done at once; the list is empty where there is nothing new to say.
    """
    few = [day for day in _days_of(context, starts).values() if day.rows < day.needed]
    known = _known_days(few)
    return {day.start: [] if day.start in known else _too_few(day, day.rows) for day in few}


def _days_of(context: Context, starts: Collection[datetime]) -> dict[datetime, _Day]:
    """Return the days that have rows and a reference, by their start."""
    monitor = context.monitors.get(MonitorKind.DRIFT)
    if monitor is None:
        return {}
    whole = Summary.objects.filter(
        model=context.model, span="day", segment="", role__in=ANSWERING_ROLES, start__in=starts, rows__gt=0
    )
    answered: dict[datetime, list[tuple[int, int]]] = {}
    for start, rows, version_id in whole.order_by("rows").values_list("start", "rows", "version_id"):
        answered.setdefault(start, []).append((rows, version_id))
    days: dict[datetime, _Day] = {}
    for start, versions in answered.items():
        _, largest = versions[-1]
        reference = context.references.with_rows(largest)
        if reference is not None:
            part = in_season(reference, Period(start, following(start, "day")))
            days[start] = _Day(
                context.model, start, sum(rows for rows, _ in versions), monitor.min_rows, part
            )
    return days


def _known_days(days: Sequence[_Day]) -> set[datetime]:
    """Return the starts of days of which the same comparison was made before; one that failed may succeed now."""
    if not days:
        return set()
    compared = {day.start: day.compared for day in days}
    stored = MetricPoint.objects.filter(
        model=days[0].model, span="day", start__in=compared, segment="", role=PredictionRole.CHAMPION, version="",
        metric__in=JOINT_KERNELS,
    ).exclude(status=PointStatus.ERROR)  # fmt: skip
    same = Counter(
        start
        for start, detail in stored.values_list("start", "detail")
        if (detail or {}).get("compared") == compared[start]
    )
    return {start for start, points in same.items() if points == len(JOINT_KERNELS)}


def _points(day: _Day) -> list[Point]:
    usual = _reference_rows(_RowsKey.of(day.reference), _columns_of(day.reference))
    frames = [frame for frame in _read(day) if len(frame)]
    n = sum(map(len, frames))
    if not n:
        return []
    if n < day.needed:
        return _too_few(day, n)
    if len(usual.sample) < 2 * MIN_ROWS:
        why = f"A reference of {len(usual.sample)} rows is too small to compare with; use {2 * MIN_ROWS} or more."
        return _said(day, n, PointStatus.INSUFFICIENT, why)
    columns = [with_text_statistics(day.model, _known_columns(frame)) for frame in frames]
    alike = [set(usual.encoding.comparable(part)) for part in columns]
    names = [name for name in usual.sample.names if all(name in part for part in alike)]
    if not names:
        return _said(
            day, n, PointStatus.NO_DATA, "No column of these rows can be compared with the reference."
        )
    window = JointRows.concatenate(
        [
            usual.encoding.encode(part, names, frame.times_us // HOUR_US)
            for part, frame in zip(columns, frames, strict=True)
        ]
    ).sample(joint_size(n), _chance(day))
    sample, null = usual.sample.select(names), _null_of(day.reference, names, len(window))
    left_out = [name for name in day.reference.summary.features if name not in names]
    about = {"columns": len(names), "left_out": left_out[:_NAMED], "compared": day.compared}
    advice = advice_for(day.reference, Period(day.start, following(day.start, "day")))
    points = [
        _point(name, kernel.measure(sample, window), null, advice, about)
        for name, kernel in JOINT_KERNELS.items()
    ]
    return annotate_reference(points, day.reference)


def _too_few(day: _Day, rows: int) -> list[Point]:
    why = f"{rows} rows are too few to compare; {day.needed} are needed."
    return _said(day, rows, PointStatus.INSUFFICIENT, why)


def _said(day: _Day, n: int, status: PointStatus, why: str) -> list[Point]:
    return [
        Point(name, None, n, status, detail={"why": why, "compared": day.compared}) for name in JOINT_KERNELS
    ]


def _point(
    name: str, measured: JointMeasure, null: JointNull, advice: str, about: Mapping[str, Any]
) -> Point:
    estimate = measured.estimate
    judged = judge_jointly(name, measured, null)
    if judged is None:
        why = "The reference does not tell what is usual."
        return Point(name, estimate.value, estimate.n, PointStatus.INSUFFICIENT, detail={"why": why, **about})
    status = PointStatus.OK if judged.is_informative else PointStatus.NOT_INFORMATIVE
    if judged.drifted:
        status = PointStatus.CRITICAL if judged.times >= CRITICAL_TIMES else PointStatus.WARNING
    loudest = sorted(measured.shares.items(), key=lambda item: -item[1])[:_NAMED]
    return Point(
        name,
        estimate.value,
        estimate.n,
        status,
        lower=estimate.lower,
        upper=estimate.upper,
        threshold=judged.upper,
        detail={
            "p_value": judged.p_value,
            "why": judged.reason,
            "usual": judged.usual,
            "lower_threshold": judged.lower,
            "features": [{"feature": name, "share": round(share, 4)} for name, share in loudest if share > 0],
            **({} if judged.is_informative else {"advice": advice}),
            **about,
        },
    )


def _chance(day: _Day) -> np.random.Generator:
    """Return a day's own generator, so that it has the same sample wherever it is compared."""
    return np.random.default_rng(abs(int(day.start.timestamp())))


# -- the day's rows ----------------------------------------------------------------------------------------------------
def _read(day: _Day) -> list[LogFrame]:
    """Read a day's rows; of a large day a part of each hour, which lies elsewhere in each."""
    window = Period(day.start, following(day.start, "day"))
    return sample_rows(
        model=day.model, window=window, rows=day.rows, most=MAX_READ_ROWS, parts=24, rng=_chance(day)
    )


def _known_columns(frame: LogFrame) -> dict[str, Any]:
    return {name: values for name, values in frame.features.items() if name not in frame.dropped}


# -- the reference's rows ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _ReferenceRows:
    """A reference's columns as numbers, and the sample of its rows that windows are compared with."""

    encoding: JointEncoding
    sample: JointRows


def _columns_of(reference: LoadedReference) -> tuple[str, ...]:
    """Choose the features that are compared, in the order of the reference."""
    names = list(reference.summary.features)
    chosen = set(sorted(names, key=lambda name: -reference.importance.get(name, 0.0))[:MAX_COLUMNS])
    return tuple(name for name in names if name in chosen)


class _RowsKey(NamedTuple):
    """Which rows of a reference are read: the digest tells when they or the model's privacy change.

    `dates` are the days of a part of it, and of a whole one none.
    """

    reference_id: int
    digest: bytes
    dates: tuple[date, ...]

    @classmethod
    def of(cls, reference: LoadedReference) -> Self:
        return cls(reference.id, reference.digest, reference.dates if reference.part else ())


@lru_cache(maxsize=8)
def _reference_rows(key: _RowsKey, names: tuple[str, ...]) -> _ReferenceRows:
    """Sample a reference's rows."""
    encoding, rows = _all_rows(key, names)
    return _ReferenceRows(encoding, rows.sample(MAX_ROWS, np.random.default_rng(0)))


def _all_rows(key: _RowsKey, names: Sequence[str]) -> tuple[JointEncoding, JointRows]:
    """Read a reference's rows; of a part of one those of its days."""
    stored = Reference.objects.select_related("version__model", "dataset").get(pk=key.reference_id)
    read = read_rows(stored, names, most=MAX_REFERENCE_ROWS)
    encoding = JointEncoding.learn(read.features)
    rows = encoding.encode(read.features, tuple(read.features), read.hours)
    if key.dates and rows.hours is not None:
        dates = [day.toordinal() - _EPOCH_DAY for day in key.dates]
        rows = rows.take(np.flatnonzero(np.isin(rows.hours // 24, dates)))
    return encoding, rows


def _null_of(reference: LoadedReference, names: Sequence[str], size: int) -> JointNull:
    """Read what these columns give when nothing drifts, or draw and keep it; the same in every process."""
    digest = hashlib.sha256(
        reference.digest + "\0".join([reference.part, *names]).encode("utf-8", "surrogatepass")
    ).hexdigest()
    stored = JointNullDraws.objects.filter(reference_id=reference.id, digest=digest, size=size).first()
    if stored is None:
        _, rows = _all_rows(_RowsKey.of(reference), names)
        null = draw_joint_null(
            rows,
            size,
            by_day=any(days is not None and days.differ for days in reference.days.values()),
            rng=np.random.default_rng(size),
        )
        draws = {name: values.tolist() for name, values in null.draws.items()}
        stored = JointNullDraws(
            reference_id=reference.id, digest=digest, size=size, draws=draws, why=null.why
        )
        JointNullDraws.objects.bulk_create([stored], ignore_conflicts=True)
    return JointNull({name: np.array(values) for name, values in stored.draws.items()}, stored.why)
