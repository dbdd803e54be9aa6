"""Metric points, drift, changes and segments over HTTP."""

from datetime import timedelta
from typing import Any, Literal

import msgspec
from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.accounts.http_auth import Scoped, caller_of
from driftline.accounts.scopes import SCOPE_OF, Scope
from driftline.common import exports
from driftline.common.bodies import Body, Moment
from driftline.common.clock import now
from driftline.common.errors import invalid, not_found
from driftline.common.paging import PAGE_SIZE, page
from driftline.common.periods import STEPS, Period, floor, rfc3339
from driftline.common.request_values import period, refuse_parameter
from driftline.common.strict_json import printable
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.metrics import selectors
from monitors.metrics.catalogue import METRICS, nearest_metrics
from monitors.metrics.models import ChangePoint, MetricPoint, SegmentSearch
from monitors.metrics.periods import held_period
from monitors.metrics.rows.segment_search import findings_of, growth_of, loss_of, request_search
from monitors.metrics.rows.value_losses import value_losses
from monitors.stats.segments.growth import GrownSegment
from monitors.stats.segments.search import FoundSegment

router = Router(tags=["monitoring"])

STORED = ("hour", "day")
MODES = {"calibrated": selectors.drift_rows, "evidently": selectors.evidently_rows}
MAX_POINTS = 10_000
MAX_EXPORT = 500_000
_PLAIN = (
    "metric",
    "feature",
    "segment",
    "role",
    "version",
    "value",
    "n",
    "lower",
    "upper",
    "threshold",
    "status",
    "detail",
    "revision",
)
_PLAIN_OF_A_CHANGE = (
    "detector",
    "error",
    "span",
    "segment",
    "role",
    "version",
    "before",
    "after",
    "n_before",
    "n_after",
)
_WIDENED = (
    "Summaries of so long ago are kept by the day or the month alone; this is about all of those it touches."
)
_EXPORTED = ("start", "end", *(name for name in _PLAIN if name != "detail"))


@router.get("/models/{name}/metrics", auth=Scoped(Scope.READ))
def read_metrics(
    request: HttpRequest,
    name: str,
    metric: str,
    feature: str | None = None,
    segment: str = "",
    role: str = "champion",
    version: str = "",
    start: str = Query("-30d", alias="from"),
    end: str = Query("now", alias="to"),
    step: str = "day",
    cursor: str = "",
    limit: int = 1_000,
) -> Any:
    """Read a metric's points, oldest first; without `feature` those of every feature. Also as CSV and Parquet.

    `subject_kind` says what the `feature` of a point names: a `feature`, a column of the `answer`, a `class`, or a
    `segment_feature`, whose groups are compared; of `rows` as a whole it is empty.
    A point that is `insufficient` or `unripe` still carries its value and n. Of weeks whose daily summaries were
    dropped there are the months.
    """
    model = get_model(project=caller_of(request).project, name=name)
    if metric not in METRICS:
        near = nearest_metrics(metric)
        raise refuse_parameter("metric", f"metric is '{printable(metric)}'; use one such as {near}.")
    _check_choice("role", role, tuple(PredictionRole.values))
    _check_choice("step", step, STEPS)
    window = period(start, end, now=now())
    wanted: dict[str, Any] = {
        "model": model,
        "metric": metric,
        "start": window.start,
        "end": window.end,
        "feature": feature,
        "segment": segment,
        "role": role,
        "version": version,
    }
    kind = exports.preferred(request)
    if step not in STORED:
        measured = selectors.longer_points(**wanted, step=step)
        if kind == exports.JSON:
            return {"items": [describe_point(point) for point in measured], "next": None}
        rows = [{name: getattr(point, name) for name in _EXPORTED} for point in measured]
        return exports.export(rows, _EXPORTED, kind=kind, name=f"{model.name}-{metric}")
    points = selectors.points(**wanted, span=step)
    if kind != exports.JSON:
        rows = list(points.values(*_EXPORTED)[:MAX_EXPORT])
        return exports.export(rows, _EXPORTED, kind=kind, name=f"{model.name}-{metric}")
    order = ("start", "feature", "pk")
    return page(points, describe_point, by=order, cursor=cursor, limit=limit, most=MAX_POINTS)


