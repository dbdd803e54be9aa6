"""Divides a day that is too large to be written at once: a file takes its beginning, and another one the rest.

Each file holds the rows of its own part of the day, so every row is in one of them, whichever are written. A file that
is in the lake already keeps what it holds until the rest is written: the log may lose those rows before.
"""

from bisect import bisect_right
from datetime import timedelta

from django.db.models import Min

from driftline.base.work.leased_work import WorkLease
from inference.prediction_log.lake.days import awaited_rests, new_file, rests
from inference.prediction_log.lake.models import LakeFile
from inference.prediction_log.models import PredictionChunk, size_of

MAX_FILE_BYTES = 512 << 20
"""Of chunks: at 3 MB a second, which text that packs well comes to, a quarter of what a task may take.

It bounds the rows of a file, and the work where each chunk holds a short time. Where chunks each span the day, as those
of a backfill that was not in the order of time, every part decodes all of them.
"""


def divide(file: LakeFile, lease: WorkLease[LakeFile]) -> int | None:
    """End a file before it would hold more than is written at once, and put the rest into another one.

    Returns the bytes that the log has of it. Where it may be in the lake with the rest, it returns None until that is
    written, and the lease is released: meanwhile readers see these rows twice, and none of them is lost.
    """
    held_until = file.end_second
    others = rests(file.model, file.day, file.start_second, held_until)
    end = file.end_second = others.aggregate(first=Min("start_second"))["first"] or held_until
    size = shorten(file)
    if file.end_second == held_until:
        return size
    may_be_there = file.written_at is not None or file.draft != ""
    with lease.fenced():
        if file.end_second < end:
            _add_file(file, end)
        if not may_be_there:
            lease.write(end_second=file.end_second)
        elif awaited_rests(file.model, file.day, file.start_second, held_until).exists():
            lease.release(error="")
            return None
    return size


def shorten(file: LakeFile) -> int:
    """End a file before it would hold more than is written at once; returns the bytes that the log has of it."""
    of_day = PredictionChunk.objects.filter(model=file.model, day=file.day)
    chunks = list(of_day.values_list("start", "end", size_of("payload")))
    begin = file.start

    def bytes_until(second: int) -> int:
        until = begin + timedelta(seconds=second - file.start_second)
        return sum(
            size * max(timedelta(0), min(last + _US, until) - max(first, begin)) // (last + _US - first)
            for first, last, size in chunks
        )

    ends = range(file.start_second + 1, file.end_second + 1)
    file.end_second = ends[max(1, bisect_right(ends, MAX_FILE_BYTES, key=bytes_until)) - 1]
    return bytes_until(file.end_second)


def _add_file(file: LakeFile, end_second: int) -> None:
    """Add another file for what comes behind a file, in the caller's transaction."""
    last = LakeFile.objects.filter(model=file.model, day=file.day).latest("number")
    rest = new_file(file.model, file.day, last.number + 1, file.due_at)  # which has it follow at once
    rest.start_second, rest.end_second = file.end_second, end_second
    rest.save()


_US = timedelta.resolution
