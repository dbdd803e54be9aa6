"""The tree of routes: which of them take an incident with given labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitors.alerts.routing.inhibition import InhibitRule
from monitors.alerts.routing.matchers import Matcher, all_match
from monitors.alerts.routing.time_intervals import TimeInterval, is_open, next_open


@dataclass(frozen=True)
class AlertRoute:
    """One node with what it has of its own and from the nodes above it.

    `path` holds its place among the children of each node above, from 1 on; that of the root is empty. `channels` are
    names; None stands for every channel of the project. Incidents with the same labels `group_by` share their messages;
    None: each has its own. Waits of zero send at once; without `repeat_interval` there are no reminders, without
    `escalate_after` nobody else is notified.
    """

    path: tuple[int, ...]
    matchers: tuple[Matcher, ...]
    continues: bool
    channels: tuple[str, ...] | None
    group_by: tuple[str, ...] | None
    group_wait: timedelta
    group_interval: timedelta
    repeat_interval: timedelta | None
    escalate_after: timedelta | None
    escalate_to: tuple[str, ...]
    active: tuple[TimeInterval, ...]
    mute: tuple[TimeInterval, ...]
    routes: tuple["AlertRoute", ...]

    @property
    def title(self) -> str:
        """Name the route: `Default route`, `Route 2.1`."""
        return f"Route {'.'.join(map(str, self.path))}" if self.path else "Default route"

    @property
    def described(self) -> str:
        """Name the route with its matchers: `Route 2: severity="critical"`."""
        conditions = ", ".join(map(str, self.matchers))
        return f"{self.title}: {conditions}" if conditions else self.title

    def is_open(self, moment: datetime) -> bool:
        """Return whether its time intervals let it send."""
        return is_open(moment, active=self.active, mute=self.mute)

    def next_open(self, moment: datetime) -> datetime | None:
        """Return when its time intervals let it send, this moment or later; None where not within a year."""
        return next_open(moment, active=self.active, mute=self.mute)

    def describe_mute(self, moment: datetime) -> str:
        """Return why it does not send at a moment; empty where it does."""
        for interval in self.mute:
            if interval.contains(moment):
                return f"Muted by {interval.name}"
        if self.is_open(moment):
            return ""
        return f"Outside {' and '.join(interval.name for interval in self.active)}"


@dataclass(frozen=True)
class RoutingTree:
    """The root, which takes every incident, and the rules of inhibition."""

    root: AlertRoute
    inhibit_rules: tuple[InhibitRule, ...]

    def resolve(self, labels: Mapping[str, str]) -> list[tuple[AlertRoute, ...]]:
        """Return the routes that take an incident, each with the routes above it, the root first.

        The walk goes into the first route below that matches, and into the ones after it while they `continue`; where
        none below matches, a route takes the incident itself.
        """
        return _walk(self.root, labels)

    def list_routes(self) -> list[AlertRoute]:
        """List all routes, each before those below it."""
        return _listed(self.root)


def _walk(route: AlertRoute, labels: Mapping[str, str]) -> list[tuple[AlertRoute, ...]]:
    chains: list[tuple[AlertRoute, ...]] = []
    for below in route.routes:
        if not all_match(below.matchers, labels):
            continue
        chains += [(route, *chain) for chain in _walk(below, labels)]
        if not below.continues:
            break
    return chains or [(route,)]


def _listed(route: AlertRoute) -> list[AlertRoute]:
    return [route, *(one for below in route.routes for one in _listed(below))]
