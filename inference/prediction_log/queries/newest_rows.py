"""The newest rows of a model, as many as are read in a bounded time and memory, however much it logs."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from driftline.base.periods import Period, day_of, floor, following
from inference.prediction_log.models import PredictionChunk, size_of
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import frame_of, newest_event
from inference.registry.models import Model

MIN_COST = 100
"""Opening a chunk costs as much as reading this many rows."""
_ROW_BYTES = 1 << 10  # and so much of it as one: a row may have 64 KiB
_INSTANT = timedelta(microseconds=1)


def reading_cost(rows: int, size: int) -> int:
    """Return how many rows of usual size a chunk of so many bytes costs to read."""
    return max(rows, size // _ROW_BYTES, MIN_COST)


def newest_rows(
    *, model: Model, roles: Sequence[str], length: timedelta, max_rows: int
) -> tuple[Period, LogFrame] | None:
    """Return the newest rows that versions made in these roles, with the period of which they are all; None before
    anything was logged.

    The period ends with the hour of the newest row. It is as long as `length`, or shorter where that would cost more
    than reading `max_rows` rows. Where more than those share the newest moment, some of them are left out.
    """
    newest = newest_event(model)
    if newest is None:
        return None
    end = following(floor(newest, "hour"), "hour")
    chunks, start = _newest_chunks(model, roles, Period(end - length, end), max_rows)
    frame = frame_of(model=model, start=start, end=end, role=roles, chunks=chunks)
    return Period(start, end), frame


def _newest_chunks(
    model: Model, roles: Sequence[str], within: Period, max_rows: int
) -> tuple[list[int], datetime]:
    """Choose the newest chunks that cost no more than `max_rows` rows, at least one; also return since when no other
    chunk has a row."""
    stored = PredictionChunk.objects.filter(
        model=model,
        role__in=roles,
        day__gte=day_of(within.start),
        start__lt=within.end,
        end__gte=within.start,
    ).order_by("-end", "-pk")
    found = list(stored.values_list("pk", "end", "rows", size_of("payload"))[: max_rows // MIN_COST + 1])
    chosen, cost = list[int](), 0
    for pk, end, rows, size in found:
        cost += reading_cost(rows, size)
        if chosen and cost > max_rows:
            return chosen, min(end + _INSTANT, found[0][1])
        chosen.append(pk)
    return chosen, within.start
