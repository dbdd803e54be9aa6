"""Keeps the summaries up to date with the log; each row and each label change is applied once.

A pass over a model reads the rows that the summaries do not count yet and the predictions with a changed label, and
adds them to the summaries of their hours and days (`changes.py`). An hour is rebuilt from all its rows only on request,
for instance for a new segment.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q

from driftline.base.periods import day_of, floor, following, start_of_day, windows_with
from driftline.base.work.attempts import note_failure, release, work_apart
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import finish, touch
from inference.prediction_log.labels.changes import claim_label_changes, return_label_changes
from inference.prediction_log.labels.services import lock_summaries
from inference.prediction_log.models import ANSWERING_ROLES, PredictionChunk, TouchedPeriod
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.queries.unsummarised import (
    StoredDays,
    lock_unsummarised_rows,
    may_have_unsummarised_rows,
    recheck_damaged,
    request_rebuild,
)
from inference.prediction_log.retention.drop_rows import drop_summarised, mark_summarised
from inference.prediction_log.storage.damaged_chunks import damage_within, mark_damaged
from inference.registry.models import Model, RowsKept, Version
from monitors.definitions.monitors import longer_spans
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.changes import (
    DroppedColumns,
    FinestWindows,
    Window,
    apply_change,
    finest_windows,
    replace_hours,
)
from monitors.summaries.from_rows import (
    RowDefinitions,
    RowsOfVersion,
    SegmentsByHour,
    hours_of,
    labels_by_hour,
    rows_by_hour,
    within,
)
from monitors.summaries.label_changes import ChunkMoved, RelabelledRows, find_rows
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.signals import windows_emptied
from monitors.summaries.stored import SummaryBySegment, in_windows, merge_hours

HOURS_A_TASK = 400
MAX_GAP_DAYS = 7  # between days that are summarised together
MAX_PASS_SECONDS = 20.0  # a longer backlog is continued in the next pass, so that other models get their turn
WINDOWS_MEASURED_AGAIN = 2_000  # about 80 days of hours and days


def summarise(model_id: int) -> int:
    """Summarise the touched hours of one model and enqueue their measurement; return how many hours were claimed.

    A crash repeats work and loses none. An hour that cannot be summarised does not stop the others: it keeps the
    reason, and its windows are measured as errors.
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
    to_rebuild = [period for period in periods if period.rebuild]
    ends_at = time.monotonic() + MAX_PASS_SECONDS
    for step in _steps(model_id, periods, to_rebuild):
        while step():
            if time.monotonic() >= ends_at:
                release(periods)
                return
    with transaction.atomic():
        lock_summaries(model_id)
        model = Model.objects.get(pk=model_id)
        if model.task == "ranking":  # a query may have rows in several chunks
            to_rebuild = list(periods)
        defined = RowDefinitions.of(model)
        for (version_id, role, _), hours in _hours_by_day(to_rebuild).items():
            emptied = _rebuild(_source(model, version_id, role, defined), hours)
            if emptied:
                windows_emptied.send(sender=Summary, model_id=model_id, role=role, windows=emptied)
        _finish_readable(periods)
        measure_hours(model_id=model_id, hours=[period.hour for period in periods])


def _steps(
    model_id: int, periods: Sequence[TouchedPeriod], to_rebuild: Sequence[TouchedPeriod]
) -> Iterator[Callable[[], bool]]:
    """Yield what comes before rebuilding; each step is called until it returns False, a transaction each time."""
    yield partial(apply_label_changes, model_id)
    for stored in [*_unsummarised_copies(model_id), *_days_of(periods)]:
        yield partial(_add_rows, model_id, stored)
    for stored in _days_of(to_rebuild):
        yield partial(_drop_summarised, model_id, stored)


def _finish_readable(periods: Sequence[TouchedPeriod]) -> None:
    """Finish the hours without unreadable rows; an hour with rows in a damaged chunk has failed."""
    damaged = PredictionChunk.objects.filter(model_id__in={period.model_id for period in periods})
    if not damaged.exclude(damage="").exists():  # one question in place of one an hour
        finish(periods)
        return
    reasons = {period: damage_within(period) for period in periods}
    finish([period for period, reason in reasons.items() if not reason])
    for period, reason in reasons.items():
        if reason:
            note_failure(period, reason)


