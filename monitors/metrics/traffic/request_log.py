"""What serving processes counted of a model's requests: how they ended, and how long the answered ones waited."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from driftline.base.periods import Period, windows
from inference.prediction_log.models import PredictionRole, RequestCount, RequestWait
from inference.registry.models import Model

type _Asked = tuple[str, str]  # role and version


@dataclass(frozen=True)
class RequestLog:
    """What serving processes counted of a model's requests, by the hour in which they arrived.

    `ended` holds role, version, outcome and requests of each hour, `waited` role, version and how many answered
    requests waited up to each of WAIT_SECONDS. Read once for all the windows that are measured together.
    """

    ended: Mapping[datetime, Sequence[tuple[str, str, str, int]]]
    waited: Mapping[datetime, Sequence[tuple[str, str, list[int]]]]

    @classmethod
    def read(cls, model: Model, window: Period) -> Self:
        """Read the requests that arrived in a window of whole hours."""
        return cls(_read_ended(model, window), _read_waited(model, window))

    def outcomes(self, window: Period) -> dict[_Asked, Counter[str]]:
        """Count how the requests of a window ended, by role and version; the copies of shadows are not among them."""
        return {
            asked: found
            for asked, found in self._outcomes(window).items()
            if asked[0] != PredictionRole.SHADOW
        }

    def copies(self, window: Period) -> dict[_Asked, Counter[str]]:
        """Count how the copies that shadows got in a window ended, by role and version."""
        return {
            asked: found
            for asked, found in self._outcomes(window).items()
            if asked[0] == PredictionRole.SHADOW
        }

    def _outcomes(self, window: Period) -> dict[_Asked, Counter[str]]:
        counts: defaultdict[_Asked, Counter[str]] = defaultdict(Counter)
        for hour in windows(window, "hour") if self.ended else ():
            for role, version, outcome, requests in self.ended.get(hour.start, ()):
                counts[role, version][outcome] += requests
        return dict(sorted(counts.items()))

    def waits(self, window: Period) -> dict[_Asked, list[list[int]]]:
        """List the waits that the hours of a window counted, by role and version."""
        found: defaultdict[_Asked, list[list[int]]] = defaultdict(list)
        for hour in windows(window, "hour") if self.waited else ():
            for role, version, waited in self.waited.get(hour.start, ()):
                found[role, version].append(waited)
        return dict(found)


def request_outcomes(*, model: Model, start: datetime, end: datetime) -> dict[_Asked, Counter[str]]:
    """Count how the requests that arrived in `[start, end)` ended, as `RequestLog.outcomes` does."""
    window = Period(start, end)
    return RequestLog(_read_ended(model, window), {}).outcomes(window)


def _read_ended(model: Model, window: Period) -> dict[datetime, list[tuple[str, str, str, int]]]:
    rows = RequestCount.objects.filter(model=model, hour__gte=window.start, hour__lt=window.end)
    found: defaultdict[datetime, list[tuple[str, str, str, int]]] = defaultdict(list)
    for hour, role, version, outcome, requests in rows.order_by(
        "hour", "role", "version", "outcome"
    ).values_list("hour", "role", "version", "outcome", "requests"):
        found[hour].append((role, version, outcome, requests))
    return found


def _read_waited(model: Model, window: Period) -> dict[datetime, list[tuple[str, str, list[int]]]]:
    rows = RequestWait.objects.filter(model=model, hour__gte=window.start, hour__lt=window.end)
    found: defaultdict[datetime, list[tuple[str, str, list[int]]]] = defaultdict(list)
    for hour, role, version, counts in rows.order_by("hour", "role", "version").values_list(
        "hour", "role", "version", "counts"
    ):
        found[hour].append((role, version, counts))
    return found
