"""Turns touched hours of the prediction log into summaries, and hours into days."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import orjson
from django.db import connection, transaction
from django.db.models import Q

from driftline.common.doorbell import ring
from driftline.common.periods import floor
from driftline.common.work import finish, touch
from inference.prediction_log.letting_go import let_go, let_go_of_values, take_rows, take_values
from inference.prediction_log.models import ANSWERING_ROLES, TouchedPeriod
from inference.prediction_log.privacy import SUMMARY
from inference.prediction_log.selectors import LogFrame, frame_of
from inference.registry.models import Model, RowsKept, Version
from inference.registry.selectors import signature_of
from inference.serving.plan import Signature
from monitors.definitions.outcomes import answer_score, outcome_of
from monitors.definitions.services import centres_of
from monitors.stats.outcomes import OutcomeSummary
from monitors.stats.window_summary import WindowSummary, merge_windows, summarise_window
from monitors.summaries.models import StaleWindow, Summary

HOURS_A_TASK = 400
WINDOWS_MEASURED_AGAIN = 2_000  # about 80 days of hours and days
SEGMENT_LENGTH = 200  # of a segment's name; a longer value too is seen only in the whole
SEGMENT_VALUES = 50  # a segment feature's most frequent values; the rest is seen only in the whole
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class _Source:
    """Rows that one version made in one role."""

    model: Model
    version: Version
    role: str
    segments: tuple[str, ...]


def summarise(model_id: int) -> int:
    """Summarise what is due of one model and ring the metrics; returns the hours done.

    The work rows, the summaries and the stale windows change in one commit: a crash repeats work and loses none.
    """
    with transaction.atomic():
        periods = TouchedPeriod.objects.filter(model_id=model_id).claim(limit=HOURS_A_TASK)
    if not periods:
        return 0
    while _let_go(model_id):
        pass
    _let_go_of_values_in(model_id, periods)
    with transaction.atomic():
        lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        if model.rows_kept == RowsKept.ALL:
            for source, day, hours in _by_source(model, _segments_of(model), periods):
                _summarise_day(source, day, hours)
        finish(periods)
        measure_hours(model_id=model_id, hours=[period.hour for period in periods])
    return len(periods)


@dataclass(frozen=True)
class _Leaving:
    """Rows that leave the log, or of which the values of some features do."""

    frame: LogFrame
    features: Sequence[str] = ()


type Window = tuple[str, datetime, str]
"""Span, start and segment of a summary."""


def summarise_hours(*, model_id: int, version_id: int, role: str, hours: Sequence[datetime]) -> set[Window]:
    """Summarise some hours again now, whoever else is about to; tells the windows that have no rows any more."""
    with transaction.atomic():
        lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        version = Version.objects.select_related("model").get(pk=version_id)
        source = _Source(model, version, role, _segments_of(model))
        vanished: set[Window] = set()
        by_day: dict[datetime, list[datetime]] = {}
        for hour in hours:
            by_day.setdefault(floor(hour, "day"), []).append(hour)
        for day, some in sorted(by_day.items()):
            vanished |= _summarise_day(source, day, some)
        measure_hours(model_id=model_id, hours=hours)
    return vanished


def _let_go(model_id: int) -> bool:
    """Add some rows of a model that keeps none to what is gone of their hours, and let go of them in the same commit.

    False where none are left, or the model keeps its rows.
    """
    with transaction.atomic():
        lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        taken = take_rows(model) if model.rows_kept == RowsKept.NONE else None
        if taken is None:
            return False
        let_go(taken)
        version = Version.objects.select_related("model").get(pk=taken.version_id)
        source = _Source(model, version, taken.role, _segments_of(model))
        hours = _hours_of(taken.frame)
        _summarise_day(source, floor(hours[0], "day"), hours, leaving=_Leaving(taken.frame))
        measure_hours(model_id=model_id, hours=hours)
    return True


def _let_go_of_values_in(model_id: int, periods: Iterable[TouchedPeriod]) -> None:
    """Let go of values that are kept in summaries alone, of the days of some hours."""
    model = Model.objects.get(pk=model_id)
    features = [name for name, policy in model.privacy.items() if policy == SUMMARY]
    for source, day, _ in _by_source(model, _segments_of(model), periods) if features else ():
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


def _segments_of(model: Model) -> tuple[str, ...]:
    return tuple(model.segments.values_list("feature", flat=True))


def measure_hours(*, model_id: int, hours: Iterable[datetime]) -> None:
    """Have the windows that hold these hours measured, in the caller's transaction."""
    stale = {(model_id, "hour", hour) for hour in hours}
    stale |= {(model_id, "day", floor(hour, "day")) for _, _, hour in stale}
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    ring("monitors.measure", model_id=model_id)


