"""Metric points, the monitors that judge them, drift, changes and segments over HTTP."""

from datetime import timedelta
from itertools import batched
from statistics import median
from typing import Any, Literal

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.errors import invalid, not_found
from driftline.base.http import exports
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.paging import PAGE_SIZE, cut_page, page
from driftline.base.http.request_values import period, refuse_parameter, span_refusal
from driftline.base.http.responses import Page, files
from driftline.base.periods import Period, floor, is_span, rfc3339
from driftline.base.strict_json import printable
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.selectors import newest_event
from inference.prediction_log.queries.viewing import record_view
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.definitions.models import Monitor
from monitors.definitions.schemas import MonitorOut
from monitors.metrics import selectors
from monitors.metrics.catalogue import METRICS, nearest_metrics
from monitors.metrics.inputs.fitting import rows_judged, set_span
from monitors.metrics.limits import METRICS_WITH_ONSET, PointJudge
from monitors.metrics.periods import held_period
from monitors.metrics.rows.changed_examples import changed_examples
from monitors.metrics.rows.segment_search import loss_of, request_search
from monitors.metrics.rows.value_losses import value_losses
from monitors.metrics.schemas import (
    ChangedExamplesOut,
    ChangePointOut,
    DriftOut,
    EvidentlyDriftOut,
    LossesOut,
    MetricOut,
    PointOut,
    SegmentSearchOut,
    WindowBounds,
)
from monitors.metrics.store.models import MetricPoint

router = Router(tags=["monitoring"])

MODES = {"calibrated": selectors.drift_rows, "evidently": selectors.evidently_rows}
MAX_POINTS = 10_000
MAX_EXPORT = 500_000
_JUDGED_AT_ONCE = 5_000
_WIDENED = (
    "Summaries of so long ago are kept by the day or the month alone; this is about all of those it touches."
)
_EXPORTED = (
    "start",
    "end",
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
    "is_beyond",
    "rule",
    "since",
    "revision",
)


@router.get("/metrics", auth=Scoped(Scope.READ), response=Page[MetricOut])
def list_metrics(request: HttpRequest) -> Page[MetricOut]:
    """List every metric with its unit, the direction that is worse, and its steps.

    `subject_kind` says what the `feature` of its points names; of `rows` it is empty.
    """
    return Page(items=[MetricOut.of(metric) for metric in METRICS.values()], next=None)


@router.get(
    "/models/{name}/metrics",
    auth=Scoped(Scope.READ),
    response=Page[PointOut],
    openapi_extra=files(exports.CSV, exports.PARQUET),
)
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
) -> Page[PointOut] | HttpResponseBase:
    """Read a metric's points, oldest first; without `feature` those of every feature. Also as CSV and Parquet.

    `subject_kind` says what the `feature` of a point names: a `feature`, a column of the `answer`, a `class`, or a
    `segment_feature` with the groups that are compared; of `rows` as a whole it is empty.
    `threshold` is the limit that speaks: that of the `rule` where one judges this metric, else the calibrated one,
    which `detail` explains. By a rule's limit `status` is its severity or `ok`. By the calibrated one a drift statistic
    beyond it is `not_significant` where its feature does not stand out among all. `since` is the start of the unbroken
    run beyond the limit. A point that is `unripe` still carries its value and n, one that is `insufficient` its n, and
    of other metrics than those of drift and quality its value. `step` is hour, day, week, month, or 2d to 90d: windows
    of so many days, one for each day that ends one; more than 400 of these are given only where a monitor or a rule
    judges them. Of weeks without daily summaries there are the months.
    """
    model = get_model(project=caller_of(request).project, name=name)
    if metric not in METRICS:
        near = nearest_metrics(metric)
        raise refuse_parameter("metric", f"metric is '{printable(metric)}'; use one such as {near}.")
    _check_choice("role", role, tuple(PredictionRole.values))
    _check_step(step)
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
    if not selectors.is_stored(model, metric, step):
        measured = PointJudge(model, looks_back=False).judge(selectors.longer_points(**wanted, step=step))
        if kind == exports.JSON:
            return Page(items=[PointOut.of(point) for point in measured], next=None)
        rows = [{name: getattr(point, name) for name in _EXPORTED} for point in measured]
        return exports.export(rows, _EXPORTED, kind=kind, name=f"{model.name}-{metric}")
    points = selectors.points(**wanted, span=step)
    if kind != exports.JSON:
        points = points if metric in METRICS_WITH_ONSET else points.defer("detail")
        rows = _exported(model, points[:MAX_EXPORT])
        return exports.export(rows, _EXPORTED, kind=kind, name=f"{model.name}-{metric}")
    order = ("start", "feature", "pk")
    shown, following = cut_page(points, by=order, cursor=cursor, limit=limit, most=MAX_POINTS)
    return Page(items=[PointOut.of(point) for point in PointJudge(model).judge(shown)], next=following)


