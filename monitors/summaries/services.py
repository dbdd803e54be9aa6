"""Turns touched hours of the prediction log into summaries, and hours into days."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self

import numpy as np
from django.db import connection, transaction
from django.db.models import Q

from driftline.common.attempts import note_failure, work_apart
from driftline.common.doorbell import ring
from driftline.common.periods import floor, following
from driftline.common.work import finish, touch
from inference.prediction_log.damaged_chunks import chunks_of, damage_within, mark_read
from inference.prediction_log.labels import TOUCHED_FIELDS
from inference.prediction_log.letting_go import StoredDay, let_go, let_go_of_values, take_rows, take_values
from inference.prediction_log.models import ANSWERING_ROLES, TouchedPeriod
from inference.prediction_log.privacy import SUMMARY
from inference.prediction_log.selectors import LogFrame, frame_of
from inference.prediction_log.signals import periods_touched
from inference.registry.models import Model, RowsKept, Version
from inference.registry.selectors import signature_of
from inference.serving.plan import Signature
from monitors.definitions.feature_kinds import centres_of, declared_kinds, numbers_as_texts
from monitors.definitions.outcomes import answer_score, outcome_of
from monitors.definitions.segment_masks import DeclaredSegments, declared_segments, segment_masks
from monitors.stats.mergeable.outcomes import OutcomeSummary
from monitors.stats.mergeable.window_summary import WindowSummary, summarise_window
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.stored import Told, add_up, encode_blocks, parts_of, row_of, save

HOURS_A_TASK = 400
WINDOWS_MEASURED_AGAIN = 2_000  # about 80 days of hours and days
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class _Source:
    """Rows that one version made in one role."""

    model: Model
    version: Version
    role: str
    segments: DeclaredSegments

    @property
    def fields(self) -> dict[str, Any]:
        return {"model": self.model, "version": self.version, "role": self.role}


def summarise(model_id: int) -> int:
    """Summarise what is due of one model and ring the metrics; returns the hours tried.

    The work rows, the summaries and the stale windows change in one commit: a crash repeats work and loses none. An
    hour that cannot be summarised stops no other one: it keeps the reason, and its windows are measured as errors.
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
    only = _day_of(periods[0]) if len(periods) == 1 else None
    while _let_go(model_id, only):
        pass
    _let_go_of_values_in(model_id, periods)
    with transaction.atomic():
        lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        if model.rows_kept == RowsKept.ALL:
            for source, day, hours in _by_source(model, declared_segments(model), periods):
                _summarise_day(source, day, hours)
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


@dataclass(frozen=True)
class _Leaving:
    """Rows that leave the log, or of which the values of some features do."""

    frame: LogFrame
    features: Sequence[str] = ()

    def within(self, start: datetime, end: datetime) -> Self:
        return replace(self, frame=_within(self.frame, start, end))


type Window = tuple[str, datetime, str]
"""Span, start and segment of a summary."""


def summarise_hours(*, model_id: int, version_id: int, role: str, hours: Sequence[datetime]) -> set[Window]:
    """Summarise some hours again now, whoever else is about to; tells the windows that have no rows any more."""
    with transaction.atomic():
        lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        version = Version.objects.select_related("model").get(pk=version_id)
        source = _Source(model, version, role, declared_segments(model))
        vanished: set[Window] = set()
        by_day: dict[datetime, list[datetime]] = {}
        for hour in hours:
            by_day.setdefault(floor(hour, "day"), []).append(hour)
        for day, some in sorted(by_day.items()):
            vanished |= _summarise_day(source, day, some)
        measure_hours(model_id=model_id, hours=hours)
    return vanished


def _let_go(model_id: int, only: StoredDay | None = None) -> bool:
    """Add some rows of a model that keeps none to what is gone of their hours, and let go of them in the same commit.

    False where none are left, of one version, role and day where that is named, or the model keeps its rows.
    """
    with transaction.atomic():
        lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        taken = take_rows(model, only) if model.rows_kept == RowsKept.NONE else None
        if taken is None:
            return False
        let_go(taken)
        version = Version.objects.select_related("model").get(pk=taken.version_id)
        source = _Source(model, version, taken.role, declared_segments(model))
        hours = _hours_of(taken.frame)
        _summarise_day(source, floor(hours[0], "day"), hours, leaving=_Leaving(taken.frame))
        measure_hours(model_id=model_id, hours=hours)
    return True


