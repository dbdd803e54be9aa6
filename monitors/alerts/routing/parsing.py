"""A routing document becomes a tree; each fault is a sentence with its place."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from driftline.base.errors import FieldFault, Problem
from driftline.base.strict_json import escape_pointer, find_fault, printable
from monitors.alerts.routing.document import (
    DEFAULT,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ROUTES,
    USUAL_INHIBIT_RULES,
    InhibitRuleIn,
    RouteIn,
    RoutingIn,
    TimeIntervalIn,
)
from monitors.alerts.routing.inhibition import InhibitRule
from monitors.alerts.routing.matchers import Matcher
from monitors.alerts.routing.time_intervals import MINUTES_OF_DAY, TimeInterval
from monitors.alerts.routing.tree import AlertRoute, RoutingTree

LABELS = ("model", "owner", "tags", "kind", "metric", "feature", "segment", "rule", "severity")
"""What `group_by` may name."""
UNGROUPED = (["incident"], ["..."])
"""What `group_by` says where each incident has messages of its own."""
MIN_REPEAT = timedelta(minutes=5)
MIN_ESCALATION = timedelta(minutes=1)
MAX_LENGTH = timedelta(days=366)
MAX_FAULTS = 20
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_LENGTH = re.compile(r"(?:(\d{1,4})w)?(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")
_CLOCK = re.compile(r"(\d{2}):(\d{2})-(\d{2}):(\d{2})")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
_PARTS: dict[str, type[Any]] = {
    "time_intervals": TimeIntervalIn, "inhibit_rules": InhibitRuleIn, "route": RouteIn, "routes": RouteIn,
}  # fmt: skip

_SHAPES = {
    "model_type": "write keys with their values here, such as channels: [Team mail]",
    "list_type": "write a list here, such as [one, another]",
    "string_type": "write a text here, in quotes where it looks like something else",
    "bool_type": "write true or false",
}
"""What to write where a value has another shape, by pydantic's names of errors."""


def parse_document(value: Any, *, channels: Collection[str] | None = None) -> tuple[RoutingIn, RoutingTree]:
    """Read a routing document of plain values, and the tree that it means.

    `channels` are the names that it may use; None allows any. Raises a 422 `Problem` with a sentence for each fault.
    """
    document = _shaped(value)
    return document, tree_of_document(document, channels=channels)


def tree_of_document(document: RoutingIn, *, channels: Collection[str] | None = None) -> RoutingTree:
    """Return the tree that a document of the right shape means; see `parse_document`."""
    if len(json.dumps(document.plain()).encode()) > MAX_BYTES:
        raise _refused(
            [("", f"The tree is longer than {MAX_BYTES:,} bytes as JSON; join some of its routes.")]
        )
    reader = _Reader(channels)
    tree = reader.read(document)
    if reader.faults:
        raise _refused(reader.faults)
    return tree


def default_document() -> RoutingIn:
    """Return the document of a project that has none of its own."""
    return RoutingIn.model_validate(DEFAULT)


def parse_length(text: str) -> timedelta:
    """Read a length of time such as `1h30m`. Raises ValueError with a sentence."""
    parts = _LENGTH.fullmatch(text)
    if text in ("", "0") or parts is None or not text:
        if text == "0":
            return timedelta()
        raise ValueError(f"'{printable(text)}' is no length of time; write it as 30s, 5m, 4h or 1d12h")
    seconds = sum(int(part or 0) * unit for part, unit in zip(parts.groups(), _UNITS.values(), strict=True))
    if seconds > MAX_LENGTH.total_seconds():
        raise ValueError(f"'{printable(text)}' is longer than {MAX_LENGTH.days} days")
    return timedelta(seconds=seconds)


def write_length(length: timedelta) -> str:
    """Write a length of time as `parse_length` reads it."""
    rest, parts = int(length.total_seconds()), []
    for unit, seconds in _UNITS.items():
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


