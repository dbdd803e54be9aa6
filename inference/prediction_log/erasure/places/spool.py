"""Waits until the drain has stored what was spooled before the erasure, and overwrites it on the disk.

A segment is unlinked once its writer has begun another; one that is still written to keeps what was drained. Those
bytes are overwritten with zeros: the writer only appends, and the drain reads on from its cursor.
"""

import logging
import os
import threading
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections

from driftline.base.clock import now
from inference.prediction_log.erasure.hooks import HostSpools, list_host_spools
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.work import Blocked, Work
from inference.prediction_log.models import SpoolCursor
from inference.prediction_log.spool.segments import remove_segment, segment_sizes, spool_ends

log = logging.getLogger(__name__)

SETTLED_AFTER = timedelta(seconds=5)  # a shadow is given up before
HOST_SETTLED_AFTER = SETTLED_AFTER + timedelta(seconds=15)  # what a host says may be on its way for ten
OVERWRITE_SECONDS = 60.0
"""On a serving host, between two looks whether an erasure has ended."""
_BLOCK = bytes(1 << 20)

type _Position = list[int]  # segment and offset


def await_drain(work: Work) -> None:
    """Wait until what was answered before the erasure is in the log: what lies in the spools a moment after."""
    hosts = list_host_spools()
    if "spool" not in work.progress:
        _await_settled(work, hosts)
        work.progress["spool"] = _ends(hosts)
        with work.fenced():
            pass
    marks: dict[str, _Position] = work.progress["spool"]
    ends, cursors = _ends(hosts), _cursors()
    for name, mark in marks.items():
        if name in ends and cursors.get(name, [0, 0]) < min(mark, ends[name]):  # a failed write is cut off
            raise Blocked(_describe_drain(name, hosts))


def _describe_drain(name: str, hosts: list[HostSpools]) -> str:
    host = next((host.host for host in hosts if name in host.ends), None)
    if host is None:
        return "the drain of the spool"
    return f"the drain of serving host {host}: start it, or revoke it if it will not come back"


def _await_settled(work: Work, hosts: list[HostSpools]) -> None:
    """Wait until nothing that was answered before is still on its way to a spool, here or on a serving host."""
    requested_at = Erasure.objects.values_list("requested_at", flat=True).get(pk=work.lease.pk)
    if now() < requested_at + SETTLED_AFTER:
        raise Blocked("shadows to end what was asked before")
    for host in hosts:
        if host.last_seen_at is None or host.last_seen_at < requested_at + HOST_SETTLED_AFTER:
            raise Blocked(f"word from serving host {host.host}; if it will not come back, revoke it")


def _ends(hosts: list[HostSpools]) -> dict[str, _Position]:
    """Return the end of each spool, here and on serving hosts."""
    ends = {name: list(end) for name, end in spool_ends(settings.HOME).items()}
    for host in hosts:
        ends |= host.ends
    return ends


def overwrite_drained(work: Work) -> None:
    """Overwrite what the drain has stored of the segments that are still there."""
    work.count(spool_bytes=overwrite_spools(settings.HOME))


def overwrite_until(home: Path, stop: threading.Event) -> None:
    """Overwrite what was drained on a serving host after each erasure that ended, until `stop` is set."""
    seen = 0
    while not stop.wait(OVERWRITE_SECONDS):
        try:
            done = Erasure.objects.filter(state=Erasure.State.DONE).count()
            if done != seen:
                overwrite_spools(home)
                seen = done
        except (DatabaseError, InterfaceError, OSError) as error:
            log.warning("what was drained could not be overwritten", extra={"error": str(error)})
            close_old_connections()


def overwrite_spools(home: Path) -> int:
    """Overwrite what was drained of the segments under `home`; returns the bytes."""
    cursors, overwritten = _cursors(), 0
    for path in segment_sizes(home):
        segment, offset = cursors.get(path.parent.name, [0, 0])
        number = int(path.stem)
        if number == segment:
            overwritten += _overwrite(path, offset)
        elif number < segment:
            remove_segment(path)
    return overwritten


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
