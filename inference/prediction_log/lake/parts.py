"""Divides a day that is too large to be written at once: a file takes its beginning, and another one the rest.

Each file holds the rows of its own part of the day, so every row is in one of them, whichever are written.
"""

from bisect import bisect_right
from datetime import timedelta

from driftline.common.clock import now
from inference.prediction_log.lake.days import new_file
from inference.prediction_log.lake.models import LakeFile
from inference.prediction_log.models import PredictionChunk, size_of

MAX_FILE_BYTES = 512 << 20
"""Of chunks: at 3 MB a second, which text that packs well comes to, a quarter of what a task may take."""


def shorten(file: LakeFile) -> int:
    """Have a file end before it would hold more than is written at once; returns the bytes that the log has of it."""
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


def leave_rest(file: LakeFile, end_second: int) -> None:
    """Have the rest of what a file was to hold written to another, in the caller's transaction."""
    if file.end_second < end_second:
        last = LakeFile.objects.filter(model=file.model, day=file.day).latest("number")
        rest = new_file(file.model, file.day, last.number + 1, now())
        rest.start_second, rest.end_second = file.end_second, end_second
        rest.save()


_US = timedelta.resolution
