"""What hosts say of themselves every second: to a row what erasures wait for, to a file what pages and metrics read."""

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.base.errors import Problem
from inference.hosts.models import ServingHost
from inference.serving.status.host_status import AllCounts, ProcessStatus
from inference.serving.status.status import write_host_status

type SpoolEnd = tuple[int, int]
"""A segment's number and the bytes of it."""


class HostStatus(Struct, frozen=True):
    """How a host does; `instance` is that of its home, and `spool_ends` how far each spool is written."""

    instance: str
    generation: int
    failure: str
    spool_ends: dict[str, SpoolEnd]
    processes: list[ProcessStatus]
    counts: AllCounts


def record_status(*, host: ServingHost, status: HostStatus, home: Path, now: datetime) -> None:
    """Keep what a host said.

    Raises Problem (409) where another machine has the same token and was heard of just now: what each has spooled would
    be forgotten whenever the other speaks.
    """
    if host.instance not in ("", status.instance) and not host.is_away(now):
        detail = f"Another machine uses the token of {host.name}; add a serving host for each machine."
        raise Problem(409, "token_in_use", detail)
    ServingHost.objects.filter(pk=host.pk).update(
        instance=status.instance[:64],
        last_seen_at=now,
        generation=status.generation,
        failure=status.failure[:300],
        spool_ends=status.spool_ends,
    )
    processes, counts = msgspec.to_builtins(status.processes), msgspec.to_builtins(status.counts)
    write_host_status(home, host.name, processes, counts)
