"""How many requests were not answered and why, how long the others waited, and how many copies were dropped: from what
serving processes counted."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime

from django.db.models import QuerySet, Sum

from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole, RequestCount, RequestWait
from inference.registry.models import Model
from inference.serving.metrics import ANSWERED, DROPPED, WAIT_SECONDS
from monitors.metrics.points import Point, judged_by_rows
from monitors.stats.bucket_quantile import bucket_quantile
from monitors.stats.estimate import wilson_interval

FEWEST_REQUESTS = 20
REQUEST_METRICS = ("error_rate", "queue_p95", "shadow_drop_rate")
_WAIT_LIMITS_MS = [1e3 * limit for limit in WAIT_SECONDS]


def error_points(*, model: Model, start: datetime, end: datetime) -> dict[tuple[str, str], Point]:
    """Measure the share of requests without an answer, by role and version, and of all who asked for no version.

    That total is the champion's, across versions: it includes the canary's part, as every other total does.
    """
    counts = request_outcomes(model=model, start=start, end=end)
    together: Counter[str] = Counter()
    for (role, _), outcomes in counts.items():
        if role in ANSWERING_ROLES:
            together += outcomes
    if together:
        counts[PredictionRole.CHAMPION.value, ""] = together
    return {whose: _error_rate(outcomes) for whose, outcomes in counts.items()}


def drop_points(*, model: Model, start: datetime, end: datetime) -> dict[tuple[str, str], Point]:
    """Measure the share of copied rows that shadows dropped, by version; the champion's total is that of them all."""
    counts = _outcomes(_counted(model, start, end).filter(role=PredictionRole.SHADOW))
    if counts:
        counts[PredictionRole.CHAMPION.value, ""] = sum(counts.values(), Counter())
    return {whose: _drop_rate(outcomes) for whose, outcomes in counts.items()}


def wait_points(*, model: Model, start: datetime, end: datetime) -> dict[tuple[str, str], Point]:
    """Measure how long answered requests waited for a run, by role and version, and all who asked for no version.

    The bounds are those of the histogram's bucket that holds the percentile.
    """
    rows = RequestWait.objects.filter(model=model, hour__gte=start, hour__lt=end)
    counts: dict[tuple[str, str], list[list[int]]] = {}
    for role, version, waited in rows.order_by("role", "version").values_list("role", "version", "counts"):
        counts.setdefault((role, version), []).append(waited)
        if role in ANSWERING_ROLES:
            counts.setdefault((PredictionRole.CHAMPION.value, ""), []).append(waited)
    return {
        whose: _wait([sum(column) for column in zip(*some, strict=True)]) for whose, some in counts.items()
    }


def request_outcomes(*, model: Model, start: datetime, end: datetime) -> dict[tuple[str, str], Counter[str]]:
    """Count the requests that arrived in `[start, end)` (whole hours) by role, version and how they ended."""
    return _outcomes(_counted(model, start, end).exclude(role=PredictionRole.SHADOW))


def _counted(model: Model, start: datetime, end: datetime) -> QuerySet[RequestCount]:
    return RequestCount.objects.filter(model=model, hour__gte=start, hour__lt=end)


def _outcomes(rows: QuerySet[RequestCount]) -> dict[tuple[str, str], Counter[str]]:
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for role, version, outcome, requests in (
        rows.values_list("role", "version", "outcome")
        .annotate(total=Sum("requests"))
        .order_by("role", "version")
    ):
        counts[role, version][outcome] += int(requests)
    return dict(counts)


def _drop_rate(outcomes: Mapping[str, int]) -> Point:
    n, dropped = sum(outcomes.values()), outcomes.get(DROPPED, 0)
    lower, upper = wilson_interval(dropped, n)
    return Point(
        "shadow_drop_rate",
        dropped / n,
        n,
        judged_by_rows(dropped / n, n, FEWEST_REQUESTS),
        lower=lower,
        upper=upper,
    )


def _wait(counts: list[int]) -> Point:
    found = bucket_quantile(_WAIT_LIMITS_MS, counts, 0.95)
    status = judged_by_rows(found.value, found.n, FEWEST_REQUESTS)
    return Point("queue_p95", found.value, found.n, status, lower=found.lower, upper=found.upper)


def _error_rate(outcomes: Mapping[str, int]) -> Point:
    n = sum(outcomes.values())
    failed = n - outcomes.get(ANSWERED, 0)
    lower, upper = wilson_interval(failed, n)
    faults = {outcome: count for outcome, count in outcomes.items() if outcome != ANSWERED}
    status = judged_by_rows(failed / n, n, FEWEST_REQUESTS)
    return Point("error_rate", failed / n, n, status, lower=lower, upper=upper, detail=faults)
