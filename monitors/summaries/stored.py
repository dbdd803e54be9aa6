"""How summaries are stored, found and added up: hours to a day, days to a month."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from driftline.common.periods import floor, following
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.window_summary import WindowSummary, encode_outcomes, merge_windows
from monitors.summaries.models import Summary

SHORTER = {"day": "hour", "month": "day"}

type Source = Mapping[str, Any]
"""Whose rows summaries are of: model, version and role, by the names of the columns."""

type Told = dict[str, WindowSummary]
"""What is told of a window, by segment."""


def parts_of(source: Source, span: str, start: datetime) -> QuerySet[Summary]:
    """Select the hours of a day, or the days of a month, oldest first."""
    return Summary.objects.filter(
        **source, span=SHORTER[span], start__gte=start, start__lt=following(start, span)
    ).order_by("start")


def add_up(several: Iterable[Told]) -> Told:
    """Add summaries up, segment by segment."""
    parts: dict[str, list[WindowSummary]] = {}
    for told in several:
        for segment, summary in told.items():
            parts.setdefault(segment, []).append(summary)
    return {segment: some[0] if len(some) == 1 else merge_windows(some) for segment, some in parts.items()}


def add_up_hours(several: Iterable[Mapping[datetime, Told]]) -> dict[datetime, Told]:
    """Add summaries up, hour by hour and segment by segment."""
    hours: dict[datetime, list[Told]] = {}
    for told in several:
        for hour, one in told.items():
            hours.setdefault(hour, []).append(one)
    return {hour: add_up(some) for hour, some in hours.items()}


def encode_blocks(told: Mapping[datetime, WindowSummary], span: str) -> bytes | None:
    """Encode the outcomes of the hours of a day, or of the days of a month; an hour has none."""
    if span not in SHORTER:
        return None
    blocks: dict[int, list[OutcomeSummary]] = {}
    for start, summary in sorted(told.items()):
        if summary.outcome is not None:
            block = floor(start, SHORTER[span])
            blocks.setdefault(int(block.timestamp()), []).append(summary.outcome)
    return (
        encode_outcomes({block: merge_outcomes(some) for block, some in blocks.items()}) if blocks else None
    )


def row_of(
    source: Source,
    span: str,
    start: datetime,
    segment: str,
    summary: WindowSummary,
    *,
    blocks: bytes | None = None,
) -> Summary:
    """Make the row of a summary; it is not saved."""
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
    """Store summaries in the place of those that were there of the same windows."""
    Summary.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["model", "span", "start", "role", "version", "segment"],
        update_fields=["rows", "labelled", "payload", "blocks", "updated_at"],
    )


def sums_of(source: Source, span: str, start: datetime) -> list[Summary]:
    """Add the hours of a day up, or the days of a month, segment by segment."""
    parts = parts_of(source, span, start).values_list("segment", "payload")
    sums = add_up({segment: WindowSummary.decode(bytes(payload))} for segment, payload in parts)
    return [row_of(source, span, start, segment, summary) for segment, summary in sums.items()]
