"""Changes the summaries of a version's rows of one day: what is new is added, what no longer holds is taken out.

An hour is kept by itself and in its day; once the hours are dropped the day stands for them, and a month for its days.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
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
from monitors.summaries.stored import SHORTER, Told, add_up, row_of, save, sums_of

type Window = tuple[str, datetime, str]
"""Span, start and segment of a summary."""


type LetGo = dict[tuple[datetime, str], dict[str, ColumnSummary]]
"""Columns of values that rows do not have any more, by the start and the segment of a window."""

type Holder = tuple[str, datetime]
"""What counts the hours of a day: `hour` and the day's start where they are kept, else the span and start of the day or
month that stands for them.
"""


def holder_of_hours(source: Source, day: datetime) -> Holder:
    """Tell what counts the hours of this day."""
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


def change(
    source: Source,
    holder: Holder,
    *,
    add: Mapping[datetime, Told],
    remove: Mapping[datetime, Told] | None = None,
) -> set[datetime]:
    """Add summaries of some hours of a day, and take others out; returns the hours of which something is not exact.

    Each is told by segment. Call it under the lock of the model's summaries.
    """
    added, removed = _by_window(add, holder), _by_window(remove or {}, holder)
    held = _held(source, {window[:2] for window in (*added, *removed)})
    inexact: set[datetime] = set()
    fresh = []
    for window in {**added, **removed}:
        before, (span, start, segment) = held.get(window), window
        parts = [summary for _, summary in added.get(window, ())]
        if before is not None:
            parts.insert(0, WindowSummary.decode(bytes(before.payload)))
        if not parts:
            continue  # a segment that has gone
        total = merge_windows(parts)
        for hour, summary in removed.get(window, ()):
            difference = subtract(total, summary)
            total = difference.rest
            if not difference.is_exact:
                inexact.add(hour)
        blocks = bytes(before.blocks) if before is not None and before.blocks else None
        if span == holder[0] != "hour" and not segment:
            blocks = _changed_blocks(blocks, SHORTER[span], added.get(window, ()), removed.get(window, ()))
        fresh.append(row_of(source.fields, span, start, segment, total, blocks=blocks))
    save(fresh)
    return inexact


def replace_hours(
    source: Source,
    holder: Holder,
    told: Mapping[datetime, Told],
    let_go: LetGo,
) -> set[Window]:
    """Put other summaries in the place of those of some hours and their sums; tells the windows that have gone.

    Where the hours were dropped, `told` is by hour all that stands for them holds. Columns that were `let_go` stay.
    """
    span, start = holder
    if span == "hour":
        hours = _rows_of(source, span, told, let_go)
        vanished = _replace(source, span, hours, list(told))
        return vanished | _replace(source, "day", sums_of(source.fields, "day", start), [start])
    blocks = _changed_blocks(None, SHORTER[span], [(hour, one[""]) for hour, one in told.items()], ())
    rows = _rows_of(source, span, {start: add_up(told.values())}, let_go, blocks)
    return _replace(source, span, rows, [start])


def _rows_of(
    source: Source,
    span: str,
    told: Mapping[datetime, Told],
    let_go: LetGo,
    blocks: bytes | None = None,
) -> list[Summary]:
    rows = []
    for start, by_segment in told.items():
        for segment, summary in by_segment.items():
            features = {**summary.features, **let_go.get((start, segment), {})}
            whole, of_all = replace(summary, features=features), None if segment else blocks
            rows.append(row_of(source.fields, span, start, segment, whole, blocks=of_all))
    return rows


def _by_window(
    told: Mapping[datetime, Told], holder: Holder
) -> dict[Window, list[tuple[datetime, WindowSummary]]]:
    """Put summaries of hours under each window that counts them."""
    windows: dict[Window, list[tuple[datetime, WindowSummary]]] = defaultdict(list)
    for hour, by_segment in told.items():
        counting = [("hour", hour), ("day", floor(hour, "day"))] if holder[0] == "hour" else [holder]
        for segment, summary in by_segment.items():
            for span, start in counting:
                windows[span, start, segment].append((hour, summary))
    return windows


def _held(source: Source, windows: Collection[tuple[str, datetime]]) -> dict[Window, Summary]:
    wanted = Q(pk__in=[])
    for span, start in windows:
        wanted |= Q(span=span, start=start)
    return {
        (one.span, one.start, one.segment): one for one in Summary.objects.filter(wanted, **source.fields)
    }


def _changed_blocks(
    stored: bytes | None,
    span: str,
    added: Iterable[tuple[datetime, WindowSummary]],
    removed: Iterable[tuple[datetime, WindowSummary]],
) -> bytes | None:
    """Change the outcomes of the hours or days that a window stands for."""
    blocks: dict[int, OutcomeSummary] = decode_outcomes(stored) if stored else {}
    for hour, summary in added:
        if summary.outcome is not None:
            block = int(floor(hour, span).timestamp())
            known = [blocks[block]] if block in blocks else []
            blocks[block] = merge_outcomes([*known, summary.outcome])
    for hour, summary in removed:
        block = int(floor(hour, span).timestamp())
        if summary.outcome is not None and block in blocks:
            rest = subtract_outcomes(blocks.pop(block), summary.outcome)
            if rest is not None:
                blocks[block] = rest
    return encode_outcomes(blocks) if blocks else None


def _replace(source: Source, span: str, rows: list[Summary], starts: list[datetime]) -> set[Window]:
    """Keep these summaries alone of some windows: what there is beside them are rows that were erased."""
    save(rows)
    known = {(row.start, row.segment) for row in rows}
    held = Summary.objects.filter(**source.fields, span=span, start__in=starts)
    others = {
        pk: (span, start, segment)
        for pk, start, segment in held.values_list("pk", "start", "segment")
        if (start, segment) not in known
    }
    Summary.objects.filter(pk__in=others).delete()
    return set(others.values())
