"""Deletes rows that are older than their model keeps them, whole days at a time.

A day is old by the model's own event clock. Where no model keeps anything of it any more its partition is dropped,
which takes milliseconds whatever it holds; before, the rows of the models that do not keep it are deleted.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, QuerySet

from driftline.base.periods import day_of, start_of_day
from inference.prediction_log.models import PackedDay, PredictionChunk, SummedDay, UnsentChunk
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.prediction_log.retention.hooks import close_expired, unwritten_days, write_soon
from inference.prediction_log.storage import partitions
from inference.registry.models import Model

LOCK_TIMEOUT_MS = 1_000  # nobody can read or write while a drop waits for its turn


@dataclass(frozen=True)
class ExpiredDay:
    """What can go of a day; `whole` where nothing else is in it, and the models of which it waits for a lake."""

    day: date
    packed: tuple[PackedDay, ...]
    whole: bool
    waiting: frozenset[int] = frozenset()

    @property
    def rows(self) -> int:
        return sum(packed.rows for packed in self.packed)


def find_expired(now: datetime, *, without: Collection[date] = ()) -> Iterator[ExpiredDay]:
    """List the days of which rows can go, and the past days whose partition holds nothing; oldest first.

    As long as it has a narrow row, a row has its place in a chunk; `without` are weeks whose narrow rows are going.
    Where there is a lake, what is not in it yet waits.
    """
    week = min(set(partitions.WEEKS.starts()) - set(without), default=date.max)
    first_kept = _first_kept_days(Model.objects.all(), now)
    stored = list(PackedDay.objects.order_by("day", "pk"))
    expired = {one for one in stored if one.day < first_kept[one.model_id] and one.week < week}
    partly = {(one.model_id, one.day) for one in stored if one not in expired}
    unwritten = unwritten_days({(one.model_id, one.day) for one in expired}, partly)
    by_day = {day: tuple(packed) for day, packed in groupby(stored, lambda packed: packed.day)}
    for day in sorted({*partitions.DAYS.starts(), *by_day}):
        held = by_day.get(day, ())
        leave = tuple(one for one in held if one in expired and (one.model_id, day) not in unwritten)
        waiting = frozenset(one.model_id for one in held if (one.model_id, day) in unwritten - partly)
        if leave or waiting or (not held and day < day_of(now)):
            yield ExpiredDay(day, leave, len(leave) == len(held), waiting)


def first_kept_day(model: Model, now: datetime) -> date:
    """Return the oldest event day that a model keeps, as its settings in memory say; the first day of all for ever."""
    return _first_kept(model, event_now(model=model, now=now))


def _first_kept_days(models: QuerySet[Model], now: datetime) -> dict[int, date]:
    """Return the oldest event day that each of these models keeps, by its id."""
    clocks = event_nows(models=models, now=now)
    return {model.pk: _first_kept(model, clocks[model.pk]) for model in models}


def _first_kept(model: Model, clock: datetime) -> date:
    days = settings.RETENTION_DAYS if model.retention_days is None else model.retention_days
    return day_of(clock) - timedelta(days=days) if days else date.min


def delete_expired_day(expired: ExpiredDay) -> int:
    """Drop or empty a day in one commit; returns the rows that went.

    Rows that another model logged into the day meanwhile are kept, and those that have to be in a lake first.
    """
    with transaction.atomic():
        _wait_at_most(LOCK_TIMEOUT_MS)
        if expired.waiting:
            write_soon(expired.day, expired.waiting)
        if expired.whole:
            partitions.DAYS.lock()
        if not close_expired(expired.day, {packed.model_id for packed in expired.packed}):
            return 0
        held = PackedDay.objects.filter(day=expired.day)
        expired_days = held.filter(pk__in=[packed.pk for packed in expired.packed])
        rows = sum(expired_days.select_for_update().values_list("rows", flat=True))
        if expired.whole and held.count() == expired_days.count():
            partitions.DAYS.drop(expired.day)
        else:
            _delete_chunks(expired)
        expired_days.delete()
        present = PredictionChunk.objects.filter(is_packed=True, day=expired.day).values("pk")
        UnsentChunk.objects.filter(day=expired.day).exclude(chunk__in=present).update(is_dropped=True)
    return rows


def forget_summed_days(now: datetime) -> int:
    """Delete the totals of days without their rows, where the model would keep no such day."""
    known = Model.objects.filter(pk__in=SummedDay.objects.values("model"))
    return sum(
        SummedDay.objects.filter(model=model_id, day__lt=day).delete()[0]
        for model_id, day in _first_kept_days(known, now).items()
    )


# -- narrow rows -------------------------------------------------------------------------------------------------------
def find_expired_weeks(now: datetime) -> list[date]:
    """List the weeks whose narrow rows can go: nothing that arrived in them is still to be packed."""
    kept_since = now - kept_narrow()
    expired = [
        week for week in partitions.WEEKS.starts() if start_of_day(week) + timedelta(weeks=1) <= kept_since
    ]
    fresh = PredictionChunk.objects.filter(is_packed=False).aggregate(oldest=Min("week"))["oldest"]
    return [week for week in expired if fresh is None or week < fresh]


def kept_narrow() -> timedelta:
    """Return how long after its arrival a row has a narrow row: ids are refused and labels find it at once."""
    lags = Model.objects.values_list("objectives__label_lag_hours", flat=True)
    return max([timedelta(days=settings.DEDUPE_DAYS), *(timedelta(hours=lag or 0) for lag in lags)])


def drop_week(week: date) -> None:
    """Drop the narrow rows that arrived in a week."""
    with transaction.atomic():
        _wait_at_most(LOCK_TIMEOUT_MS)
        partitions.WEEKS.drop(week)


def _delete_chunks(expired: ExpiredDay) -> None:
    for packed in expired.packed:
        PredictionChunk.objects.filter(
            is_packed=True,
            day=packed.day,
            week=packed.week,
            model_id=packed.model_id,
            version_id=packed.version_id,
            role=packed.role,
        ).delete()


def _wait_at_most(ms: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{ms}ms"])
