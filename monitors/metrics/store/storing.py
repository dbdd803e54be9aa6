"""Stores metric points: nothing else writes them.

The points that one measure writes of a window, of one version and segment, are one row of `PackedPoints`. Whoever saves
some of them saves all: the row is replaced whole, so what is no more, such as a class without labels, is dropped with
it. `update_points` changes single ones.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched, groupby
from operator import itemgetter
from typing import Any

from django.db import connection
from django.db.models import Exists, Max, OuterRef, Q

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from monitors.metrics.catalogue import Measure, measure_of
from monitors.metrics.hooks import note_stored
from monitors.metrics.store.models import (
    STATUS_CODES,
    MetricPoint,
    PackedPoints,
    PointLimits,
    PointName,
    PointStatus,
)
from monitors.metrics.store.packing import (
    Name,
    Number,
    PackedColumns,
    ReasonedLimits,
    RowKey,
    key_of,
    name_of,
    pack,
)
from monitors.summaries.models import Summary

type Windows = Sequence[tuple[str, datetime]]
"""Span and start of each."""

_ROWS_AT_ONCE = 500
MAX_SPARE = 2  # times as many positions as points may a layout have
_SPARE = 16  # positions that any layout may have beside its points

_ARRAYS = ("values", "ns", "lowers", "uppers", "thresholds", "p_values", "decision_p_values", "kinds")
_COLUMNS = (
    "layout", "limits_id", "n", "statuses", "details", "detail", "ripe_at", "has_errors", *_ARRAYS,
)  # fmt: skip


def lock_points(model_id: int) -> None:
    """Lock the points of a model for one writer at a time, so that an older result never lands on a newer one."""
    lock(AdvisoryLock.METRIC_POINTS, model_id)


# -- saving ------------------------------------------------------------------------------------------------------------
def save_points(points: Iterable[MetricPoint]) -> None:
    """Store points in the caller's transaction; the others that their measures had stored of their windows are dropped.

    A value that late data changed counts as a new revision of its row.
    """
    rows: dict[RowKey, dict[Name, MetricPoint]] = {}
    for point in points:
        rows.setdefault(key_of(point), {})[name_of(point)] = point
    for model_id in sorted({key.model_id for key in rows}):
        lock_points(model_id)
        _save_rows(model_id, {key: held for key, held in rows.items() if key.model_id == model_id})


def update_points(points: Collection[MetricPoint]) -> None:
    """Store changed points that were read from the database; the others of their rows stay as they are.

    One that its row has no more, as another layout was stored meanwhile, stays away.
    """
    changed = {(point.row_id, name_of(point)): point for point in points}
    rows = {point.row_id for point in points}
    stored = MetricPoint.objects.filter(row__in=rows) if rows else ()
    save_points([changed.get((point.row_id, name_of(point)), point) for point in stored])


def _save_rows(model_id: int, rows: dict[RowKey, dict[Name, MetricPoint]]) -> None:
    layouts = _Layouts(model_id, {key.measure for key in rows})
    packed: list[tuple[RowKey, int, PackedColumns]] = []
    for key, held in rows.items():
        layout = layouts.of(key.measure, held.keys())
        packed.append((key, layout.number, pack(held.values(), layout.positions, key.measure)))
    limits = _store_limits(model_id, [(layout, row.limits) for _, layout, row in packed if row.limits])
    values = [
        _columns_of(key, layout, row, limits[row.limits.digest(layout)] if row.limits else None)
        for key, layout, row in packed
    ]
    _upsert(model_id, values)


def _columns_of(key: RowKey, layout: int, row: PackedColumns, limits_id: int | None) -> tuple[Any, ...]:
    return (
        *key, layout, limits_id, row.n, row.statuses, _json(row.details), _json(row.detail), row.ripe_at,
        row.has_errors, *(_array(getattr(row, name)) for name in _ARRAYS),
    )  # fmt: skip


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _array(numbers: Sequence[Number] | None) -> str | None:
    """Write an array as PostgreSQL reads it: its driver would take several times as long."""
    if numbers is None:
        return None
    return "{" + ",".join(["NULL" if number is None else repr(number) for number in numbers]) + "}"


def _upsert(model_id: int, rows: Sequence[tuple[Any, ...]]) -> None:
    names = [f'"{name}"' for name in (*RowKey._fields, *_COLUMNS)]
    places = "(" + ", ".join(["%s"] * len(names)) + ", now(), 1)"
    changes = [f'"{name}" = EXCLUDED."{name}"' for name in _COLUMNS]
    for some in batched(rows, _ROWS_AT_ONCE):
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO monitors_packedpoints AS stored ({', '.join(names)}, updated_at, revision) "
                f"VALUES {', '.join([places] * len(some))} "
                f"ON CONFLICT ({', '.join(RowKey._fields)}) DO UPDATE SET {', '.join(changes)}, updated_at = now(), "
                'revision = stored.revision + (stored."values" IS DISTINCT FROM EXCLUDED."values")::int RETURNING id',
                [value for row in some for value in row],
            )
            note_stored(model_id, [row_id for (row_id,) in cursor.fetchall()])


def _store_limits(model_id: int, limits: Iterable[tuple[int, ReasonedLimits]]) -> dict[bytes, int]:
    """Store each of some limits once, and return their keys by digest."""
    wanted = {one.digest(layout): one for layout, one in limits}
    if not wanted:
        return {}
    known = _known_limits(model_id, wanted)
    missing = [
        PointLimits(model_id=model_id, digest=digest, thresholds=one.thresholds, whys=one.whys)
        for digest, one in wanted.items()
        if digest not in known
    ]
    PointLimits.objects.bulk_create(missing)
    return known | {bytes(one.digest): one.pk for one in missing}


def _known_limits(model_id: int, digests: Iterable[bytes]) -> dict[bytes, int]:
    known = PointLimits.objects.filter(model_id=model_id, digest__in=list(digests))
    return {bytes(digest): pk for digest, pk in known.values_list("digest", "pk")}


# -- layouts -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Layout:
    number: int
    positions: dict[Name, int]


class _Layouts:
    """The layouts of a model's measures, the newest first; the caller holds the lock of its points."""

    def __init__(self, model_id: int, measures: Collection[str]) -> None:
        self._model_id = model_id
        self._stored: dict[str, list[_Layout]] = {measure: [] for measure in measures}
        names = PointName.objects.filter(model_id=model_id, measure__in=measures)
        for measure, layouts in groupby(
            names.order_by("measure", "-layout", "position").values_list(
                "measure", "layout", "metric", "feature", "position"
            ),
            key=itemgetter(0),
        ):
            self._stored[measure] = [
                _Layout(number, {(metric, feature): position for *_, metric, feature, position in entries})
                for number, entries in groupby(layouts, key=itemgetter(1))
            ]

    def of(self, measure: str, names: Collection[Name]) -> _Layout:
        """Return a layout with these names and not many more, or make one: of what the newest one has as well.

        So the classes or features that come and go are soon all in one.
        """
        room = MAX_SPARE * len(names) + _SPARE
        for layout in self._stored[measure]:
            if len(layout.positions) <= room and layout.positions.keys() >= set(names):
                return layout
        newest = self._stored[measure][0].positions if self._stored[measure] else {}
        together = {*names, *newest}
        made = self._make(measure, sorted(together if len(together) <= room else names))
        self._stored[measure].insert(0, made)
        return made

    def _make(self, measure: str, names: Sequence[Name]) -> _Layout:
        last = PointName.objects.filter(model_id=self._model_id).aggregate(last=Max("layout"))["last"]
        layout = _Layout((last or 0) + 1, {name: position for position, name in enumerate(names, 1)})
        PointName.objects.bulk_create(
            PointName(
                model_id=self._model_id, layout=layout.number, position=position, measure=measure, metric=metric,
                feature=feature,
            )
            for (metric, feature), position in layout.positions.items()
        )  # fmt: skip
        return layout


