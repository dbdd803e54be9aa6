"""Waits until the drain has stored what was spooled before the erasure, and overwrites it on the disk.

A segment is unlinked once its writer has begun another; one that is still written to keeps what was drained. Those
bytes are overwritten with zeros: the writer only appends, and the drain reads on from its cursor.
"""

import os
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models.functions import Now

from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.work import Blocked, Work
from inference.prediction_log.models import SpoolCursor
from inference.prediction_log.spool.segments import remove_segment, segment_sizes

SETTLED_AFTER = timedelta(seconds=5)  # a shadow is given up before
_BLOCK = bytes(1 << 20)

type _Position = list[int]  # segment and offset


def await_drain(work: Work) -> None:
    """Wait until what was answered before the erasure is in the log: what lies in the spools a moment after."""
    if "spool" not in work.progress:
        if Erasure.objects.filter(pk=work.lease.pk, requested_at__gt=Now() - SETTLED_AFTER).exists():
            raise Blocked("shadows to end what was asked before")
        work.progress["spool"] = _ends()
        with work.fenced():
            pass
    marks: dict[str, _Position] = work.progress["spool"]
    ends, cursors = _ends(), _cursors()
    behind = [
        name
        for name, mark in marks.items()
        if name in ends and cursors.get(name, [0, 0]) < min(mark, ends[name])  # a failed write is cut off
    ]
    if behind:
        raise Blocked("the drain of the spool")


def overwrite_drained(work: Work) -> None:
    """Overwrite what the drain has stored of the segments that are still there."""
    cursors, overwritten = _cursors(), 0
    for path in segment_sizes(settings.HOME):
        segment, offset = cursors.get(path.parent.name, [0, 0])
        number = int(path.stem)
        if number == segment:
            overwritten += _overwrite(path, offset)
        elif number < segment:
            remove_segment(path)
    work.count(spool_bytes=overwritten)


def _ends() -> dict[str, _Position]:
    """Give the end of each spool."""
    ends: dict[str, _Position] = {}
    for path, size in segment_sizes(settings.HOME).items():
        ends[path.parent.name] = max(ends.get(path.parent.name, [0, 0]), [int(path.stem), size])
    return ends


def _cursors() -> dict[str, _Position]:
    return {
        name: [segment, offset]
        for name, segment, offset in SpoolCursor.objects.values_list("name", "segment", "offset")
    }


def _overwrite(path: Path, length: int) -> int:
    try:
        handle = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return 0  # its writer began another, and the drain has discarded it
    try:
        for start in range(0, length, len(_BLOCK)):
            os.pwrite(handle, _BLOCK[: length - start], start)
        os.fdatasync(handle)
    finally:
        os.close(handle)
    return length
