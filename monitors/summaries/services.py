"""Turns touched hours of the prediction log into summaries, and hours into days."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.db import connection, transaction

from driftline.common.doorbell import ring
from driftline.common.periods import floor
from driftline.common.work import finish, touch
from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.selectors import LogFrame, frame_of
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.serving.plan import Signature
from monitors.definitions.outcomes import outcome_of
from monitors.definitions.services import centres_of
from monitors.stats.window_summary import WindowSummary, merge_windows, summarise_window
from monitors.summaries.models import StaleWindow, Summary

HOURS_A_TASK = 400
WINDOWS_MEASURED_AGAIN = 2_000  # about 80 days of hours and days
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
    with transaction.atomic():
        _lock_model(model_id)
        model = Model.objects.get(pk=model_id)
        segments = tuple(model.segments.values_list("feature", flat=True))
        for source, day, hours in _by_source(model, segments, periods):
            _summarise_day(source, day, hours)
        days = {floor(period.hour, "day") for period in periods}
        stale = {(model_id, "hour", period.hour) for period in periods} | {
            (model_id, "day", day) for day in days
        }
        touch(StaleWindow, stale, fields=("model_id", "span", "start"))
        finish(periods)
        ring("monitors.measure", model_id=model_id)
    return len(periods)


def measure_again(*, version_id: int) -> None:
    """Have the newest windows that a version answered in measured anew, because its reference is another."""
    windows = Summary.objects.filter(version_id=version_id, role="champion", segment="").order_by("-start")
    stale = list(windows.values_list("model_id", "span", "start")[:WINDOWS_MEASURED_AGAIN])
    touch(StaleWindow, stale, fields=("model_id", "span", "start"))
    for model_id in {model_id for model_id, _, _ in stale}:
        ring("monitors.measure", model_id=model_id)


def _lock_model(model_id: int) -> None:
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


def _summarise_day(source: _Source, day: datetime, hours: list[datetime]) -> None:
    frame = frame_of(
        model=source.model,
        role=source.role,
        version_id=source.version.pk,
        start=min(hours),
        end=max(hours) + timedelta(hours=1),
    )
    centres = centres_of(source.model, frame.features)
    signature = signature_of(source.version)
    which = frame.times_us // _HOUR_US
    fresh: list[Summary] = []
    for hour in hours:
        rows = frame.take(which == int(hour.timestamp()) // 3600)
        for segment, part in _segments(rows, source.segments):
            fresh.append(_row(source, "hour", hour, segment, _summary(part, signature, centres)))
    _save(fresh)
    _save(_merge_day(source, day))


def _segments(frame: LogFrame, features: Sequence[str]) -> Iterable[tuple[str, LogFrame]]:
    """Give the whole, then the rows of each value of each declared segment feature."""
    yield "", frame
    for feature in features:
        column = frame.features.get(feature)
        if column is None:
            continue
        texts = np.array(
            ["" if value is None or value != value else _text(value) for value in column], object
        )
        values, counts = np.unique(texts.astype(str), return_counts=True)
        for value in values[np.argsort(-counts)][:SEGMENT_VALUES]:
            if value:
                yield f"{feature}:{value}", frame.take(texts == value)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _summary(frame: LogFrame, signature: Signature, centres: dict[str, float]) -> WindowSummary:
    labelled = frame.is_labelled
    has_score = frame.probability is not None and frame.probability.ndim == 1
    lag_s = (frame.label_time_us[labelled] - frame.times_us[labelled]) / 1e6
    return summarise_window(
        rows=len(frame),
        features=frame.features,
        centres=centres,
        prediction=frame.prediction,
        score=frame.probability if has_score else None,
        latency_ms=frame.latency_us / 1e3,
        outcome=outcome_of(signature, frame.label, frame.prediction, frame.probability)
        if signature
        else None,
        labelled=int(labelled.sum()),
        label_lag_s=lag_s,
    )


def _row(source: _Source, span: str, start: datetime, segment: str, summary: WindowSummary) -> Summary:
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
        update_fields=["rows", "labelled", "payload", "updated_at"],
    )