@router.get("/models/{name}/drift", auth=Scoped(Scope.READ))
def read_drift(
    request: HttpRequest,
    name: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
    segment: str = "",
    mode: str = "calibrated",
) -> Any:
    """Compare a period with the reference, feature by feature; without one, the newest whole day of the log.

    With `mode=evidently`, by the tests, numbers and lines that Evidently 0.7.23 takes by default. Where the period
    cuts a day (or a month) that is kept without its hours (or days), `window` is widened and `note` says so.
    """
    model = get_model(project=caller_of(request).project, name=name)
    _check_choice("mode", mode, tuple(MODES))
    window = _newest_day(model) if not (start or end) else period(start or "-7d", end or "now", now=now())
    held = held_period(model, window)
    rows = MODES[mode](model=model, start=held.start, end=held.end, segment=segment)
    described = {"start": rfc3339(held.start), "end": rfc3339(held.end)}
    return {**rows, "window": described, "note": _WIDENED if held != window else "", "next": None}


@router.get("/models/{name}/change-points", auth=Scoped(Scope.READ))
def read_change_points(
    request: HttpRequest,
    name: str,
    role: str = "champion",
    version: str = "",
    start: str = Query("-90d", alias="from"),
    end: str = Query("now", alias="to"),
    cursor: str = "",
    limit: int = 100,
) -> Any:
    """List where the error of a model's versions changed, the newest first; `n_before` and `n_after` count windows.

    `at` is the start of the first window after a change, and `noticed_at` the end of the one that told.
    """
    model = get_model(project=caller_of(request).project, name=name)
    _check_choice("role", role, tuple(PredictionRole.values))
    window = period(start, end, now=now())
    found = selectors.change_points(
        model=model, start=window.start, end=window.end, role=role, version=version
    )
    return page(found, describe_change, by=("-at", "-pk"), cursor=cursor, limit=limit)


@router.get("/models/{name}/losses", auth=Scoped(Scope.READ))
def read_losses(
    request: HttpRequest,
    name: str,
    feature: str,
    loss: str = "",
    start: str = Query("-1d", alias="from"),
    end: str = Query("now", alias="to"),
) -> Any:
    """Tell what labelled rows of a period lost by the values of a feature, with intervals at 95 %.

    `loss` is log_loss, wrong_share or brier of classes, mae or mse of numbers; the first of them unless it is sent. Of
    a period of more than ten thousand rows about so many are read.
    """
    model = get_model(project=caller_of(request).project, name=name)
    window = period(start, end, now=now())
    found = value_losses(model=model, feature=feature, window=window, loss=loss)
    return {
        "feature": feature,
        "loss": found.loss,
        "start": rfc3339(window.start),
        "end": rfc3339(window.end),
        "n": found.n,
        "mean": found.mean,
        "note": found.reason,
        "items": [{"name": str(one.condition), **msgspec.to_builtins(one)} for one in found.values],
        "next": None,
    }


class NewSegmentSearch(Body):
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    by: Literal["performance", "drift"] = "performance"
    loss: str = Field("", max_length=64, description="of performance alone")


