"""What later stages provide to erasures."""

from dataclasses import dataclass
from datetime import datetime

from driftline.base.hooks import Hook
from inference.prediction_log.erasure.work import Step


def _no_steps() -> dict[str, Step]:
    return {}


list_later_steps = Hook(_no_steps)
"""Lists what is erased once the log is clean, by the names of the steps; `monitors.erasure` provides it."""


@dataclass(frozen=True)
class HostSpools:
    """How far the spools of a serving host were written when it was last heard of."""

    host: str
    last_seen_at: datetime | None
    ends: dict[str, list[int]]


def _no_hosts() -> list[HostSpools]:
    return []


list_host_spools = Hook(_no_hosts)
"""Lists the spools of serving hosts, which provide it."""
