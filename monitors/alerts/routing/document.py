"""The routing tree as people write it: the shape of its YAML and JSON, and the tree of a project that has none."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MAX_BYTES = 10_000
MAX_ROUTES = 100
MAX_DEPTH = 6
MAX_ENTRIES = 30
"""Matchers, channels or intervals in one list."""


class _Part(BaseModel):
    """A part of the document, which has exactly the keys that are named."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RouteIn(_Part):
    """A route. What it leaves out, apart from matchers, `continue` and intervals, is as in the route above it."""

    matchers: list[str] | None = Field(
        None, max_length=MAX_ENTRIES, description='such as `severity="critical"`; all must match'
    )
    channels: list[str] | None = Field(
        None, max_length=MAX_ENTRIES, description="names of channels; nowhere any: every channel"
    )
    continue_: bool | None = Field(
        None, alias="continue", description="whether routes after it are tried too"
    )
    group_by: list[str] | None = Field(
        None,
        max_length=MAX_ENTRIES,
        description="labels that incidents of one message share; `[incident]`: each has its own, `[]`: all in one",
    )
    group_wait: str | None = Field(None, max_length=20, description="before the first message, such as `30s`")
    group_interval: str | None = Field(None, max_length=20, description="at least, between changes")
    repeat_interval: str | None = Field(
        None, max_length=20, description="between reminders, until somebody acknowledges"
    )
    escalate_after: str | None = Field(
        None, max_length=20, description="after the first message, where nobody acknowledged"
    )
    escalate_to: list[str] | None = Field(None, max_length=MAX_ENTRIES, description="names of channels")
    active_time_intervals: list[str] | None = Field(None, max_length=MAX_ENTRIES)
    mute_time_intervals: list[str] | None = Field(None, max_length=MAX_ENTRIES)
    routes: list["RouteIn"] | None = Field(None, max_length=MAX_ROUTES)


class TimeIntervalIn(_Part):
    """A named set of hours and days; a field that is left out sets no condition."""

    name: str = Field(min_length=1, max_length=100)
    zone: str | None = Field(None, max_length=60, description="such as `Europe/Berlin`; else UTC")
    times: list[str] | None = Field(None, max_length=MAX_ENTRIES, description="such as `09:00-17:00`")
    weekdays: list[str] | None = Field(None, max_length=7, description="such as `monday:friday`")
    days_of_month: list[str] | None = Field(
        None, max_length=MAX_ENTRIES, description="such as `1:5`; `-1` is the last"
    )
    months: list[str] | None = Field(None, max_length=12, description="such as `12`, or `june:august`")
    dates: list[str] | None = Field(None, max_length=366, description="such as `2026-12-24`: on these alone")
    except_dates: list[str] | None = Field(None, max_length=366, description="holidays, on which it is not")


class InhibitRuleIn(_Part):
    """What meets the target is not notified while something that fires meets the source, with these labels equal."""

    source_matchers: list[str] = Field(min_length=1, max_length=MAX_ENTRIES)
    target_matchers: list[str] = Field(min_length=1, max_length=MAX_ENTRIES)
    equal: list[str] | None = Field(None, max_length=MAX_ENTRIES)


class RoutingIn(_Part):
    """A routing tree. Without `inhibit_rules` the usual ones hold; an empty list is none."""

    route: RouteIn
    time_intervals: list[TimeIntervalIn] | None = Field(None, max_length=MAX_ENTRIES)
    inhibit_rules: list[InhibitRuleIn] | None = Field(None, max_length=MAX_ENTRIES)

    def plain(self) -> dict[str, Any]:
        """Return what was written, as JSON holds it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


USUAL_INHIBIT_RULES: list[dict[str, Any]] = [
    {  # what is broken in a feature explains that it drifts
        "source_matchers": ['kind="quality"', 'feature!=""'],
        "target_matchers": ['kind="drift"'],
        "equal": ["model", "feature"],
    },
    {  # without predictions there are neither labels nor a performance to speak of
        "source_matchers": ['metric=~"volume_ratio|freshness|count|throughput|silence"'],
        "target_matchers": ['kind="performance"'],
        "equal": ["model", "segment"],
    },
    {  # a model that is worse is repaired, whatever drifted a little
        "source_matchers": ['kind="performance"', 'severity=~"warning|critical"'],
        "target_matchers": ['kind="drift"', 'severity="notice"'],
        "equal": ["model"],
    },
]

DEFAULT: dict[str, Any] = {
    "route": {
        "group_wait": "0s",
        "group_interval": "0s",
        "routes": [{"matchers": ['severity="critical"'], "repeat_interval": "1d"}],
    },
    "inhibit_rules": USUAL_INHIBIT_RULES,
}
"""Every channel hears at once of what it takes, and once a day of what is critical until somebody acknowledges it."""