# -- errors ------------------------------------------------------------------------------------------------------------
def mark_errors(model_id: int, span: str, start: datetime, why: str) -> int:
    """Set the status `error` and the reason on a window's stored points; returns how many rows of them there are."""
    lock_points(model_id)
    rows = list(PackedPoints.objects.filter(model_id=model_id, span=span, start=start))
    error = STATUS_CODES.index(PointStatus.ERROR)
    for row in rows:
        row.statuses = bytes(error if code else 0 for code in bytes(row.statuses))
        row.has_errors, row.ripe_at = True, None
        row.kinds = row.details = None
        row.detail = (row.detail or {}) | {"why": why}
    PackedPoints.objects.bulk_update(
        rows, ["statuses", "has_errors", "ripe_at", "kinds", "details", "detail"]
    )
    note_stored(model_id, [row.pk for row in rows])
    return len(rows)


# -- forgetting --------------------------------------------------------------------------------------------------------
def forget_unmeasured(
    model_id: int,
    points: Iterable[MetricPoint],
    windows: Windows,
    measures: Mapping[str, Collection[Measure]],
) -> None:
    """Delete what was stored of windows that were measured again, and now was not: it is of other rows.

    That is what is not among these `points`, of the same version and segment, of the `measures` that ran (by span), and
    any error. A window longer than a day is measured from its days as a whole: what has no version and segment there
    any more goes too. What is measured by itself, and a window of which no summary is left, keep their points.
    """
    fresh = {key_of(point) for point in points}
    measured = {_population_of(key) for key in fresh if key.measure in measures[key.span]}
    stored = _rows_of(model_id, windows).values_list("pk", "has_errors", *RowKey._fields)
    unmeasured = []
    for pk, has_errors, *columns in stored:
        key = RowKey(*columns)
        is_of_measure = key.measure in measures[key.span] and _population_of(key) in measured
        if key not in fresh and (has_errors or is_of_measure):
            unmeasured.append(pk)
    _delete(unmeasured)


