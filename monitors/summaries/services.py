"""Brings the summaries in step with the log: each row is counted once, when it has come.

A pass over a model takes the rows that no summary counts yet, and the predictions whose label changed, and adds what
they show to the hours and days they belong to. An hour is made anew from all its rows only where it is asked something
that it did not answer, such as about a segment declared since.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q

from driftline.common.attempts import note_failure, work_apart
from driftline.common.doorbell import ring
from driftline.common.periods import floor, following
from driftline.common.work import finish, touch
from inference.prediction_log import summarising
from inference.prediction_log.damaged_chunks import damage_within, mark_damaged
from inference.prediction_log.labels import lock_summaries
from inference.prediction_log.models import ANSWERING_ROLES, PredictionChunk, TouchedPeriod
from inference.prediction_log.relabelled import note_again, take_relabelled
from inference.prediction_log.selectors import LogFrame, frame_of
from inference.prediction_log.signals import periods_touched
from inference.prediction_log.summarising import StoredDay, touch_again
from inference.registry.models import Model, RowsKept, Version
from monitors.definitions.segment_masks import declared_segments
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.changes import Holder, LetGo, Window, change, holder_of_hours, replace_hours
from monitors.summaries.from_rows import (
    Seats,
    Source,
    features_of_segments,
    hours_of,
    labels_by_hour,
    rows_by_hour,
    within,
)
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.relabelling import Changed, ChunkMoved, find_relabelled
from monitors.summaries.stored import Told, add_up_hours

HOURS_A_TASK = 400
WINDOWS_MEASURED_AGAIN = 2_000  # about 80 days of hours and days


def summarise(model_id: int) -> int:
    """Summarise what is due of one model and ring the metrics; returns the hours tried.

    A crash repeats work and loses none. An hour that cannot be summarised stops no other one: it keeps the reason, and
    its windows are measured as errors.
    """
    with transaction.atomic():
        periods = TouchedPeriod.objects.filter(model_id=model_id).claim(limit=HOURS_A_TASK)
    if periods:
        work_apart(
            periods,
            partial(_summarise_periods, model_id),
            on_failure=lambda period: measure_hours(model_id=model_id, hours=[period.hour]),
        )
    return len(periods)


def _summarise_periods(model_id: int, periods: Sequence[TouchedPeriod]) -> None:
    while count_labels(model_id):
        pass
    for stored in [*_days_of_copies(model_id), *sorted({_day_of(period) for period in periods})]:
        while _count_rows(model_id, stored):
            pass
    again = [period for period in periods if period.rebuild]
    for stored in sorted({_day_of(period) for period in again}):
        while _let_go_of_counted(model_id, stored):
            pass
    with transaction.atomic():
        lock_summaries(model_id)
        model = Model.objects.get(pk=model_id)
        if model.task == "ranking":  # a query may have rows in several chunks
            again = list(periods)
        for source, day, hours in _by_source(model, again):
            _rebuild(source, day, hours)
        _finish_what_was_read(periods)
        measure_hours(model_id=model_id, hours=[period.hour for period in periods])


def _finish_what_was_read(periods: Sequence[TouchedPeriod]) -> None:
    """Finish hours of which all rows were read; one with rows in a damaged chunk has failed, though others count."""
    reasons = {period: damage_within(period) for period in periods}
    finish([period for period, reason in reasons.items() if not reason])
    for period, reason in reasons.items():
        if reason:
            note_failure(period, reason)


def _day_of(period: TouchedPeriod) -> StoredDay:
    return period.version_id, period.role, period.hour.astimezone(UTC).date()


def _days_of_copies(model_id: int) -> list[StoredDay]:
    """List the days of shadows' copies that are not counted, of a model that keeps no rows: their labels go with the
    answers.
    """
    if not Model.objects.filter(pk=model_id, rows_kept=RowsKept.NONE).exists():
        return []
    fresh = PredictionChunk.objects.filter(
        model_id=model_id, role="shadow", is_packed=False, is_summarised=False
    )
    return list(fresh.values_list("version_id", "role", "day").distinct())


# -- what is new -------------------------------------------------------------------------------------------------------
def _count_rows(model_id: int, stored: StoredDay) -> bool:
    """Count some rows of a day that no summary counts yet; False where none are left."""
    with transaction.atomic():
        lock_summaries(model_id)
        model = Model.objects.get(pk=model_id)
        reopened = summarising.look_again(model, stored)
        taken = summarising.take_rows(model, stored)
        source = _source(model, stored[0], stored[1])
        if reopened:
            _ask_again(source, _hours_held(source, stored))
        if taken is None:
            return False
        hours = hours_of(taken.frame)
        holder = holder_of_hours(source, floor(hours[0], "day"))
        seats = _seats(source, holder, hours)
        told = rows_by_hour(source, taken.frame, seats)
        again = _leave_out_newer(source, told, seats)
        change(source, holder, add=told)
        summarising.keep(taken)
        _ask_again(source, again if holder[0] == "hour" else hours)
        measure_hours(model_id=model_id, hours=hours)
    return True


def count_labels(model_id: int) -> bool:
    """Count some labels that changed since their rows were counted; False where none are left that can be."""
    try:
        with transaction.atomic():
            lock_summaries(model_id)
            return _count_some_labels(Model.objects.get(pk=model_id))
    except ChunkMoved:
        return True


def _count_some_labels(model: Model) -> bool:
    taken = take_relabelled(model)
    if model.task == "ranking" or not taken:  # a ranking's hours are made anew
        return bool(taken)
    found, left = find_relabelled(model, taken, features_of_segments(declared_segments(model)))
    note_again(model.pk, left)
    measured: set[datetime] = set()
    for changed in found:
        measured |= _count_changed(_source(model, changed.version_id, changed.role), changed)
    measure_hours(model_id=model.pk, hours=measured)
    return not left


def _count_changed(source: Source, changed: Changed) -> set[datetime]:
    """Count the labels of some rows of a day; returns their hours."""
    hours = sorted({hour for rows in changed.now for hour in hours_of(rows)})
    holder = holder_of_hours(source, floor(hours[0], "day"))
    seats = _seats(source, holder, hours)
    added, removed = (
        add_up_hours(labels_by_hour(source, rows, seats) for rows in parts)
        for parts in (changed.now, changed.before)
    )
    inexact = change(source, holder, add=added, remove=removed)
    _ask_again(source, inexact if holder[0] == "hour" else hours)
    return set(hours)


def take_out(chunk: PredictionChunk, rows: LogFrame) -> None:
    """Take rows that are erased out of what is counted, in the transaction that erases them."""
    model = Model.objects.get(pk=chunk.model_id)
    source = _source(model, chunk.version_id, chunk.role)
    hours = hours_of(rows)
    holder = holder_of_hours(source, floor(hours[0], "day"))
    told = rows_by_hour(source, rows, _seats(source, holder, hours))
    change(source, holder, add={}, remove=told)


def _seats(source: Source, holder: Holder, hours: Sequence[datetime]) -> Seats:
    """Tell which segments the windows have that count these hours."""
    span, start = holder
    starts = list(hours) if span == "hour" else [start]
    held = Summary.objects.filter(**source.fields, span=span, start__in=starts)
    seats: Seats = {hour: set() for hour in hours}
    for begin, segment in held.values_list("start", "segment"):
        for hour in [begin] if span == "hour" else hours:
            seats[hour].add(segment)
    return seats


def _leave_out_newer(source: Source, told: dict[datetime, Told], seats: Seats) -> list[datetime]:
    """Leave out segments that may be newer than rows that are counted without them; tells whose hours to make anew."""
    again = []
    known = {hour: {segment.partition(":")[0] for segment in segments} for hour, segments in seats.items()}
    since = {one.name: one.since for one in source.segments.named}
    for hour, by_segment in told.items():
        doubtful = [
            segment
            for segment in by_segment
            if seats[hour]
            and segment
            and segment not in seats[hour]
            and (
                since[segment] > hour
                if segment in since
                else source.model.rows_kept == RowsKept.ALL and segment.partition(":")[0] not in known[hour]
            )
        ]
        for segment in doubtful:
            del by_segment[segment]
        if doubtful:
            again.append(hour)
    return again


def _ask_again(source: Source, hours: Iterable[datetime]) -> None:
    asked = {(source.model.pk, source.version.pk, source.role, hour) for hour in hours}
    if asked:
        touch_again(asked)
        periods_touched.send(sender=TouchedPeriod, model_id=source.model.pk)


# -- what is asked anew ------------------------------------------------------------------------------------------------
def rebuild_hours(*, model_id: int, version_id: int, role: str, hours: Sequence[datetime]) -> set[Window]:
    """Make the summaries of some hours anew, whoever else is about to; tells the windows that have no rows any more."""
    with transaction.atomic():
        lock_summaries(model_id)
        source = _source(Model.objects.get(pk=model_id), version_id, role)
        vanished: set[Window] = set()
        by_day: dict[datetime, list[datetime]] = {}
        for hour in hours:
            by_day.setdefault(floor(hour, "day"), []).append(hour)
        for day, some in sorted(by_day.items()):
            vanished |= _rebuild(source, day, some)
        measure_hours(model_id=model_id, hours=hours)
    return vanished


def _rebuild(source: Source, day: datetime, hours: Sequence[datetime]) -> set[Window]:
    """Make windows anew from their rows, as far as the log has all of them; tells those that have none any more."""
    holder = span, start = holder_of_hours(source, day)
    starts = sorted(set(hours)) if span == "hour" else [start]
    begin, end = min(starts), following(max(starts), span)
    rows = frame_of(
        model=source.model, role=source.role, version_id=source.version.pk, start=begin, end=end, as_summarised=True
    )  # fmt: skip
    mark_damaged(rows.unreadable)
    held = {
        (moment, segment): WindowSummary.decode(bytes(payload))
        for moment, segment, payload in Summary.objects.filter(
            **source.fields, span=span, start__in=starts
        ).values_list("start", "segment", "payload")
    }
    told: dict[datetime, Told] = {}
    let_go: LetGo = {}
    is_made = False
    for moment in starts:
        part = within(rows, moment, following(moment, span))
        known = held.get((moment, ""))
        if known is not None and len(part) < known.rows:
            continue  # some have expired or were let go
        is_made = True
        told |= {moment: {}} if span == "hour" else {}
        told |= rows_by_hour(source, part, {})
        for (start_, segment), summary in held.items() if part.let_go else ():
            if start_ == moment:
                columns = {name: summary.features[name] for name in part.let_go if name in summary.features}
                let_go[moment, segment] = columns
    if not is_made:
        return set()
    if span == "day" and told and not let_go:
        holder = "hour", start  # it has what its hours need: what came late changes their points too
        told = {start + timedelta(hours=hour): {} for hour in range(24)} | told
    return replace_hours(source, holder, told, let_go)


def _let_go_of_counted(model_id: int, stored: StoredDay) -> bool:
    with transaction.atomic():
        lock_summaries(model_id)
        return summarising.let_go_of_counted(Model.objects.get(pk=model_id), stored)


def _hours_held(source: Source, stored: StoredDay) -> list[datetime]:
    day = datetime(stored[2].year, stored[2].month, stored[2].day, tzinfo=UTC)
    held = Summary.objects.filter(
        **source.fields, span="hour", segment="", start__gte=day, start__lt=following(day, "day")
    )
    return list(held.values_list("start", flat=True)) or [day]


def _source(model: Model, version_id: int, role: str) -> Source:
    version = Version.objects.select_related("model").get(pk=version_id)
    return Source(model, version, role, declared_segments(model))


def _by_source(
    model: Model, periods: Iterable[TouchedPeriod]
) -> list[tuple[Source, datetime, list[datetime]]]:
    groups: dict[tuple[int, str, datetime], list[datetime]] = {}
    for period in periods:
        groups.setdefault((period.version_id, period.role, floor(period.hour, "day")), []).append(period.hour)
    return [
        (_source(model, version_id, role), day, hours)
        for (version_id, role, day), hours in sorted(groups.items())
    ]


def summarise_again(model_id: int, which: Q | None = None) -> int:
    """Have all rows of a model that the log still has summarised once more, in the caller's transaction.

    What stands for its hours or days is made anew as one, and what has lost rows stays as it is. Months stay too.
    `which` narrows the windows, over the columns of Summary; returns how many there are.
    """
    held = Summary.objects.filter(which or Q(), model_id=model_id, segment="", span__in=("hour", "day"))
    told = list(held.values_list("version_id", "role", "span", "start"))
    hours = {(version, role, start) for version, role, span, start in told if span == "hour"}
    by_the_hour = {(version, role, floor(start, "day")) for version, role, start in hours}
    days = {(version, role, start) for version, role, span, start in told if span == "day"} - by_the_hour
    touch_again({(model_id, *key) for key in hours | days})
    periods_touched.send(sender=TouchedPeriod, model_id=model_id)
    return len(hours | days)


# -- what follows ------------------------------------------------------------------------------------------------------
def measure_hours(*, model_id: int, hours: Iterable[datetime]) -> None:
    """Have the windows that hold these hours measured, in the caller's transaction."""
    stale = {(model_id, "hour", hour) for hour in hours}
    stale |= {(model_id, "day", floor(hour, "day")) for _, _, hour in stale}
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    ring("monitors.measure", model_id=model_id)


def measure_again(*, version_id: int, since: datetime | None) -> None:
    """Have the newest windows that a version answered in measured anew: its reference is another, or what is expected.

    `since` is when that began; None is always.
    """
    windows = Summary.objects.filter(
        version_id=version_id, role__in=ANSWERING_ROLES, span__in=("hour", "day"), segment=""
    ).order_by("-start")
    windows = windows if since is None else windows.filter(start__gte=since)
    stale = list(windows.values_list("model_id", "span", "start")[:WINDOWS_MEASURED_AGAIN])
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    for model_id in {model_id for model_id, _, _ in stale}:
        ring("monitors.measure", model_id=model_id)


def forget_segments(model_id: int, which: Q) -> None:
    """Delete the summaries of segments, in the caller's transaction; `which` is over the column `segment`."""
    lock_summaries(model_id)
    Summary.objects.filter(which, model_id=model_id).delete()