# -- the shape ---------------------------------------------------------------------------------------------------------
def _shaped(value: Any) -> RoutingIn:
    if fault := find_fault(value):
        raise _refused([(fault.pointer, fault.detail)])
    try:
        return RoutingIn.model_validate(value)
    except ValidationError as error:
        raise _refused([_fault_of_shape(one) for one in error.errors()]) from error
    except RecursionError as error:
        raise _refused([("", f"The tree nests deeper than {MAX_DEPTH} routes; make it flatter.")]) from error


def _fault_of_shape(error: Any) -> tuple[str, str]:
    place = [str(part) for part in error["loc"]]
    pointer = "".join(f"/{escape_pointer(part)}" for part in place)
    name = printable(place[-1]) if place else "the tree"
    if sentence := _SHAPES.get(error["type"]):
        return pointer, f"{name}: {sentence}."
    message = str(error["msg"])[:200]
    if error["type"] == "extra_forbidden":
        return pointer, f"'{name}' is not known here; use one of {', '.join(_keys_at(place))}."
    if error["type"] == "missing":
        return pointer, f"'{name}' is missing."
    return pointer, f"{name}: {message[:1].lower()}{message[1:]}."


def _keys_at(place: Sequence[str]) -> list[str]:
    """List the keys that the part of a place has."""
    known = [part for part in place[:-1] if part in _PARTS]
    part = _PARTS[known[-1]] if known else RoutingIn
    return [one.alias or name for name, one in part.model_fields.items()]


def _refused(faults: Sequence[tuple[str, str]]) -> Problem:
    listed = [FieldFault(pointer, "invalid_routing", detail) for pointer, detail in faults[:MAX_FAULTS]]
    return Problem(422, "invalid_routing", listed[0].detail, listed)


# -- the meaning -------------------------------------------------------------------------------------------------------
_BEFORE_ROOT = AlertRoute(
    path=(), matchers=(), continues=False, channels=None, group_by=None, group_wait=timedelta(seconds=30),
    group_interval=timedelta(minutes=5), repeat_interval=None, escalate_after=None, escalate_to=(), active=(),
    mute=(), routes=(),
)  # fmt: skip
"""What the root has where it says nothing else."""


