"""How many requests were not answered and why, how long the others waited, and how many copies were dropped: from what
serving processes counted."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from driftline.common.periods import Period, windows
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole, RequestCount, RequestWait
from inference.registry.models import Model
from inference.serving.counts.metrics import ANSWERED, DROPPED, WAIT_SECONDS
from monitors.metrics.points import Point, judged_by_rows
from monitors.stats.performance.bucket_quantile import bucket_quantile
from monitors.stats.performance.estimate import wilson_interval

MIN_REQUESTS = 20
REQUEST_METRICS = ("error_rate", "queue_p95", "shadow_drop_rate")
_TOTAL = (PredictionRole.CHAMPION.value, "")
_WAIT_LIMITS_MS = [1e3 * limit for limit in WAIT_SECONDS]


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

    def points(self, window: Period) -> dict[_Asked, list[Point]]:
        """Measure a window of whole hours, by role and version; the champion's without a version are totals."""
        found: defaultdict[_Asked, list[Point]] = defaultdict(list)
        for points in (self._errors(window), self._drops(window), self._waits(window)):
            for population, point in points.items():
                found[population].append(point)
        return dict(found)

    def outcomes(self, window: Period) -> dict[_Asked, Counter[str]]:
        """Count how the requests of a window ended, by role and version; the copies of shadows are not among them."""
        return {
            population: outcomes
            for population, outcomes in self._outcomes(window).items()
            if population[0] != PredictionRole.SHADOW
        }

    def _outcomes(self, window: Period) -> dict[_Asked, Counter[str]]:
        counts: defaultdict[_Asked, Counter[str]] = defaultdict(Counter)
        for hour in windows(window, "hour"):
            for role, version, outcome, requests in self.ended.get(hour.start, ()):
                counts[role, version][outcome] += requests
        return dict(sorted(counts.items()))

    def _errors(self, window: Period) -> dict[_Asked, Point]:
        """Measure the share of requests without an answer, by role and version, and of all who asked for no version.

        That total is the champion's, across versions: it includes the canary's part, as every other total does.
        """
        counts = self.outcomes(window)
        together: Counter[str] = Counter()
        for (role, _), outcomes in counts.items():
            if role in ANSWERING_ROLES:
                together += outcomes
        if together:
            counts[_TOTAL] = together
        return {population: _error_rate(outcomes) for population, outcomes in counts.items()}

    def _drops(self, window: Period) -> dict[_Asked, Point]:
        """Measure the share of copied rows that shadows dropped, by version, and of them all."""
        found = self._outcomes(window)
        counts = {
            population: one for population, one in found.items() if population[0] == PredictionRole.SHADOW
        }
        if counts:
            counts[_TOTAL] = sum(counts.values(), Counter())
        return {population: _drop_rate(outcomes) for population, outcomes in counts.items()}

    def _waits(self, window: Period) -> dict[_Asked, Point]:
        """Measure how long answered requests waited for a run, by role and version, and all who asked for no version.

        The bounds are those of the histogram's bucket that holds the percentile.
        """
        counts: defaultdict[_Asked, list[list[int]]] = defaultdict(list)
        for hour in windows(window, "hour"):
            for role, version, waited in self.waited.get(hour.start, ()):
                counts[role, version].append(waited)
                if role in ANSWERING_ROLES:
                    counts[_TOTAL].append(waited)
        return {
            population: _wait([sum(column) for column in zip(*some, strict=True)])
            for population, some in counts.items()
        }


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


def _drop_rate(outcomes: Mapping[str, int]) -> Point:
    n, dropped = sum(outcomes.values()), outcomes.get(DROPPED, 0)
    lower, upper = wilson_interval(dropped, n)
    return Point(
        "shadow_drop_rate",
        dropped / n,
        n,
        judged_by_rows(dropped / n, n, MIN_REQUESTS),
        lower=lower,
        upper=upper,
    )


def _wait(counts: list[int]) -> Point:
    found = bucket_quantile(_WAIT_LIMITS_MS, counts, 0.95)
    status = judged_by_rows(found.value, found.n, MIN_REQUESTS)
    return Point("queue_p95", found.value, found.n, status, lower=found.lower, upper=found.upper)


def _error_rate(outcomes: Mapping[str, int]) -> Point:
    n = sum(outcomes.values())
    failed = n - outcomes.get(ANSWERED, 0)
    lower, upper = wilson_interval(failed, n)
    faults = {outcome: count for outcome, count in outcomes.items() if outcome != ANSWERED}
    status = judged_by_rows(failed / n, n, MIN_REQUESTS)
    return Point("error_rate", failed / n, n, status, lower=lower, upper=upper, detail=faults)
