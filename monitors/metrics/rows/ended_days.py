"""Reads the rows of days once they have ended, for what summaries cannot tell: features together, and errors by them.

A day is read again when it has other rows by then, or another reference. Rows that are dropped once they are summarised
cannot be read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from django.db import DatabaseError, transaction

from driftline.base.clock import now
from driftline.base.periods import following
from driftline.base.work.attempts import release, work_apart
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import finish, touch
from inference.prediction_log.imports.file_ends import ended_until, have_ended
from inference.prediction_log.models import PredictionRole
from inference.registry.models import Model, RowsKept
from monitors.definitions.choosing import file_reference
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import JOINT_METRICS
from monitors.metrics.context import Context, context_of
from monitors.metrics.rows.expected_errors import count_errors
from monitors.metrics.rows.joint import compare, days_of_few_rows
from monitors.metrics.store.models import (
    ExpectedErrors,
    PendingEvaluation,
    PointStatus,
    UnreadDay,
    UnreadDayQuerySet,
)
from monitors.metrics.store.points import Point, Population, row_of
from monitors.metrics.store.storing import save_points
from monitors.summaries.models import StaleWindow

DAYS_A_TASK = 1  # a search or a reference that comes meanwhile waits for no more
DAYS_CLAIMED = 100  # of which those with too few rows to compare are done at once


def touch_days(context: Context, measured: Sequence[StaleWindow]) -> None:
    """Schedule these windows' days to be read once they have ended, in the transaction that measured them.

    Only the sweep enqueues a task for them: a fleet's days end together, and metrics go first.
    """
    model = context.model
    is_wanted = MonitorKind.DRIFT in context.monitors or _estimates_errors(context)
    if not is_wanted or model.rows_kept == RowsKept.NONE:
        return
    days = [(model.pk, window.start) for window in measured if window.span == "day"]
    if days and file_reference(model=model, version_id=None) is not None:
        touch(UnreadDay, days, fields=("model_id", "start"))


def _estimates_errors(context: Context) -> bool:
    return context.model.task == "regression" and MonitorKind.PERFORMANCE in context.monitors


def all_days_to_read(now: datetime) -> UnreadDayQuerySet:
    """Select the days of all models that wait to be read and have ended as their model counts it."""
    waiting = UnreadDay.objects.ended(now).due()
    days = {
        pk: (model_id, following(start, "day"))
        for pk, model_id, start in waiting.values_list("pk", "model_id", "start")
    }
    return UnreadDay.objects.filter(pk__in=have_ended(days, now=now)).due()


def days_to_read(model_id: int) -> UnreadDayQuerySet:
    """Select a model's days that wait to be read and have ended as it counts it."""
    clock = ended_until(model=Model.objects.get(pk=model_id), now=now())
    return UnreadDay.objects.filter(model_id=model_id).ended(clock)


def read_days(model_id: int) -> int:
    """Read some ended days, have measured what follows and have the rules judged; returns how many days were tried.

    A day that cannot be read stops no other one: it keeps the reason, and its points are errors.
    """
    with transaction.atomic():
        days = days_to_read(model_id).claim(limit=DAYS_CLAIMED)
    if not days:
        return 0
    context = context_of(Model.objects.get(pk=model_id))
    days = sorted(days, key=lambda day: day.start)
    few = [] if _estimates_errors(context) else _finish_days_of_few_rows(context, days)
    others = [day for day in days if day not in few]
    if later := others[DAYS_A_TASK:]:
        release(later)
    for day in others[:DAYS_A_TASK]:
        work_apart([day], partial(_read_days, context), on_failure=partial(_store_errors, context))
    return len(days) - len(later)


def _finish_days_of_few_rows(context: Context, days: Sequence[UnreadDay]) -> list[UnreadDay]:
    """Mark days with too few rows to compare as such, and finish them; returns these."""
    try:
        points = days_of_few_rows(context, [day.start for day in days])
    except DatabaseError:
        raise
    except Exception:
        return []  # each day fails alone when it is read, and keeps the reason
    few = [day for day in days if day.start in points]
    with transaction.atomic():
        _store(context, points)
        finish(few)
    return few


def _read_days(context: Context, days: Sequence[UnreadDay]) -> None:
    for day in days:
        points = compare(context, day.start)
        counted = (
            count_errors(context.model, context.references, day.start) if _estimates_errors(context) else []
        )
        with transaction.atomic():
            _store(context, {day.start: points})
            if counted:
                _keep(counted)
                touch(
                    StaleWindow, [(context.model.pk, "day", day.start)], fields=("model_id", "span", "start")
                )
                enqueue(Task.MEASURE, model_id=context.model.pk)
            finish([day])


def _store(context: Context, points: Mapping[datetime, Sequence[Point]]) -> None:
    """Store the points of days, by their start, and have the rules judged where there are any."""
    population = Population(PredictionRole.CHAMPION, "")
    rows = [
        row_of(context.model, population, "day", start, one) for start, many in points.items() for one in many
    ]
    if not rows:
        return
    save_points(rows)
    touch(PendingEvaluation, [(context.model.pk,)], fields=("model_id",))
    enqueue(Task.JUDGE, model_id=context.model.pk)


def _store_errors(context: Context, day: UnreadDay) -> None:
    """Store on the day's points why its rows could not be read."""
    detail = {"why": day.reason}
    points = [Point(name, None, 0, PointStatus.ERROR, detail=detail) for name in JOINT_METRICS]
    _store(context, {day.start: points})


def _keep(counted: Sequence[ExpectedErrors]) -> None:
    ExpectedErrors.objects.bulk_create(
        counted,
        update_conflicts=True,
        unique_fields=["model", "start", "role", "version"],
        update_fields=["digest", "rows", "counts", "why"],
    )


def read_days_beside(day_id: int) -> int:
    """Read this day and others of its model that wait; returns how many were tried."""
    model_id = UnreadDay.objects.filter(pk=day_id).values_list("model_id", flat=True).first()
    return 0 if model_id is None else read_days(model_id)
