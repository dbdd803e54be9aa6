"""Which models' rules have something new to say although nothing arrived: windows close and ripen by time alone."""

from datetime import UTC, datetime, timedelta

from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact

from driftline.common.periods import following
from inference.prediction_log.queries.event_clock import event_nows
from inference.registry.models import Model
from monitors.metrics.models import MetricPoint, PointStatus
from monitors.rules.models import Rule
from monitors.summaries.models import StaleWindow

_LENGTH = Case(When(span="hour", then=Value(timedelta(hours=1))), default=Value(timedelta(days=1)))
_NEVER = Value(datetime(1970, 1, 1, tzinfo=UTC))


def models_to_judge(now: datetime) -> set[int]:
    """List the models with a closed window that a rule has yet to judge, or with labels that have ripened."""
    watched = Rule.objects.filter(enabled=True)
    due = [*_closed_windows(watched, now), *_ripened_windows(watched, now)]
    clocks = event_nows(models=Model.objects.filter(pk__in={pk for pk, _ in due}), now=now)
    return {pk for pk, moment in due if moment <= clocks[pk]}


def _closed_windows(rules: QuerySet[Rule], now: datetime) -> list[tuple[int, datetime]]:
    """Give model and end of each rule's next window, where the wall clock is past it; one that is unripe, or being
    measured, holds the rule up.
    """
    points = MetricPoint.objects.filter(
        model=OuterRef("model"), span=OuterRef("span"), metric=OuterRef("metric"), segment=OuterRef("segment"),
        role="champion", version="",
    )  # fmt: skip
    later = points.filter(  # by their start too, which the index knows
        start__gt=OuterRef("judged_start"), end__gt=OuterRef("judged_end"), end__lte=now
    ).order_by("start")
    judged = Coalesce(F("state__judged_until"), _NEVER)
    rules = rules.annotate(
        judged_end=judged, judged_start=ExpressionWrapper(judged - _LENGTH, output_field=DateTimeField())
    ).annotate(
        next_start=Case(
            When(feature="*", then=Subquery(later.values("start")[:1])),
            default=Subquery(later.filter(feature=OuterRef("feature")).values("start")[:1]),
        )
    )
    of_feature = Q(feature=OuterRef("feature")) | Q(Exact(OuterRef("feature"), "*"))
    unripe = points.filter(of_feature, start=OuterRef("next_start"), status=PointStatus.UNRIPE)
    being_measured = StaleWindow.objects.unfinished().filter(
        model=OuterRef("model"), span=OuterRef("span"), start=OuterRef("next_start")
    )
    waiting = rules.filter(~Exists(unripe), ~Exists(being_measured), next_start__isnull=False)
    found = waiting.values_list("model_id", "next_start", "span")
    return [(pk, following(start, span)) for pk, start, span in found]


def _ripened_windows(rules: QuerySet[Rule], now: datetime) -> list[tuple[int, datetime]]:
    """Give model and moment of labels that have ripened by the wall clock."""
    ripened = MetricPoint.objects.filter(
        status=PointStatus.UNRIPE,
        metric="label_coverage",
        detail__ripe_at__lte=now.isoformat(),
        model__in=rules.values("model"),
    )
    found = ripened.values_list("model_id", "detail__ripe_at")
    return [(pk, datetime.fromisoformat(moment)) for pk, moment in found]