def _hours_by_day(periods: Iterable[TouchedPeriod]) -> dict[tuple[int, str, date], list[datetime]]:
    days: dict[tuple[int, str, date], list[datetime]] = {}
    for period in periods:
        day = day_of(period.hour)
        days.setdefault((period.version_id, period.role, day), []).append(period.hour)
    return dict(sorted(days.items()))


def _days_of(periods: Iterable[TouchedPeriod]) -> list[StoredDays]:
    return _consecutive(_hours_by_day(periods))


def _consecutive(days: Iterable[tuple[int, str, date]]) -> list[StoredDays]:
    """Put days of one version and role together that follow each other."""
    together: list[StoredDays] = []
    for version_id, role, day in sorted(days):
        last = together[-1] if together else None
        if last and last[:2] == (version_id, role) and (day - last.days[-1]).days <= MAX_GAP_DAYS:
            together[-1] = last._replace(days=(*last.days, day))
        else:
            together.append(StoredDays(version_id, role, (day,)))
    return together


def _unsummarised_copies(model_id: int) -> list[StoredDays]:
    """Return the days with unsummarised shadow rows of a model that keeps no rows.

    They come first: their labels are deleted with the champion's rows.
    """
    if not Model.objects.filter(pk=model_id, rows_kept=RowsKept.NONE).exists():
        return []
    fresh = PredictionChunk.objects.filter(
        model_id=model_id, role="shadow", is_packed=False, is_summarised=False
    )
    return _consecutive(fresh.values_list("version_id", "role", "day").distinct())


# -- new rows ----------------------------------------------------------------------------------------------------------
def _add_rows(model_id: int, stored: StoredDays) -> bool:
    """Add some unsummarised rows of these days to the summaries; False if none remain."""
    if not may_have_unsummarised_rows(model_id, stored):
        return False
    with transaction.atomic():
        lock_summaries(model_id)
        model = Model.objects.get(pk=model_id)
        source = _source(model, stored.version_id, stored.role)
        for day in recheck_damaged(model, stored):
            _request_rebuild(source, _stored_hours(source, day))
        locked = lock_unsummarised_rows(model, stored)
        if locked is None:
            return False
        rows = locked.as_summarised()
        hours = hours_of(rows)
        finest = finest_windows(source, hours)
        segments = segments_by_hour(source, finest, hours)
        summaries = rows_by_hour(source, rows, segments)
        incomplete = _remove_newer_segments(source, summaries, segments)
        apply_change(source, finest, added=summaries)
        mark_summarised(locked)
        _request_rebuild(source, _to_rebuild(finest, hours, incomplete))
        measure_hours(model_id=model_id, hours=hours)
    return True


def _to_rebuild(
    finest: FinestWindows, hours: Iterable[datetime], inexact: Collection[datetime]
) -> list[datetime]:
    """Return the hours with summaries that are not exact: these, and those that longer windows stand for."""
    return [hour for hour in hours if hour in inexact or finest[floor(hour, "day")][0] != "hour"]


def segments_by_hour(
    source: RowsOfVersion, finest: FinestWindows, hours: Sequence[datetime]
) -> SegmentsByHour:
    """Return the segments of the stored summaries that include these hours."""
    windows: dict[tuple[str, datetime], list[datetime]] = {}
    for hour in hours:
        span, start = finest[floor(hour, "day")]
        windows.setdefault((span, hour if span == "hour" else start), []).append(hour)
    segments: dict[datetime, set[str]] = {hour: set() for hour in hours}
    stored = Summary.objects.filter(in_windows(windows), **source.fields)
    for span, begin, segment in stored.values_list("span", "start", "segment"):
        for hour in windows[span, begin]:
            segments[hour].add(segment)
    return segments


def _remove_newer_segments(
    source: RowsOfVersion, summaries: dict[datetime, SummaryBySegment], stored: SegmentsByHour
) -> list[datetime]:
    """Remove segments that may be newer than rows summarised without them; return the hours that had some.

    Such a segment would hold only a part of its rows until the hour is rebuilt.
    """
    since = {segment.name: segment.since for segment in source.defined.segments.named}
    incomplete = []
    for hour, by_segment in summaries.items():
        features = {segment.partition(":")[0] for segment in stored[hour]}

        def is_newer(segment: str, hour: datetime = hour, features: set[str] = features) -> bool:
            if not segment or not stored[hour] or segment in stored[hour]:
                return False
            if segment in since:
                return since[segment] > hour
            return source.model.rows_kept == RowsKept.ALL and segment.partition(":")[0] not in features

        newer = list(filter(is_newer, by_segment))
        for segment in newer:
            del by_segment[segment]
        if newer:
            incomplete.append(hour)
    return incomplete