def _let_go_of_values_in(model_id: int, periods: Iterable[TouchedPeriod]) -> None:
    """Let go of values that are kept in summaries alone, of the days of some hours."""
    model = Model.objects.get(pk=model_id)
    features = [name for name, policy in model.privacy.items() if policy == SUMMARY]
    for source, day, _ in _by_source(model, declared_segments(model), periods) if features else ():
        while _let_go_of_values(source, day, features):
            pass


def _let_go_of_values(source: _Source, day: datetime, features: list[str]) -> bool:
    """Add some rows' values of these features to what is gone of their hours, and let go of them in the same commit.

    False where no row of the day has one.
    """
    with transaction.atomic():
        lock_model(source.model.pk)
        taken = take_values(
            source.model, version_id=source.version.pk, role=source.role, day=day.date(), features=features
        )
        if taken is None:
            return False
        let_go_of_values(taken, features)
        hours = _hours_of(taken.frame)
        _summarise_day(source, day, hours, leaving=_Leaving(taken.frame, features))
        measure_hours(model_id=source.model.pk, hours=hours)
    return True


def _hours_of(frame: LogFrame) -> list[datetime]:
    return [datetime.fromtimestamp(int(hour) * 3600, UTC) for hour in np.unique(frame.times_us // _HOUR_US)]


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


def summarise_again(model_id: int) -> None:
    """Have all rows of a model that the log still has summarised once more, in the caller's transaction.

    What stands for its hours or days is touched as one, and what has lost rows stays as it is. Months stay too.
    """
    held = Summary.objects.filter(model_id=model_id, segment="", span__in=("hour", "day"))
    told = list(held.values_list("version_id", "role", "span", "start"))
    hours = {(version, role, start) for version, role, span, start in told if span == "hour"}
    by_the_hour = {(version, role, floor(start, "day")) for version, role, start in hours}
    days = {(version, role, start) for version, role, span, start in told if span == "day"} - by_the_hour
    touch(TouchedPeriod, [(model_id, *key) for key in hours | days], fields=TOUCHED_FIELDS)
    periods_touched.send(sender=TouchedPeriod, model_id=model_id)


def forget_segments(model_id: int, which: Q) -> None:
    """Delete the summaries of segments, in the caller's transaction; `which` is over the column `segment`."""
    lock_model(model_id)
    Summary.objects.filter(which, model_id=model_id).delete()


def lock_model(model_id: int) -> None:
    """Let one worker at a time write the summaries of a model: a day is merged from hours that stand still."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7302, %s)", [model_id])


def _by_source(
    model: Model, segments: DeclaredSegments, periods: Iterable[TouchedPeriod]
) -> list[tuple[_Source, datetime, list[datetime]]]:
    groups: dict[tuple[int, str, datetime], list[datetime]] = {}
    for period in periods:
        groups.setdefault((period.version_id, period.role, floor(period.hour, "day")), []).append(period.hour)
    versions = Version.objects.select_related("model").in_bulk({version_id for version_id, _, _ in groups})
    return [
        (_Source(model, versions[version_id], role, segments), day, hours)
        for (version_id, role, day), hours in sorted(groups.items())
    ]


def _summarise_day(
    source: _Source, day: datetime, hours: list[datetime], *, leaving: _Leaving | None = None
) -> set[Window]:
    """Summarise a day's touched hours and add the day up; tells the windows that have no rows any more.

    Where the hours were dropped, what stands for them is summarised instead, as a whole. A day of which nothing is
    gone gets its hours back for that, so that what comes late changes their points too.
    """
    span, start = _standing_for_hours(source, day)
    starts = [start] if span != "hour" else hours
    begin, end = min(starts), following(max(starts), span)
    frame = frame_of(model=source.model, role=source.role, version_id=source.version.pk, start=begin, end=end)
    mark_read(chunks_of(source.version.pk, source.role, begin, end), frame.unreadable)
    leaving = leaving or _Leaving(frame.take(np.empty(0, np.intp)))
    if span == "day" and _has_all_rows(source, day, frame, leaving):
        span, starts = "hour", [day + timedelta(hours=hour) for hour in range(24)]
    vanished = _summarise_windows(source, span, starts, frame, leaving)
    if span != "hour":
        return vanished
    merged = _merge_day(source, day)
    save(merged)
    return vanished | _forget_others(source, "day", [day], merged)


def _standing_for_hours(source: _Source, day: datetime) -> tuple[str, datetime]:
    """Tell the span and the start of what holds an hour of this day: itself, its day, or its month."""
    month = floor(day, "month")
    of_day = Q(span="hour", start__gte=day, start__lt=following(day, "day")) | Q(span="day", start=day)
    held = set(
        Summary.objects.filter(
            of_day | Q(span="month", start=month), **source.fields, segment=""
        ).values_list("span", flat=True)
    )
    if held and "hour" not in held:
        return ("day", day) if "day" in held else ("month", month)
    return "hour", day


def _has_all_rows(source: _Source, day: datetime, frame: LogFrame, leaving: _Leaving) -> bool:
    """Tell whether the log and what leaves it are all that a day without hours was ever made from."""
    held = _held_of(source, "day", [day])[day]
    return not held.gone and _rows(frame, leaving) >= held.rows


def _rows(kept: LogFrame, leaving: _Leaving) -> int:
    """Count rows that were in the log before some left it; of a row that loses values only, it stays."""
    return len(kept) if leaving.features else len(kept) + len(leaving.frame)


def _summarise_windows(
    source: _Source, span: str, starts: list[datetime], frame: LogFrame, leaving: _Leaving
) -> set[Window]:
    """Summarise windows from their rows; tells those that have none any more.

    A summary is what is gone of its window and what the log still holds of it together; what is `leaving` the log
    moves from one to the other. A window of which fewer rows are left than its summary tells of keeps that one: what
    is missing has expired, and a row that comes so late may not stand for all of them.
    """
    signature = signature_of(source.version)
    declared = declared_kinds(signature)
    for some in (leaving.frame, frame):
        centres = centres_of(source.model, some.features, prediction=some.prediction, declared=declared)
    of_rows = partial(_summary, signature=signature, centres=centres)
    of_values = partial(_summary_of_values, features=leaving.features, centres=centres, declared=declared)
    held = _held_of(source, span, starts)
    fresh: list[Summary] = []
    done: list[datetime] = []
    for start in starts:
        end = following(start, span)
        going, kept = leaving.within(start, end), _within(frame, start, end)
        if _rows(kept, going) < held[start].rows:
            continue
        done.append(start)
        gone = held[start].gone
        left = _by_hour(source, going.frame, of_values if leaving.features else of_rows, gone=gone)
        gone = add_up([gone, *left.values()])
        stays = _by_hour(source, kept, of_rows, gone=gone)
        blocks = encode_blocks({hour: told[""] for hour, told in stays.items()}, span)
        fresh += [
            row_of(
                source.fields, span, start, segment, summary,
                gone=gone.get(segment), blocks=None if segment else blocks,
            )
            for segment, summary in add_up([gone, *stays.values()]).items()
        ]  # fmt: skip
    save(fresh)
    return _forget_others(source, span, done, fresh)


def _within(frame: LogFrame, start: datetime, end: datetime) -> LogFrame:
    first, last = (int(moment.timestamp()) * 1_000_000 for moment in (start, end))
    return frame.take((frame.times_us >= first) & (frame.times_us < last))


def _by_hour(
    source: _Source,
    rows: LogFrame,
    summary_of: Callable[[LogFrame], WindowSummary],
    *,
    gone: Told,
) -> dict[datetime, Told]:
    """Summarise rows hour by hour, as they are wherever hours are kept; none gives nothing."""
    told: dict[datetime, Told] = {}
    for hour in _hours_of(rows):
        part = _within(rows, hour, following(hour, "hour"))
        segments = segment_masks(_tellable(source.segments, gone, hour), part, seated=gone)
        told[hour] = {"": summary_of(part)} | {name: summary_of(part.take(mask)) for name, mask in segments}
    return told


def _tellable(segments: DeclaredSegments, gone: Told, hour: datetime) -> DeclaredSegments:
    """Leave out the segments that are newer than rows that were let go: they would hold a part of the hour."""
    if "" not in gone or not gone[""].rows:
        return segments
    return replace(
        segments, named=tuple(one for one in segments.named if one.name in gone or one.since <= hour)
    )


def _forget_others(source: _Source, span: str, starts: list[datetime], kept: list[Summary]) -> set[Window]:
    """Delete what these windows had summaries of beside `kept`: rows that were erased, or a segment's last ones."""
    known = {(summary.start, summary.segment) for summary in kept}
    held = Summary.objects.filter(**source.fields, span=span, start__in=starts)
    others = {
        pk: (span, start, segment)
        for pk, start, segment in held.values_list("pk", "start", "segment")
        if (start, segment) not in known
    }
    Summary.objects.filter(pk__in=others).delete()
    return set(others.values())


@dataclass
class _Held:
    """What a window's present summaries tell: how many rows the log has of it, and what is gone, by segment."""

    rows: int = 0
    gone: dict[str, WindowSummary] = field(default_factory=dict)


def _held_of(source: _Source, span: str, starts: list[datetime]) -> dict[datetime, _Held]:
    stored = Summary.objects.filter(**source.fields, span=span, start__in=starts)
    held: dict[datetime, _Held] = defaultdict(_Held)
    told = stored.filter(Q(segment="") | Q(gone__isnull=False))
    for start, segment, rows, payload in told.values_list("start", "segment", "rows", "gone"):
        gone = None if payload is None else WindowSummary.decode(bytes(payload))
        if gone is not None:
            held[start].gone[segment] = gone
        if segment == "":
            held[start].rows = rows - (gone.rows if gone else 0)
    return held


def _summary_of_values(
    frame: LogFrame, features: Sequence[str], centres: dict[str, float], declared: dict[str, bool]
) -> WindowSummary:
    """Summarise what rows hold of some features, and not the rows."""
    known = numbers_as_texts(_known(frame, features), centres, declared)
    return summarise_window(rows=0, features=known, centres=centres)


def _known(frame: LogFrame, features: Iterable[str]) -> dict[str, Any]:
    """Give what is still known of features: what was let go is in a summary already, and not missing."""
    known = {name: frame.known(name) for name in features if name in frame.features}
    return {name: values for name, values in known.items() if values is not None}


def _summary(frame: LogFrame, signature: Signature, centres: dict[str, float]) -> WindowSummary:
    labelled = frame.is_labelled
    lag_s = (frame.label_time_us[labelled] - frame.times_us[labelled]) / 1e6
    return summarise_window(
        rows=len(frame),
        features=numbers_as_texts(_known(frame, frame.features), centres, declared_kinds(signature)),
        centres=centres,
        prediction=frame.prediction,
        score=answer_score(signature, frame.prediction, frame.probability),
        latency_ms=frame.latency_us / 1e3,
        outcome=_outcome(frame, signature),
        labelled=int(labelled.sum()),
        label_lag_s=lag_s,
    )


def _outcome(frame: LogFrame, signature: Signature) -> OutcomeSummary | None:
    queries = _queries(frame) if signature.task == "ranking" else None
    return outcome_of(signature, frame.label, frame.prediction, frame.probability, queries)


def _queries(frame: LogFrame) -> np.ndarray | None:
    """Number the query that each row answers, which its tag `query` names; -1 where it has none."""
    if frame.tags is None:
        return None
    numbers: dict[str, int] = {}
    names = frame.tag("query")
    return np.array(
        [-1 if name is None else numbers.setdefault(str(name), len(numbers)) for name in names],
        dtype=np.int64,
    )


def _merge_day(source: _Source, day: datetime) -> list[Summary]:
    """Add a day's hours up, segment by segment."""
    hours = parts_of(source.fields, "day", day).values_list("segment", "payload")
    merged = add_up({segment: WindowSummary.decode(bytes(payload))} for segment, payload in hours)
    return [row_of(source.fields, "day", day, segment, summary) for segment, summary in merged.items()]
