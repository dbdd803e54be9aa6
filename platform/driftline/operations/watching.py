"""Whether models are watched at all: what each lacks for that, and whether anything of it was judged lately."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from django.db.models import Case, Exists, OuterRef, QuerySet, Subquery, When

from driftline.base.periods import counted, earlier, floor, named, window
from inference.prediction_log.models import PredictionRole
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind, Reference
from monitors.metrics.inputs.fitting import rows_judged
from monitors.metrics.references.loaded import reference_in_use
from monitors.metrics.store.models import MEASURED, MetricPoint, PointStatus
from monitors.rules.models import Rule

NOT_MONITORED, LEARNING, OK = "not_monitored", "learning", "ok"
_HEADLINES = {
    MonitorKind.DRIFT: ("drifted_features",),
    MonitorKind.QUALITY: ("faulty_features",),
    MonitorKind.PERFORMANCE: ("accuracy", "mae", "ndcg"),
}
"""A metric of each kind, or of each task, that is judged wherever the others are."""


@dataclass(frozen=True)
class Watch:
    """How a model is watched: `not_monitored` where it has no data, or neither a reference nor a rule; `learning` where
    nothing was judged in the last window of any monitor's span; else `ok`. `missing` names what it lacks.
    """

    status: str
    missing: tuple[str, ...] = ()


def watch_of_each(models: QuerySet[Model], newest: Mapping[int, datetime | None]) -> dict[int, Watch]:
    """Return how each of these models is watched, by two queries; `newest` is the newest event of each."""
    of_model = {"model": OuterRef("pk")}
    references = Reference.objects.filter(**of_model).exclude(state=Reference.State.FAILED)
    rules = Rule.objects.filter(**of_model, enabled=True)
    found = models.order_by().values_list("pk", Exists(references), Exists(rules))
    judged = _judged_lately(models, newest)
    return {
        pk: _watch(newest.get(pk) is not None, has_reference, has_rule, pk in judged)
        for pk, has_reference, has_rule in found
    }


def _watch(has_data: bool, has_reference: bool, has_rule: bool, is_judged: bool) -> Watch:
    there = {"data": has_data, "reference": has_reference, "rule": has_rule}
    missing = tuple(name for name, is_there in there.items() if not is_there)
    if not has_data or not (has_reference or has_rule):
        return Watch(NOT_MONITORED, missing)
    return Watch(OK if is_judged else LEARNING, missing)


def _judged_lately(models: QuerySet[Model], newest: Mapping[int, datetime | None]) -> set[int]:
    """List the models of which some monitor judged the last window of its span that ended, or that has its labels."""
    monitors = Monitor.objects.filter(
        model__in=models.order_by().values("pk"), enabled=True, kind__in=_HEADLINES
    )
    judged = monitors.annotate(
        judged=Case(
            *(
                When(kind=kind, then=_newest(_points().filter(metric__in=names, status__in=MEASURED)))
                for kind, names in _HEADLINES.items()
            )
        ),
        ripe=Case(
            When(
                kind=MonitorKind.PERFORMANCE,
                then=_newest(_points().filter(metric="label_coverage", status=PointStatus.OK)),
            )
        ),
    )
    found: set[int] = set()
    for model_id, span, last, ripe in judged.values_list("model_id", "span", "judged", "ripe"):
        event = newest.get(model_id)
        if last is None or event is None:
            continue
        ended = earlier(floor(event, span), span, 1)
        due = ended if ripe is None else min(ended, ripe)
        if last >= due:
            found.add(model_id)
    return found


def _points() -> QuerySet[MetricPoint]:
    return MetricPoint.objects.filter(
        model=OuterRef("model"), span=OuterRef("span"), feature="", segment="", version="",
        role=PredictionRole.CHAMPION,
    )  # fmt: skip


def _newest(points: QuerySet[MetricPoint]) -> Subquery:
    return Subquery(points.order_by("-start").values("start")[:1])


# -- what a model waits for --------------------------------------------------------------------------------------------
def waits_for(model: Model, newest: datetime) -> list[str]:
    """Return, a clause each, what stands in the way of judging a model that is learning."""
    reasons = []
    reference = reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=window(newest, "day")
    )
    if reference is not None and reference.lacks:
        reasons.append(reference.lacks.removesuffix("."))
    monitors = list(model.monitors.filter(enabled=True, kind__in=_HEADLINES).order_by("kind"))
    judged = rows_judged(model, monitors, until=newest)
    for monitor in monitors:
        rows = judged[str(monitor.kind)]
        usual = round(median(rows)) if rows else 0
        if not rows:
            reasons.append(f"{monitor.kind} waits for the first {named(monitor.span)} to end")
        elif usual < monitor.min_rows:
            reasons.append(
                f"{monitor.kind} has {usual:,} of {monitor.min_rows:,} rows in {counted(1, monitor.span)}"
            )
    return reasons or ["the first windows are still being measured, or wait for their labels"]