@dataclass
class _Reader:
    """Reads a document to its end, and notes each fault as a pointer and a sentence."""

    channels: Collection[str] | None
    faults: list[tuple[str, str]] = field(default_factory=list)
    intervals: dict[str, TimeInterval] = field(default_factory=dict)
    routes: int = 0

    def read(self, document: RoutingIn) -> RoutingTree:
        for place, interval in enumerate(document.time_intervals or ()):
            self._add_interval(interval, f"/time_intervals/{place}")
        written = document.inhibit_rules
        usual = [InhibitRuleIn.model_validate(rule) for rule in USUAL_INHIBIT_RULES]
        rules = [
            self._inhibit_rule(rule, f"/inhibit_rules/{place}")
            for place, rule in enumerate(usual if written is None else written)
        ]
        for name in ("matchers", "continue_", "active_time_intervals", "mute_time_intervals"):
            if getattr(document.route, name):
                key = name.strip("_")
                self._note(
                    f"/route/{key}",
                    f"The first route takes every incident: write '{key}' in a route below it.",
                )
        root = self._route(document.route, _BEFORE_ROOT, (), "/route")
        if self.routes > MAX_ROUTES:
            self._note("/route", f"There are {self.routes} routes; at most {MAX_ROUTES} are allowed.")
        return RoutingTree(root, tuple(rules))

    def _route(self, written: RouteIn, above: AlertRoute, path: tuple[int, ...], place: str) -> AlertRoute:
        self.routes += 1
        if len(path) >= MAX_DEPTH:
            self._note(place, f"Routes nest {MAX_DEPTH} deep at most; make the tree flatter.")
            return above
        route = replace(
            above,
            path=path,
            matchers=self._matchers(written.matchers, f"{place}/matchers"),
            continues=bool(written.continue_),
            channels=self._channels(written.channels, f"{place}/channels", above.channels),
            group_by=self._group_by(written.group_by, f"{place}/group_by", above.group_by),
            escalate_to=self._channels(written.escalate_to, f"{place}/escalate_to", above.escalate_to) or (),
            active=self._intervals(written.active_time_intervals, f"{place}/active_time_intervals"),
            mute=self._intervals(written.mute_time_intervals, f"{place}/mute_time_intervals"),
            routes=(),
            group_wait=self._length(written.group_wait, f"{place}/group_wait", above.group_wait),
            group_interval=self._length(
                written.group_interval, f"{place}/group_interval", above.group_interval
            ),
            repeat_interval=self._length(
                written.repeat_interval, f"{place}/repeat_interval", above.repeat_interval
            ),
            escalate_after=self._length(
                written.escalate_after, f"{place}/escalate_after", above.escalate_after
            ),
        )
        self._check(written, route, place)
        below = tuple(
            self._route(one, route, (*path, number), f"{place}/routes/{number - 1}")
            for number, one in enumerate(written.routes or (), start=1)
        )
        return replace(route, routes=below)

    def _check(self, written: RouteIn, route: AlertRoute, place: str) -> None:
        """Note what contradicts itself in a route."""
        repeat, between = route.repeat_interval, route.group_interval
        is_new = written.repeat_interval is not None or written.group_interval is not None
        if is_new and repeat is not None and repeat < max(MIN_REPEAT, between):
            least = max(MIN_REPEAT, between)
            what = "group_interval" if least == between else "shortest interval"
            self._note(
                f"{place}/repeat_interval",
                f"repeat_interval is {write_length(repeat)}, below the {what} of {write_length(least)}; "
                "make it as long, or longer.",
            )
        if written.escalate_after is None and written.escalate_to is None:
            return
        if route.escalate_after is not None and route.escalate_after < MIN_ESCALATION:
            self._note(
                f"{place}/escalate_after",
                f"escalate_after is {write_length(route.escalate_after)}; leave at least "
                f"{write_length(MIN_ESCALATION)} to acknowledge.",
            )
        if (route.escalate_after is None) != (not route.escalate_to):
            missing = "escalate_after" if route.escalate_after is None else "escalate_to"
            self._note(
                place, f"{missing} is missing: say after how long, and to which channels, a route escalates."
            )

    def _matchers(self, written: Sequence[str] | None, place: str) -> tuple[Matcher, ...]:
        return tuple(self._each(written or (), place, Matcher.parse))

    def _group_by(
        self, written: Sequence[str] | None, place: str, above: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        if written is None:
            return above
        if list(written) in UNGROUPED:
            return None
        return tuple(dict.fromkeys(self._each(written, place, _label_to_group_by)))

    def _channels(
        self, written: Sequence[str] | None, place: str, above: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        if written is None:
            return above
        return tuple(dict.fromkeys(self._each(written, place, self._channel)))

    def _channel(self, name: str) -> str:
        if self.channels is not None and name not in self.channels:
            known = ", ".join(sorted(self.channels)[:10])
            raise ValueError(
                f"this project has no channel '{printable(name)}'"
                + (f"; it has {known}" if known else "; add one in Settings, Channels")
            )
        return name

    def _intervals(self, written: Sequence[str] | None, place: str) -> tuple[TimeInterval, ...]:
        return tuple(self._each(written or (), place, self._named_interval))

    def _named_interval(self, name: str) -> TimeInterval:
        if name not in self.intervals:
            known = ", ".join(self.intervals) or "none"
            raise ValueError(f"there is no time interval '{printable(name)}' in time_intervals: {known}")
        return self.intervals[name]

    def _length[Length: timedelta | None](
        self, written: str | None, place: str, above: Length
    ) -> Length | timedelta:
        if written is None:
            return above
        return next(iter(self._each([written], place, parse_length, is_list=False)), above)

    def _add_interval(self, written: TimeIntervalIn, place: str) -> None:
        if written.name in self.intervals:
            self._note(f"{place}/name", f"There are two time intervals '{printable(written.name)}'.")
        zones = self._each([written.zone or "UTC"], f"{place}/zone", _zone, is_list=False)
        self.intervals[written.name] = TimeInterval(
            name=written.name,
            zone=next(iter(zones), ZoneInfo("UTC")),
            times=tuple(self._each(written.times or (), f"{place}/times", _times)),
            weekdays=frozenset(
                day
                for days in self._each(written.weekdays or (), f"{place}/weekdays", _weekdays)
                for day in days
            ),
            days_of_month=tuple(
                self._each(written.days_of_month or (), f"{place}/days_of_month", _days_of_month)
            ),
            months=frozenset(
                one
                for months in self._each(written.months or (), f"{place}/months", _months)
                for one in months
            ),
            dates=frozenset(self._each(written.dates or (), f"{place}/dates", _date)),
            except_dates=frozenset(self._each(written.except_dates or (), f"{place}/except_dates", _date)),
        )

    def _inhibit_rule(self, written: InhibitRuleIn, place: str) -> InhibitRule:
        return InhibitRule(
            source=self._matchers(written.source_matchers, f"{place}/source_matchers"),
            target=self._matchers(written.target_matchers, f"{place}/target_matchers"),
            equal=tuple(written.equal or ()),
        )

    def _each[Read](
        self, texts: Sequence[str], place: str, parse: Callable[[str], Read], *, is_list: bool = True
    ) -> list[Read]:
        """Read each text; those that are faulty are noted and left out."""
        read = []
        for number, text in enumerate(texts):
            try:
                read.append(parse(text))
            except ValueError as error:
                sentence = str(error)
                self._note(
                    f"{place}/{number}" if is_list else place, f"{sentence[:1].upper()}{sentence[1:]}."
                )
        return read

    def _note(self, pointer: str, sentence: str) -> None:
        self.faults.append((pointer, sentence))


def _label_to_group_by(name: str) -> str:
    if name not in LABELS:
        raise ValueError(
            f"'{printable(name)}' is no label that incidents can share; use {', '.join(LABELS)}, or [incident] alone"
        )
    return name


# -- time intervals ----------------------------------------------------------------------------------------------------
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(
            f"'{printable(name)}' is no time zone; use one such as Europe/Berlin or UTC"
        ) from error


def _times(text: str) -> tuple[int, int]:
    parts = _CLOCK.fullmatch(text)
    if parts is None:
        raise ValueError(f"'{printable(text)}' are no hours; write 09:00-17:00")
    from_hour, from_minute, to_hour, to_minute = map(int, parts.groups())
    start, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if max(start, end) > MINUTES_OF_DAY or from_minute > 59 or to_minute > 59:
        raise ValueError(f"'{printable(text)}' is beyond the day, which ends at 24:00")
    if end <= start:
        raise ValueError(
            f"'{printable(text)}' ends before it starts; write two, such as 22:00-24:00 and 00:00-06:00"
        )
    return start, end


def _weekdays(text: str) -> range:
    return _named_range(text, _DAYS, "day of the week", "monday:friday")


def _months(text: str) -> range:
    names = {str(number): name for number, name in enumerate(_MONTHS, start=1)}
    named = ":".join(names.get(part, part) for part in text.split(":"))
    found = _named_range(named, _MONTHS, "month", "june:august")
    return range(found.start + 1, found.stop + 1)


def _named_range(text: str, names: Sequence[str], what: str, example: str) -> range:
    first, _, last = text.lower().partition(":")
    if first not in names or (last or first) not in names:
        raise ValueError(f"'{printable(text)}' is no {what}; write {names[0]}, or {example}")
    start, end = names.index(first), names.index(last or first)
    if end < start:
        raise ValueError(f"'{printable(text)}' ends before it starts; write two entries")
    return range(start, end + 1)


def _days_of_month(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"(-?\d{1,2})(?::(-?\d{1,2}))?", text)
    first, last = (int(part or parts[1]) for part in parts.groups()) if parts else (0, 0)
    if not all(1 <= abs(day) <= 31 for day in (first, last)):
        raise ValueError(f"'{printable(text)}' is no day of the month; write 1, 1:5, or -1 for the last")
    if (first > 0) == (last > 0) and last < first:
        raise ValueError(f"'{printable(text)}' ends before it starts; write two entries")
    return first, last


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"'{printable(text)}' is no date; write 2026-12-24") from error
