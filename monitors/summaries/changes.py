"""Applies changes to the stored summaries of one version, role and event day.

An hour has a summary of its own and is part of its day's. When the hours are dropped, the day's summary remains; when
the days are dropped, the month's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from django.db.models import Q

from driftline.common.periods import floor, following
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.subtraction import subtract, subtract_outcomes
from monitors.stats.mergeable.window_summary import (
    ColumnSummary,
    WindowSummary,
    decode_outcomes,
    encode_outcomes,
    merge_windows,
)
from monitors.summaries.from_rows import Source
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER, SummaryByHour, merge_segments, merged_parts, row_of, save

type Window = tuple[str, datetime, str]
"""Span, start and segment of a summary."""

type FinestWindow = tuple[str, datetime]
"""The shortest windows stored for a day: ("hour", start of the day), ("day", its start) or ("month", its start)."""

type DroppedColumns = dict[tuple[datetime, str], dict[str, ColumnSummary]]
"""Summaries of feature values that the rows do not hold any more, by start and segment of the window."""

type _Parts = dict[Window, list[tuple[datetime, WindowSummary]]]


def finest_window(source: Source, day: datetime) -> FinestWindow:
    """Return which windows are stored for the hours of a day."""
    month = floor(day, "month")
    of_day = Q(span="hour", start__gte=day, start__lt=following(day, "day")) | Q(span="day", start=day)
    spans = set(
        Summary.objects.filter(
            of_day | Q(span="month", start=month), **source.fields, segment=""
        ).values_list("span", flat=True)
    )
    if not spans or "hour" in spans:
        return "hour", day
    return ("day", day) if "day" in spans else ("month", month)


def apply_change(
    source: Source,
    finest: FinestWindow,
    *,
    added: SummaryByHour | None = None,
    subtracted: SummaryByHour | None = None,
) -> set[datetime]:
    """Add and subtract summaries of hours of one day; return the hours for which the result is not exact.

    Call it under `lock_summaries`.
    """
    plus, minus = _by_window(added or {}, finest), _by_window(subtracted or {}, finest)
    stored = _stored(source, {window[:2] for window in (*plus, *minus)})
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
        if span == finest[0] != "hour" and not segment:
            blocks = _changed_blocks(blocks, SHORTER[span], plus.get(window, ()), minus.get(window, ()))
        changed.append(row_of(source.fields, span, start, segment, total, blocks=blocks))
    save(changed)
    return inexact


def replace_hours(
    source: Source, finest: FinestWindow, rebuilt: SummaryByHour, dropped: DroppedColumns
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
    blocks = _changed_blocks(None, SHORTER[span], outcomes, ())
    rows = _rows_of(source, span, {start: merge_segments(rebuilt.values())}, dropped, blocks)
    return _replace(source, span, rows, [start])


def _rows_of(
    source: Source,
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


def _by_window(summaries: SummaryByHour, finest: FinestWindow) -> _Parts:
    """Group summaries of hours by the stored windows that include them."""
    parts: _Parts = defaultdict(list)
    for hour, by_segment in summaries.items():
        including = [("hour", hour), ("day", floor(hour, "day"))] if finest[0] == "hour" else [finest]
        for segment, summary in by_segment.items():
            for span, start in including:
                parts[span, start, segment].append((hour, summary))
    return parts


def _stored(source: Source, windows: Collection[tuple[str, datetime]]) -> dict[Window, Summary]:
    wanted = Q(pk__in=[])
    for span, start in windows:
        wanted |= Q(span=span, start=start)
    return {
        (row.span, row.start, row.segment): row for row in Summary.objects.filter(wanted, **source.fields)
    }


def _changed_blocks(
    stored: bytes | None,
    span: str,
    added: Iterable[tuple[datetime, WindowSummary]],
    subtracted: Iterable[tuple[datetime, WindowSummary]],
) -> bytes | None:
    """Add and subtract outcomes of the hours or days that a longer window consists of."""
    blocks: dict[int, OutcomeSummary] = decode_outcomes(stored) if stored else {}
    for hour, summary in added:
        if summary.outcome is not None:
            block = int(floor(hour, span).timestamp())
            before = [blocks[block]] if block in blocks else []
            blocks[block] = merge_outcomes([*before, summary.outcome])
    for hour, summary in subtracted:
        block = int(floor(hour, span).timestamp())
        if summary.outcome is not None and block in blocks:
            rest = subtract_outcomes(blocks.pop(block), summary.outcome)
            if rest is not None:
                blocks[block] = rest
    return encode_outcomes(blocks) if blocks else None


def _replace(source: Source, span: str, rows: list[Summary], starts: list[datetime]) -> set[Window]:
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