@router.post(
    "/models/{name}/segment-searches", auth=Scoped(SCOPE_OF["segment_search"]), response={202: dict[str, Any]}
)
def create_segment_search(request: HttpRequest, name: str, body: NewSegmentSearch) -> Any:
    """Have a worker search a period for the segments that got worse than the others, or by drift for those that grew.

    `loss` is log_loss, wrong_share or brier of classes, mae or mse of numbers; the first of them unless it is sent.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    window = Period(body.start, body.end)
    search = request_search(model=model, window=window, loss=_loss(model, body), actor=caller.actor)
    return Status(202, describe_search(search))


def _loss(model: Model, body: NewSegmentSearch) -> str:
    """Give what is searched by: nothing is by drift."""
    if body.by == "drift":
        if body.loss:
            raise invalid("/loss", "A search by drift has no loss; leave it out.")
        return ""
    return loss_of(model, body.loss)


@router.get("/models/{name}/segment-searches", auth=Scoped(Scope.READ))
def list_segment_searches(request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE) -> Any:
    """List a model's searches with what they found, the newest first; those of rules that fired are among them."""
    model = get_model(project=caller_of(request).project, name=name)
    searches = model.segment_searches.select_related("model")
    return page(searches, describe_search, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/segment-searches/{int:search_id}", auth=Scoped(Scope.READ))
def read_segment_search(request: HttpRequest, name: str, search_id: int) -> Any:
    """Read what a search found, the most harmful segment first.

    A segment's `excess` is its mean loss `inside` less that `outside` and less the `usual` difference in the four
    weeks before. `lower` and `upper` hold at 95 % for all that is found, `p_value` is adjusted for all that was tried,
    and `harm` is by how much the excess raises the mean of the whole period (`share`: of its rise).

    By drift its `share` is its part of the period's rows, `usual` its part of the rows `compared_with`, and `excess`
    the difference, which is also its harm.
    """
    model = get_model(project=caller_of(request).project, name=name)
    search = model.segment_searches.filter(pk=search_id).first()
    if search is None:
        raise not_found("segment search")
    return describe_search(search)


def describe_search(search: SegmentSearch) -> dict[str, Any]:
    """Write a search as the API gives it."""
    findings, growth = findings_of(search), growth_of(search)
    items = findings.found.found if findings else growth.found.found if growth else ()
    found = findings or growth
    return {
        "id": search.pk,
        "state": search.state,
        "error": search.error or None,
        "from": rfc3339(search.start),
        "to": rfc3339(search.end),
        "by": "performance" if search.loss else "drift",
        "loss": search.loss or None,
        "n": found.found.n if found else None,
        "n_before": findings.n_before if findings else None,
        "n_usual": growth.n_usual if growth else None,
        "compared_with": growth.usual if growth else None,
        "mean": findings.found.mean if findings else None,
        "mean_before": findings.found.usual_mean if findings else None,
        "tried": found.found.tried if found else None,
        "items": [_segment(one) for one in items],
        "requested_at": rfc3339(search.requested_at),
        "requested_by": search.requested_by,
    }


def _segment(one: FoundSegment | GrownSegment) -> dict[str, Any]:
    """Write a found segment; `segment` names it as other routes take it, where it is one value of one feature."""
    first = one.conditions[0]
    is_value = len(one.conditions) == 1 and first.value is not None
    described = {"name": one.name, "segment": f"{first.feature}:{first.value}" if is_value else None}
    return described | msgspec.to_builtins(one)


def describe_change(change: ChangePoint) -> dict[str, Any]:
    """Write a change as the API gives it."""
    times = {"at": rfc3339(change.at), "noticed_at": rfc3339(change.noticed_at)}
    return times | {name: getattr(change, name) for name in _PLAIN_OF_A_CHANGE}


def describe_point(point: MetricPoint) -> dict[str, Any]:
    """Write a point as the API gives it."""
    times = {"start": rfc3339(point.start), "end": rfc3339(point.end)}
    return times | {name: getattr(point, name) for name in _PLAIN} | {"subject_kind": point.subject_kind}


def _newest_day(model: Model) -> Period:
    end = floor(newest_event(model) or now(), "day")
    return Period(end - timedelta(days=1), end)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise refuse_parameter(name, f"{name} is '{printable(value)}'; use one of {', '.join(choices)}.")