# -- changed labels ----------------------------------------------------------------------------------------------------
def apply_label_changes(model_id: int) -> bool:
    """Apply some label changes of a model to its summaries; False if none remain that can be applied."""
    try:
        with transaction.atomic():
            lock_summaries(model_id)
            return _apply_some_label_changes(Model.objects.get(pk=model_id))
    except ChunkMoved:
        return True


def _apply_some_label_changes(model: Model) -> bool:
    claimed = claim_label_changes(model)
    if model.task == "ranking" or not claimed:  # the hours of a ranking are rebuilt
        return bool(claimed)
    defined = RowDefinitions.of(model)
    relabelled, waiting = find_rows(model, claimed, defined.features_of_labels)
    return_label_changes(model.pk, waiting)
    hours: set[datetime] = set()
    for rows in relabelled:
        hours |= _relabel(_source(model, rows.version_id, rows.role, defined), rows)
    measure_hours(model_id=model.pk, hours=hours)
    return not waiting


def _relabel(source: RowsOfVersion, rows: RelabelledRows) -> set[datetime]:
    """Subtract the summarised labels of some rows and add the new ones; return their hours."""
    hours = sorted({hour for frame in rows.new for hour in hours_of(frame)})
    finest = finest_windows(source, hours)
    segments = segments_by_hour(source, finest, hours)
    added, subtracted = (
        merge_hours(labels_by_hour(source, frame, segments) for frame in frames)
        for frames in (rows.new, rows.summarised)
    )
    inexact = apply_change(source, finest, added=added, subtracted=subtracted)
    _request_rebuild(source, _to_rebuild(finest, hours, inexact))
    return set(hours)


# -- erased rows -------------------------------------------------------------------------------------------------------
def subtract_rows(chunk: PredictionChunk, rows: LogFrame) -> None:
    """Subtract erased rows of a chunk from the summaries, in the transaction that erases them."""
    source = _source(Model.objects.get(pk=chunk.model_id), chunk.version_id, chunk.role)
    hours = hours_of(rows)
    finest = finest_windows(source, hours)
    summaries = rows_by_hour(source, rows, segments_by_hour(source, finest, hours))
    apply_change(source, finest, subtracted=summaries)


# -- rebuilding --------------------------------------------------------------------------------------------------------
def rebuild_hours(*, model_id: int, version_id: int, role: str, hours: Sequence[datetime]) -> set[Window]:
    """Rebuild the summaries of hours of one day from their rows now; return the windows that have no rows any more."""
    with transaction.atomic():
        lock_summaries(model_id)
        deleted = _rebuild(_source(Model.objects.get(pk=model_id), version_id, role), hours)
        measure_hours(model_id=model_id, hours=hours)
    return deleted


def _rebuild(source: RowsOfVersion, hours: Sequence[datetime]) -> set[Window]:
    """Rebuild the windows of hours of one day, unless rows of them are missing; return those without rows.

    A day that is stored without its hours gets them back if the log still has all of it.
    """
    [finest] = finest_windows(source, hours).values()
    span, start = finest
    starts = sorted(set(hours)) if span == "hour" else [start]
    rows = frame_of(
        model=source.model,
        role=source.role,
        version_id=source.version.pk,
        start=starts[0],
        end=following(starts[-1], span),
        as_summarised=True,
    )
    mark_damaged(rows.unreadable)
    stored = _stored_summaries(source, span, starts)
    rebuilt: dict[datetime, SummaryBySegment] = {}
    dropped: DroppedColumns = {}
    is_complete = False
    for moment in starts:
        part, by_segment = within(rows, moment, following(moment, span)), stored.get(moment, {})
        if "" in by_segment and len(part) < by_segment[""].rows:
            continue  # some rows have expired or were dropped
        is_complete = True
        if span == "hour":
            rebuilt[moment] = {}
        rebuilt |= rows_by_hour(source, part, {})
        dropped |= _dropped_columns(part, moment, by_segment)
    if not is_complete:
        return set()
    if span == "day" and rebuilt and not dropped:
        finest = "hour", start
        measure_hours(model_id=source.model.pk, hours=list(rebuilt))
        rebuilt = {start + timedelta(hours=hour): {} for hour in range(24)} | rebuilt
    return replace_hours(source, finest, rebuilt, dropped)