def _exported(model: Model, points: QuerySet[MetricPoint]) -> list[dict[str, Any]]:
    """Judge points and write them as rows, some thousands at a time: all of them would fill the memory."""
    judge = PointJudge(model)
    return [
        {name: getattr(point, name) for name in _EXPORTED}
        for some in batched(points.iterator(), _JUDGED_AT_ONCE)
        for point in judge.judge(some)
    ]


@router.get("/models/{name}/monitors", auth=Scoped(Scope.READ), response=Page[MonitorOut])
def list_monitors(request: HttpRequest, name: str) -> Page[MonitorOut]:
    """List a model's monitors: by which windows each judges, and how many rows these usually have."""
    model = get_model(project=caller_of(request).project, name=name)
    return Page(items=[_monitor(one) for one in model.monitors.order_by("kind")], next=None)


class MonitorChanges(Body):
    span: str = Field(max_length=8, description="auto, hour, day, week, month, or 2d to 90d")


@router.patch("/models/{name}/monitors/{monitor}", auth=Scoped(SCOPE_OF["monitor"]), response=MonitorOut)
def change_monitor(request: HttpRequest, name: str, monitor: str, body: MonitorChanges) -> MonitorOut:
    """Make a monitor judge windows of a span from now on, or with auto those that fit the traffic.

    The stored history is measured by it again, and rules with the span auto follow.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    found = model.monitors.select_related("model__project").filter(kind=monitor).first()
    if found is None:
        raise not_found("monitor")
    set_span(monitor=found, span=body.span, actor=caller.actor)
    found.refresh_from_db()
    return _monitor(found)


def _monitor(monitor: Monitor) -> MonitorOut:
    until = event_now(model=monitor.model, now=now())
    rows = rows_judged(monitor.model, [monitor], until=until)[str(monitor.kind)]
    return MonitorOut.of(monitor, round(median(rows)) if rows else None)


@router.get("/models/{name}/drift", auth=Scoped(Scope.READ), response=DriftOut | EvidentlyDriftOut)
def read_drift(
    request: HttpRequest,
    name: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
    segment: str = "",
    mode: str = "calibrated",
) -> DriftOut | EvidentlyDriftOut:
    """Compare a period with the reference, feature by feature; without one, the newest whole day of the log.

    With `mode=evidently`, by the tests, numbers and lines that Evidently 0.7.23 takes by default. Where the period
    cuts a day (or a month) that is kept without its hours (or days), `window` is widened and `note` says so.
    """
    model = get_model(project=caller_of(request).project, name=name)
    _check_choice("mode", mode, tuple(MODES))
    window = _newest_day(model) if not (start or end) else period(start or "-7d", end or "now", now=now())
    held = held_period(model, window)
    rows = MODES[mode](model=model, start=held.start, end=held.end, segment=segment)
    compared: WindowBounds = {"start": held.start, "end": held.end}
    answer = EvidentlyDriftOut if mode == "evidently" else DriftOut
    return answer(**rows | {"window": compared, "note": _WIDENED if held != window else "", "next": None})


@router.get("/models/{name}/change-points", auth=Scoped(Scope.READ), response=Page[ChangePointOut])
def read_change_points(
    request: HttpRequest,
    name: str,
    role: str = "champion",
    version: str = "",
    start: str = Query("-90d", alias="from"),
    end: str = Query("now", alias="to"),
    cursor: str = "",
    limit: int = 100,
) -> Page[ChangePointOut]:
    """List where the error of a model's versions changed, the newest first; `n_before` and `n_after` count windows.

    `at` is the start of the first window after a change, and `noticed_at` the end of the one that showed it.
    """
    model = get_model(project=caller_of(request).project, name=name)
    _check_choice("role", role, tuple(PredictionRole.values))
    window = period(start, end, now=now())
    found = selectors.change_points(
        model=model, start=window.start, end=window.end, role=role, version=version
    )
    return page(found, ChangePointOut.of, by=("-at", "-pk"), cursor=cursor, limit=limit)


@router.get("/models/{name}/losses", auth=Scoped(Scope.READ), response=LossesOut)
def read_losses(
    request: HttpRequest,
    name: str,
    feature: str,
    loss: str = "",
    start: str = Query("-1d", alias="from"),
    end: str = Query("now", alias="to"),
) -> LossesOut:
    """Return what labelled rows of a period lost by the values of a feature, with intervals at 95 %.

    `loss` is log_loss, wrong_share or brier of classes, mae or mse of numbers; the first of them unless it is sent. Of
    a period of more than ten thousand rows about so many are read.
    """
    model = get_model(project=caller_of(request).project, name=name)
    window = period(start, end, now=now())
    found = value_losses(model=model, feature=feature, window=window, loss=loss)
    return LossesOut.of(found, feature, window)


@router.get("/models/{name}/changed-examples", auth=Scoped(Scope.READ), response=ChangedExamplesOut)
def read_changed_examples(
    request: HttpRequest,
    name: str,
    feature: str,
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
) -> ChangedExamplesOut:
    """Find predictions of a period of which a vector is unlike the reference, each with the nearest rows of that.

    Without a period it is the newest whole day of the log. Of each side up to two thousand rows are compared, by what
    is kept of the vector. Leaves an audit row.
    """
    model = get_model(project=caller_of(request).project, name=name)
    window = _newest_day(model) if not (start or end) else period(start or "-7d", end or "now", now=now())
    found = changed_examples(model=model, feature=feature, window=window)
    given = {"from": rfc3339(window.start), "to": rfc3339(window.end)}
    record_view(model=model, given=given, rows=len(found.items), actor=caller_of(request).actor)
    return ChangedExamplesOut.of(found, feature, window)


class NewSegmentSearch(Body):
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    by: Literal["performance", "drift"] = "performance"
    loss: str = Field("", max_length=64, description="of performance alone")


@router.post(
    "/models/{name}/segment-searches",
    auth=Scoped(SCOPE_OF["segment_search"]),
    response={202: SegmentSearchOut},
)
def create_segment_search(
    request: HttpRequest, name: str, body: NewSegmentSearch
) -> Status[SegmentSearchOut]:
    """Ask a worker to search a period for segments with degraded performance, or by drift for over-represented ones.

    `loss` is log_loss, wrong_share or brier of classes, mae or mse of numbers; the first of them unless it is sent.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    window = Period(body.start, body.end)
    search = request_search(model=model, window=window, loss=_loss(model, body), actor=caller.actor)
    return Status(202, SegmentSearchOut.of(search))


