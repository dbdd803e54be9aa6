"""How many requests were not answered, how long the others waited, and how many copies shadows dropped."""

from collections import Counter
from collections.abc import Mapping, Sequence

from driftline.base.periods import Period
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.serving.counts.metrics import ANSWERED, DROPPED, WAIT_SECONDS
from monitors.definitions.models import MonitorKind
from monitors.metrics.context import MeasuredWindow
from monitors.metrics.store.points import Point, Population, judged_by_rows
from monitors.metrics.traffic.request_log import RequestLog
from monitors.stats.performance.bucket_quantile import bucket_quantile
from monitors.stats.performance.estimate import wilson_interval

MIN_REQUESTS = 20
REQUEST_METRICS = ("error_rate", "queue_p95", "shadow_drop_rate")
_TOTAL = (PredictionRole.CHAMPION.value, "")
_WAIT_LIMITS_MS = [1e3 * limit for limit in WAIT_SECONDS]

type _Points = dict[tuple[str, str], Point]  # by role and version


def measure_requests(measured: MeasuredWindow) -> list[tuple[Population, Point]]:
    """Measure the requests of a window of whole hours, of which there may be no rows.

    Totals are the champion's, across versions: they include the canary's part, as every other total does.
    """
    if MonitorKind.SERVICE not in measured.context.monitors:
        return []
    requests, window = measured.requests, measured.window
    return [
        (Population(*asked), point)
        for points in (_errors(requests, window), _drops(requests, window), _waits(requests, window))
        for asked, point in points.items()
    ]


def _errors(requests: RequestLog, window: Period) -> _Points:
    """Measure the share of requests without an answer, by role and version, and of all who asked for no version."""
    counts = requests.outcomes(window)
    total = sum((counts[asked] for asked in counts if asked[0] in ANSWERING_ROLES), Counter[str]())
    if total:
        counts[_TOTAL] = total
    return {asked: _error_rate(outcomes) for asked, outcomes in counts.items()}


def _drops(requests: RequestLog, window: Period) -> _Points:
    """Measure the share of copied rows that shadows dropped, by version, and of them all."""
    counts = requests.copies(window)
    if counts:
        counts[_TOTAL] = sum(counts.values(), Counter[str]())
    return {asked: _drop_rate(outcomes) for asked, outcomes in counts.items()}


def _waits(requests: RequestLog, window: Period) -> _Points:
    """Measure how long answered requests waited for a run, by role and version, and all who asked for no version.

    The bounds are those of the histogram's bucket that holds the percentile.
    """
    waits = requests.waits(window)
    total = [hour for asked in waits if asked[0] in ANSWERING_ROLES for hour in waits[asked]]
    if total:
        waits[_TOTAL] = total
    return {asked: _wait(hours) for asked, hours in waits.items()}


def _drop_rate(outcomes: Mapping[str, int]) -> Point:
    n, dropped = sum(outcomes.values()), outcomes.get(DROPPED, 0)
    lower, upper = wilson_interval(dropped, n)
    status = judged_by_rows(dropped / n, n, MIN_REQUESTS)
    return Point("shadow_drop_rate", dropped / n, n, status, lower=lower, upper=upper)


def _wait(hours: Sequence[Sequence[int]]) -> Point:
    counts = [sum(bucket) for bucket in zip(*hours, strict=True)]
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