def _population_of(key: RowKey) -> RowKey:
    """Return the rows that are measured together: those of a version and segment, or of a longer window all."""
    if key.span in ("hour", "day"):
        return key._replace(measure="")
    return key._replace(measure="", role="", version="", segment="")


def forget_points(model_id: int, which: Q) -> int:
    """Delete points in the caller's transaction; `which` is over columns of `PackedPoints`. Returns how many rows."""
    lock_points(model_id)
    return PackedPoints.objects.filter(which, model_id=model_id).delete()[0]


def forget_feature(model_id: int, metric: str, feature: str) -> None:
    """Delete the points of a metric that name a feature, in all windows, in the caller's transaction.

    Their positions lose their names. A layout without any goes with its rows: the next one may get its number.
    """
    lock_points(model_id)
    PointName.objects.filter(model_id=model_id, metric=metric, feature=feature).delete()
    measure = measure_of(metric)
    named = PointName.objects.filter(model_id=model_id, measure=measure).values("layout")
    forget_points(model_id, Q(measure=measure) & ~Q(layout__in=named))


def forget_unused_limits(model_id: int) -> int:
    """Delete limits that no window is judged by any more; returns how many."""
    lock_points(model_id)
    judged = PackedPoints.objects.filter(model_id=model_id, limits=OuterRef("pk"))
    return PointLimits.objects.filter(~Exists(judged), model_id=model_id).delete()[0]


def forget_vanished_segments(model_id: int, windows: Windows) -> None:
    """Delete the points of segments that have no summary in these windows (span, start) any more.

    More frequent values of a feature came late, or the last row of one was corrected. A day that a month stands for
    keeps its points.
    """
    days = Summary.objects.filter(
        model_id=model_id, span="day", start__in=[start for span, start in windows if span == "day"]
    )
    kept: dict[datetime, set[str]] = {}
    for start, segment in days.values_list("start", "segment"):
        kept.setdefault(start, set()).add(segment)
    of_segments = PackedPoints.objects.filter(model_id=model_id, span="day", start__in=kept).exclude(
        segment=""
    )
    stored = of_segments.values_list("pk", "start", "segment")
    _delete([pk for pk, start, segment in stored if segment not in kept[start]])


def forget_windows(model_id: int, windows: Windows) -> None:
    """Delete the points of windows of which no summary is left, in the caller's transaction."""
    _rows_of(model_id, windows).delete()


def _rows_of(model_id: int, windows: Windows):  # type: ignore[no-untyped-def]
    of_windows = Q(pk__in=())
    for span in {span for span, _ in windows}:
        of_windows |= Q(span=span, start__in=[start for one, start in windows if one == span])
    return PackedPoints.objects.filter(of_windows, model_id=model_id)


def _delete(keys: Collection[int]) -> None:
    for some in batched(keys, 1_000):
        PackedPoints.objects.filter(pk__in=some).delete()