def _loss(model: Model, body: NewSegmentSearch) -> str:
    """Return what is searched by: nothing is by drift."""
    if body.by == "drift":
        if body.loss:
            raise invalid("/loss", "A search by drift has no loss; leave it out.")
        return ""
    return loss_of(model, body.loss)


@router.get("/models/{name}/segment-searches", auth=Scoped(Scope.READ), response=Page[SegmentSearchOut])
def list_segment_searches(
    request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[SegmentSearchOut]:
    """List a model's searches with what they found, the newest first; those of rules that fired are among them."""
    model = get_model(project=caller_of(request).project, name=name)
    searches = model.segment_searches.select_related("model")
    return page(searches, SegmentSearchOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get(
    "/models/{name}/segment-searches/{int:search_id}", auth=Scoped(Scope.READ), response=SegmentSearchOut
)
def read_segment_search(request: HttpRequest, name: str, search_id: int) -> SegmentSearchOut:
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
    return SegmentSearchOut.of(search)


def _newest_day(model: Model) -> Period:
    end = floor(newest_event(model) or now(), "day")
    return Period(end - timedelta(days=1), end)


def _check_step(step: str) -> None:
    if not is_span(step):
        raise refuse_parameter("step", span_refusal("step", step))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise refuse_parameter(name, f"{name} is '{printable(value)}'; use one of {', '.join(choices)}.")