def _stored_summaries(
    source: RowsOfVersion, span: str, starts: Sequence[datetime]
) -> dict[datetime, SummaryBySegment]:
    summaries: dict[datetime, SummaryBySegment] = {}
    rows = Summary.objects.filter(**source.fields, span=span, start__in=starts)
    for start, segment, payload in rows.values_list("start", "segment", "payload"):
        summaries.setdefault(start, {})[segment] = WindowSummary.decode(bytes(payload))
    return summaries


def _dropped_columns(rows: LogFrame, start: datetime, stored: SummaryBySegment) -> DroppedColumns:
    """Return the stored columns of features with dropped values."""
    if not rows.dropped:
        return {}
    return {
        (start, segment): {name: summary.features[name] for name in rows.dropped if name in summary.features}
        for segment, summary in stored.items()
    }


def _drop_summarised(model_id: int, stored: StoredDays) -> bool:
    with transaction.atomic():
        lock_summaries(model_id)
        return drop_summarised(Model.objects.get(pk=model_id), stored)


def _stored_hours(source: RowsOfVersion, event_day: date) -> list[datetime]:
    """Return the hours of a day that have summaries; the day's start if it is stored without its hours."""
    day = start_of_day(event_day)
    hours = Summary.objects.filter(
        **source.fields, span="hour", segment="", start__gte=day, start__lt=following(day, "day")
    )
    return list(hours.values_list("start", flat=True)) or [day]


def _request_rebuild(source: RowsOfVersion, hours: Iterable[datetime]) -> None:
    request_rebuild(source.model.pk, [(source.version.pk, source.role, hour) for hour in hours])


def _source(model: Model, version_id: int, role: str, defined: RowDefinitions | None = None) -> RowsOfVersion:
    version = Version.objects.select_related("model").get(pk=version_id)
    return RowsOfVersion(model, version, role, defined or RowDefinitions.of(model))


def rebuild_model(model_id: int, which: Q | None = None) -> int:
    """Request a rebuild of all stored hours of a model, and of its days without hours, in the caller's transaction.

    Months, and windows with missing rows, stay as they are. `which` narrows the windows (over the columns of Summary).
    Returns the number of windows.
    """
    stored = Summary.objects.filter(which or Q(), model_id=model_id, segment="", span__in=("hour", "day"))
    windows = list(stored.values_list("version_id", "role", "span", "start"))
    hours = {(version, role, start) for version, role, span, start in windows if span == "hour"}
    with_hours = {(version, role, floor(start, "day")) for version, role, start in hours}
    days = {(version, role, start) for version, role, span, start in windows if span == "day"} - with_hours
    request_rebuild(model_id, hours | days)
    return len(hours | days)


# -- measuring ---------------------------------------------------------------------------------------------------------
def measure_hours(*, model_id: int, hours: Iterable[datetime]) -> None:
    """Enqueue the measurement of these hours, their days and what is judged longer, in the caller's transaction."""
    _measure(model_id, {window for hour in hours for window in (("hour", hour), ("day", floor(hour, "day")))})


def measure_again(*, version_id: int, since: datetime | None) -> None:
    """Enqueue the measurement of a version's newest windows, after a change of its reference or its expectations.

    `since` is the start of the reference; None for all windows.
    """
    windows = Summary.objects.filter(
        version_id=version_id, role__in=ANSWERING_ROLES, span__in=("hour", "day"), segment=""
    ).order_by("-start")
    windows = windows if since is None else windows.filter(start__gte=since)
    stale = list(windows.values_list("model_id", "span", "start")[:WINDOWS_MEASURED_AGAIN])
    for model_id in {model_id for model_id, _, _ in stale}:
        _measure(model_id, {(span, start) for _, span, start in stale})


def _measure(model_id: int, windows: Collection[tuple[str, datetime]]) -> None:
    """Enqueue the measurement of hours and days, and of the longer windows that hold the days and are judged."""
    days = [start for span, start in windows if span == "day"]
    stale = {(model_id, span, start) for span, start in windows}
    for span in longer_spans(model_id) if days else ():
        stale |= {(model_id, span, start) for day in days for start in windows_with(day, span)}
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    enqueue(Task.MEASURE, model_id=model_id)


def forget_segments(model_id: int, which: Q) -> None:
    """Delete the summaries of segments, in the caller's transaction; `which` is over the column `segment`."""
    lock_summaries(model_id)
    Summary.objects.filter(which, model_id=model_id).delete()
