"""When the next message about an incident is due to a channel."""

from dataclasses import dataclass
from datetime import datetime

from monitors.alerts.routing.tree import AlertRoute


@dataclass(frozen=True)
class ChannelState:
    """What a channel has heard of an incident: when last, and since when the opening or a change waits for it."""

    notified_at: datetime | None
    opening_since: datetime | None = None
    change_since: datetime | None = None


def next_due(state: ChannelState, route: AlertRoute, *, is_acknowledged: bool) -> datetime | None:
    """Return when the next message is due; None where none comes by time alone.

    An opening waits `group_wait`, so that what joins it meanwhile is in the same message; a change waits until
    `group_interval` after the last message; a reminder comes `repeat_interval` after it, until somebody acknowledges.
    """
    if state.opening_since is not None:
        return state.opening_since + route.group_wait
    if state.notified_at is None:
        return None
    if state.change_since is not None:
        return max(state.change_since, state.notified_at + route.group_interval)
    if route.repeat_interval is None or is_acknowledged:
        return None
    return state.notified_at + route.repeat_interval