def measure_again(*, version_id: int) -> None:
    """Have the newest windows that a version answered in measured anew, because its reference is another."""
    windows = Summary.objects.filter(version_id=version_id, role__in=ANSWERING_ROLES, segment="").order_by(
        "-start"
    )
    stale = list(windows.values_list("model_id", "span", "start")[:WINDOWS_MEASURED_AGAIN])
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    for model_id in {model_id for model_id, _, _ in stale}:
        ring("monitors.measure", model_id=model_id)


def lock_model(model_id: int) -> None:
    """Let one worker at a time write the summaries of a model: a day is merged from hours that stand still."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7302, %s)", [model_id])


def _by_source(
    model: Model, segments: tuple[str, ...], periods: Iterable[TouchedPeriod]
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

    A summary is what is gone of its hour and what the log still holds of it together; what is `leaving` the log moves
    from one to the other. An hour of which fewer rows are left than its summary tells of keeps that one: what is
    missing has expired, and a row that comes so late may not stand for all of them.
    """
    frame = frame_of(
        model=source.model,
        role=source.role,
        version_id=source.version.pk,
        start=min(hours),
        end=max(hours) + timedelta(hours=1),
    )
    signature = signature_of(source.version)
    leaving = leaving or _Leaving(frame.take(np.empty(0, np.intp)))
    frames = [(some, some.times_us // _HOUR_US) for some in (leaving.frame, frame)]
    for some, _ in frames:
        centres = centres_of(source.model, some.features, prediction=some.prediction)
    of_rows = partial(_summary, signature=signature, centres=centres)
    of_values = partial(_summary_of_values, features=leaving.features, centres=centres)
    held = _held_of(source, hours)
    fresh: list[Summary] = []
    done: list[datetime] = []
    for hour in hours:
        going, kept = (some.take(which == int(hour.timestamp()) // 3600) for some, which in frames)
        rows = len(kept) if leaving.features else len(kept) + len(going)
        if rows < held[hour].rows:
            continue
        done.append(hour)
        gone = held[hour].gone
        gone = _add(gone, _summaries(source, going, of_values if leaving.features else of_rows, seated=gone))
        whole = _add(gone, _summaries(source, kept, of_rows, seated=gone))
        fresh += [
            _row(source, "hour", hour, segment, summary, gone=gone.get(segment))
            for segment, summary in whole.items()
        ]
    _save(fresh)
    vanished = _forget_others(source, "hour", done, fresh)
    merged = _merge_day(source, day)
    _save(merged)
    return vanished | _forget_others(source, "day", [day], merged)


def _forget_others(source: _Source, span: str, starts: list[datetime], kept: list[Summary]) -> set[Window]:
    """Delete what these windows had summaries of beside `kept`: rows that were erased, or a segment's last ones."""
    known = {(summary.start, summary.segment) for summary in kept}
    held = Summary.objects.filter(
        model=source.model, version=source.version, role=source.role, span=span, start__in=starts
    )
    others = {
        pk: (span, start, segment)
        for pk, start, segment in held.values_list("pk", "start", "segment")
        if (start, segment) not in known
    }
    Summary.objects.filter(pk__in=others).delete()
    return set(others.values())


@dataclass
class _Held:
    """What an hour's present summaries tell: how many rows the log has of it, and what is gone, by segment."""

    rows: int = 0
    gone: dict[str, WindowSummary] = field(default_factory=dict)


def _held_of(source: _Source, hours: list[datetime]) -> dict[datetime, _Held]:
    hourly = Summary.objects.filter(
        model=source.model, version=source.version, role=source.role, span="hour", start__in=hours
    )
    held: dict[datetime, _Held] = defaultdict(_Held)
    told = hourly.filter(Q(segment="") | Q(gone__isnull=False))
    for start, segment, rows, payload in told.values_list("start", "segment", "rows", "gone"):
        gone = None if payload is None else WindowSummary.decode(bytes(payload))
        if gone is not None:
            held[start].gone[segment] = gone
        if segment == "":
            held[start].rows = rows - (gone.rows if gone else 0)
    return held


def _add(one: dict[str, WindowSummary], other: dict[str, WindowSummary]) -> dict[str, WindowSummary]:
    """Add summaries up, segment by segment."""
    return {
        segment: one[segment].merge(other[segment])
        if segment in one and segment in other
        else one.get(segment) or other[segment]
        for segment in one | other
    }


def _summaries(
    source: _Source,
    rows: LogFrame,
    summary_of: Callable[[LogFrame], WindowSummary],
    *,
    seated: Collection[str],
) -> dict[str, WindowSummary]:
    """Summarise rows of an hour, by segment; none gives nothing."""
    if not len(rows):
        return {}
    parts = _segments(rows, source.segments, seated)
    return {segment: summary_of(part) for segment, part in parts}


def _segments(
    frame: LogFrame, features: Sequence[str], seated: Collection[str]
) -> Iterable[tuple[str, LogFrame]]:
    """Give the whole, then the rows of each value of each declared segment feature.

    A value is `seated` where rows of it are gone: it keeps its place, and others get one while there is room. So a
    value either has all its rows of an hour in its summary or has none, in however many parts they came.
    """
    yield "", frame
    for feature in features:
        column = frame.features.get(feature)
        if column is None:
            continue
        texts = np.array(
            ["" if value is None or value != value else _text(value) for value in column], object
        )
        values, counts = np.unique(texts.astype(str), return_counts=True)
        room = SEGMENT_VALUES - sum(segment.startswith(f"{feature}:") for segment in seated)
        for value in values[np.argsort(-counts)]:
            segment = f"{feature}:{value}"
            if not value or len(segment) > SEGMENT_LENGTH:
                continue
            if segment not in seated:
                room -= 1
            if segment in seated or room >= 0:
                yield segment, frame.take(texts == value)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _summary_of_values(frame: LogFrame, features: Sequence[str], centres: dict[str, float]) -> WindowSummary:
    """Summarise what rows hold of some features, and not the rows."""
    return summarise_window(rows=0, features=_known(frame, features), centres=centres)


def _known(frame: LogFrame, features: Iterable[str]) -> dict[str, Any]:
    """Give what is still known of features: what was let go is in a summary already, and not missing."""
    known = {name: frame.known(name) for name in features if name in frame.features}
    return {name: values for name, values in known.items() if values is not None}


def _summary(frame: LogFrame, signature: Signature, centres: dict[str, float]) -> WindowSummary:
    labelled = frame.is_labelled
    lag_s = (frame.label_time_us[labelled] - frame.times_us[labelled]) / 1e6
    return summarise_window(
        rows=len(frame),
        features=_known(frame, frame.features),
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
    known = {None: -1}
    for text in set(frame.tags) - {None}:
        name = orjson.loads(text).get("query")
        known[text] = -1 if name is None else numbers.setdefault(str(name), len(numbers))
    return np.array([known[text] for text in frame.tags], dtype=np.int64)


def _row(
    source: _Source,
    span: str,
    start: datetime,
    segment: str,
    summary: WindowSummary,
    *,
    gone: WindowSummary | None = None,
) -> Summary:
    return Summary(
        model=source.model,
        version=source.version,
        role=source.role,
        span=span,
        start=start,
        segment=segment,
        rows=summary.rows,
        labelled=summary.labelled,
        payload=summary.encode(),
        gone=None if gone is None else gone.encode(),
    )


def _merge_day(source: _Source, day: datetime) -> list[Summary]:
    """Add a day's hours up, segment by segment."""
    hours = Summary.objects.filter(
        model=source.model,
        version=source.version,
        role=source.role,
        span="hour",
        start__gte=day,
        start__lt=day + timedelta(days=1),
    ).order_by("start")
    by_segment: dict[str, list[WindowSummary]] = {}
    for segment, payload in hours.values_list("segment", "payload"):
        by_segment.setdefault(segment, []).append(WindowSummary.decode(bytes(payload)))
    return [_row(source, "day", day, segment, merge_windows(parts)) for segment, parts in by_segment.items()]


def _save(rows: list[Summary]) -> None:
    Summary.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["model", "span", "start", "role", "version", "segment"],
        update_fields=["rows", "labelled", "payload", "gone", "updated_at"],
    )
