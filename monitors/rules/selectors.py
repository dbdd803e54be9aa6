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

from monitors.metrics.models import MetricPoint, PointStatus
from monitors.rules.models import Rule
from monitors.summaries.models import StaleWindow

_LENGTH = Case(When(span="hour", then=Value(timedelta(hours=1))), default=Value(timedelta(days=1)))
_NEVER = Value(datetime(1970, 1, 1, tzinfo=UTC))


def models_to_judge(now: datetime) -> set[int]:
    """List the models with a closed window that a rule has yet to judge, or with labels that have ripened.

    A model whose event clock is behind the wall's may be among them too early, never too late.
    """
    watched = Rule.objects.filter(enabled=True)
    return {*_with_closed_windows(watched, now), *_with_ripened_windows(watched, now)}


def _with_closed_windows(rules: QuerySet[Rule], now: datetime) -> QuerySet[Rule, int]:
    """Select the models of rules whose next window is closed; one that is unripe, or being measured, holds it up."""
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
    being_measured = StaleWindow.objects.filter(
        model=OuterRef("model"), span=OuterRef("span"), start=OuterRef("next_start")
    )
    waiting = rules.filter(~Exists(unripe), ~Exists(being_measured), next_start__isnull=False)
    return waiting.values_list("model_id", flat=True)


def _with_ripened_windows(rules: QuerySet[Rule], now: datetime) -> QuerySet[MetricPoint, int]:
    ripened = MetricPoint.objects.filter(
        Q(detail__ripe_at__lte=now.isoformat()),
        status=PointStatus.UNRIPE,
        metric="label_coverage",
        model__in=rules.values("model"),
    )
    return ripened.values_list("model_id", flat=True)
