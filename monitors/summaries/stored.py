"""How summaries are stored, selected and merged: hours into a day, days into a month."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from driftline.base.periods import floor, following
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.subtraction import subtract_outcomes
from monitors.stats.mergeable.window_summary import (
    WindowSummary,
    decode_outcomes,
    encode_outcomes,
    merge_windows,
)
from monitors.summaries.models import Summary

SHORTER = {"day": "hour", "month": "day"}

type SourceFields = Mapping[str, Any]
"""Model, version and role, by the names of the columns."""

type SummaryBySegment = dict[str, WindowSummary]
type SummaryByHour = Mapping[datetime, SummaryBySegment]


def parts_of(source: SourceFields, span: str, start: datetime) -> QuerySet[Summary]:
    """Select the hours of a day, or the days of a month, oldest first."""
    return Summary.objects.filter(
        **source, span=SHORTER[span], start__gte=start, start__lt=following(start, span)
    ).order_by("start")


def in_windows(windows: Iterable[tuple[str, datetime]]) -> Q:
    """Narrow summaries to windows, each a span and a start."""
    starts: dict[str, list[datetime]] = {}
    for span, start in windows:
        starts.setdefault(span, []).append(start)
    wanted = Q(pk__in=[])
    for span, some in starts.items():
        wanted |= Q(span=span, start__in=some)
    return wanted


def merge_segments(parts: Iterable[SummaryBySegment]) -> SummaryBySegment:
    """Merge summaries, segment by segment."""
    by_segment: dict[str, list[WindowSummary]] = {}
    for part in parts:
        for segment, summary in part.items():
            by_segment.setdefault(segment, []).append(summary)
    return {segment: merge_windows(summaries) for segment, summaries in by_segment.items()}


def merge_hours(parts: Iterable[SummaryByHour]) -> dict[datetime, SummaryBySegment]:
    """Merge summaries, hour by hour and segment by segment."""
    by_hour: dict[datetime, list[SummaryBySegment]] = {}
    for part in parts:
        for hour, by_segment in part.items():
            by_hour.setdefault(hour, []).append(by_segment)
    return {hour: merge_segments(several) for hour, several in by_hour.items()}


def merged_parts(source: SourceFields, span: str, start: datetime) -> list[Summary]:
    """Return the unsaved summaries of a day, merged from its hours, or of a month, merged from its days."""
    parts = parts_of(source, span, start).values_list("segment", "payload")
    merged = merge_segments({segment: WindowSummary.decode(bytes(payload))} for segment, payload in parts)
    return [row_of(source, span, start, segment, summary) for segment, summary in merged.items()]


def change_blocks(
    blocks: bytes | None,
    span: str,
    added: Iterable[tuple[datetime, WindowSummary]],
    subtracted: Iterable[tuple[datetime, WindowSummary]] = (),
) -> bytes | None:
    """Add and subtract outcomes of the blocks of a window: the hours of a day, or the days of a month.

    Summaries come with the start of their hour or day. Returns None where no block is left.
    """
    length = SHORTER[span]
    outcomes: dict[int, OutcomeSummary] = decode_outcomes(blocks) if blocks else {}
    for start, summary in added:
        if summary.outcome is not None:
            block = int(floor(start, length).timestamp())
            before = [outcomes[block]] if block in outcomes else []
            outcomes[block] = merge_outcomes([*before, summary.outcome])
    for start, summary in subtracted:
        block = int(floor(start, length).timestamp())
        if summary.outcome is not None and block in outcomes:
            rest = subtract_outcomes(outcomes.pop(block), summary.outcome)
            if rest is not None:
                outcomes[block] = rest
    return encode_outcomes(outcomes) if outcomes else None


def row_of(
    source: SourceFields,
    span: str,
    start: datetime,
    segment: str,
    summary: WindowSummary,
    *,
    blocks: bytes | None = None,
) -> Summary:
    """Return the unsaved row of a summary."""
    return Summary(
        **source,
        span=span,
        start=start,
        segment=segment,
        rows=summary.rows,
        labelled=summary.labelled,
        payload=summary.encode(),
        blocks=blocks,
    )


def save(rows: Iterable[Summary]) -> None:
    """Store summaries; each replaces the one of the same window and segment."""
    Summary.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["model", "span", "start", "role", "version", "segment"],
        update_fields=["rows", "labelled", "payload", "blocks", "updated_at"],
    )
