"""Applies changes to the stored summaries of one version and role.

An hour has a summary of its own and is part of its day's. When the hours are dropped, the day's summary remains; when
the days are dropped, the month's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from django.db.models import Q

from driftline.base.periods import floor, following
from monitors.stats.mergeable.subtraction import subtract
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, merge_windows
from monitors.summaries.from_rows import RowsOfVersion
from monitors.summaries.models import Summary
from monitors.summaries.stored import (
    SummaryByHour,
    change_blocks,
    in_windows,
    merge_segments,
    merged_parts,
    row_of,
    save,
)

type Window = tuple[str, datetime, str]
"""Span, start and segment of a summary."""

type FinestWindow = tuple[str, datetime]
"""The shortest windows stored for a day: ("hour", start of the day), ("day", its start) or ("month", its start)."""

type DroppedColumns = dict[tuple[datetime, str], dict[str, ColumnSummary]]
"""Summaries of feature values that the rows do not hold any more, by start and segment of the window."""

type _Parts = dict[Window, list[tuple[datetime, WindowSummary]]]


type FinestWindows = Mapping[datetime, FinestWindow]
"""The shortest windows stored, by the start of the day."""


def finest_windows(source: RowsOfVersion, hours: Iterable[datetime]) -> FinestWindows:
    """Return which windows are stored for each day of these hours."""
    days = {floor(hour, "day") for hour in hours}
    months = {day: floor(day, "month") for day in days}
    some_days = Q(start__gte=min(days), start__lt=following(max(days), "day"))
    stored = set(
        Summary.objects.filter(
            (some_days & Q(span__in=("hour", "day"))) | Q(span="month", start__in=set(months.values())),
            **source.fields,
            segment="",
        ).values_list("span", "start")
    )
    with_hours = {floor(start, "day") for span, start in stored if span == "hour"}
    finest: dict[datetime, FinestWindow] = {}
    for day, month in months.items():
        finest[day] = ("hour", day)
        if day not in with_hours and ("day", day) in stored:
            finest[day] = ("day", day)
        elif day not in with_hours and ("month", month) in stored:
            finest[day] = ("month", month)
    return finest


def apply_change(
    source: RowsOfVersion,
    finest: FinestWindows,
    *,
    added: SummaryByHour | None = None,
    subtracted: SummaryByHour | None = None,
) -> set[datetime]:
    """Add and subtract summaries of hours; return the hours for which the result is not exact.

    Call it under `lock_summaries`.
    """
    plus, minus = _by_window(added or {}, finest), _by_window(subtracted or {}, finest)
    stored = _stored(source, {window[:2] for window in (*plus, *minus)})
    without_hours = {window for window in finest.values() if window[0] != "hour"}
    inexact: set[datetime] = set()
    changed = []
    for window in {**plus, **minus}:
        span, start, segment = window
        before = stored.get(window)
        parts = [] if before is None else [WindowSummary.decode(bytes(before.payload))]
        parts += [summary for _, summary in plus.get(window, ())]
        if not parts:
            continue  # a segment that is not stored has nothing to subtract from
        total = merge_windows(parts)
        for hour, summary in minus.get(window, ()):
            difference = subtract(total, summary)
            total = difference.rest
            if not difference.is_exact:
                inexact.add(hour)
        blocks = bytes(before.blocks) if before is not None and before.blocks else None
        if (span, start) in without_hours and not segment:
            blocks = change_blocks(blocks, span, plus.get(window, ()), minus.get(window, ()))
        changed.append(row_of(source.fields, span, start, segment, total, blocks=blocks))
    save(changed)
    return inexact


def replace_hours(
    source: RowsOfVersion, finest: FinestWindow, rebuilt: SummaryByHour, dropped: DroppedColumns
) -> set[Window]:
    """Replace the summaries of hours and the longer ones they are part of; return the windows without rows.

    If `finest` is a day or a month, `rebuilt` holds all of its hours. Columns in `dropped` are kept.
    """
    span, start = finest
    if span == "hour":
        hours = _rows_of(source, span, rebuilt, dropped)
        deleted = _replace(source, span, hours, list(rebuilt))
        return deleted | _replace(source, "day", merged_parts(source.fields, "day", start), [start])
    outcomes = [(hour, by_segment[""]) for hour, by_segment in rebuilt.items()]
    blocks = change_blocks(None, span, outcomes)
    rows = _rows_of(source, span, {start: merge_segments(rebuilt.values())}, dropped, blocks)
    return _replace(source, span, rows, [start])


def _rows_of(
    source: RowsOfVersion,
    span: str,
    summaries: SummaryByHour,
    dropped: DroppedColumns,
    blocks: bytes | None = None,
) -> list[Summary]:
    rows = []
    for start, by_segment in summaries.items():
        for segment, summary in by_segment.items():
            whole = replace(summary, features={**summary.features, **dropped.get((start, segment), {})})
            rows.append(
                row_of(source.fields, span, start, segment, whole, blocks=None if segment else blocks)
            )
    return rows


def _by_window(summaries: SummaryByHour, finest: FinestWindows) -> _Parts:
    """Group summaries of hours by the stored windows that include them."""
    parts: _Parts = defaultdict(list)
    for hour, by_segment in summaries.items():
        day = floor(hour, "day")
        including = [("hour", hour), ("day", day)] if finest[day][0] == "hour" else [finest[day]]
        for segment, summary in by_segment.items():
            for span, start in including:
                parts[span, start, segment].append((hour, summary))
    return parts


def _stored(source: RowsOfVersion, windows: Collection[tuple[str, datetime]]) -> dict[Window, Summary]:
    stored = Summary.objects.filter(in_windows(windows), **source.fields)
    return {(row.span, row.start, row.segment): row for row in stored}


def _replace(source: RowsOfVersion, span: str, rows: list[Summary], starts: list[datetime]) -> set[Window]:
    """Store summaries and delete all others of the same windows; return those that were deleted."""
    save(rows)
    current = {(row.start, row.segment) for row in rows}
    stored = Summary.objects.filter(**source.fields, span=span, start__in=starts)
    outdated = {
        pk: (span, start, segment)
        for pk, start, segment in stored.values_list("pk", "start", "segment")
        if (start, segment) not in current
    }
    Summary.objects.filter(pk__in=outdated).delete()
    return set(outdated.values())
