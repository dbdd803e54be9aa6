"""Which rules of a model are on, and which models' rules have something new to say although nothing arrived: windows
close and ripen by time alone."""

from collections.abc import Collection
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

from driftline.base.periods import ROLLING_DAYS, STEPS, end_of, longest
from inference.prediction_log.imports.file_ends import have_ended
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint, PackedPoints, PointStatus
from monitors.rules.models import Rule, Severity
from monitors.summaries.models import StaleWindow

_IDENTITY = ("id", "project_id", "model_id", "created_at")
_RANKS = {severity: rank for rank, severity in enumerate(Severity.values)}
_NEVER = Value(datetime(1970, 1, 1, tzinfo=UTC))
_LIMITS = Rule.objects.filter(enabled=True, condition__isnull=True)
_AWAITED = timedelta(hours=1)
"""How long after its end a window of a condition is looked at again by time alone; what is measured later says so."""


def longest_of(column: str) -> Case:
    """Return the length of the longest window of the span that a column holds; of rolling ones, of all of them."""
    return Case(
        *(When(**{column: span}, then=Value(longest(span))) for span in STEPS),
        default=Value(longest(f"{ROLLING_DAYS[-1]}d")),
    )


def rules_on_metric(model: Model, metric: str, name: str) -> list[Rule]:
    """List the rules that watch a custom metric of a model by its name, in the order of theirs; its points are of
    `metric`."""
    may = Rule.objects.filter(Q(metric=metric, feature=name) | Q(condition__isnull=False), model=model)
    return [
        rule
        for rule in may.order_by("name")
        if any((term.metric, term.feature) == (metric, name) for term in rule.terms)
    ]


def enabled_rules(model: Model) -> list[Rule]:
    """List the rules of a model that are on and a limit of one metric, so without a condition; the least severe first
    and the oldest first among equals."""
    return _least_severe_first(_LIMITS.filter(model=model))


def enabled_rules_of(model_ids: Collection[int], metrics: Collection[str]) -> dict[int, list[Rule]]:
    """List the rules over some metrics that are on, by the model's id, as `enabled_rules` does."""
    return _by_model(_LIMITS.filter(model__in=model_ids, metric__in=metrics))


def rules_by_model(model_ids: Collection[int]) -> dict[int, list[Rule]]:
    """List the rules of models that are on, by the model's id, as `enabled_rules` does, without their own ids.

    Rules of several models that are the same in all else are one object, as to make the default rules of a thousand
    models would take longer than to read and to ask them.
    """
    names = [one.attname for one in Rule._meta.concrete_fields if one.attname not in _IDENTITY]
    rows = _LIMITS.filter(model__in=model_ids).order_by("pk").values_list("model_id", *names)
    shared: dict[tuple[object, ...], Rule] = {}
    found: dict[int, list[Rule]] = {}
    for model_id, *values in rows:
        key = tuple(value if value.__hash__ else repr(value) for value in values)
        rule = shared.get(key)
        if rule is None:
            rule = shared[key] = Rule(**dict(zip(names, values, strict=True)))
        found.setdefault(model_id, []).append(rule)
    return {pk: sorted(rules, key=_severity) for pk, rules in found.items()}


def _by_model(rules: QuerySet[Rule]) -> dict[int, list[Rule]]:
    found: dict[int, list[Rule]] = {}
    for rule in _least_severe_first(rules):
        found.setdefault(rule.model_id, []).append(rule)
    return found


def _least_severe_first(rules: QuerySet[Rule]) -> list[Rule]:
    return sorted(rules.order_by("pk"), key=_severity)


def _severity(rule: Rule) -> int:
    return _RANKS[rule.severity]


def models_to_judge(now: datetime) -> set[int]:
    """List the models with a closed window that a rule has yet to judge, or with labels that have ripened."""
    watched = Rule.objects.filter(enabled=True, model__archived_at=None)
    due = [*_closed_windows(watched, now), *_measured_windows(watched, now), *_ripened_windows(watched, now)]
    return {pk for pk, _ in have_ended({one: one for one in due}, now=now)}


def _closed_windows(rules: QuerySet[Rule], now: datetime) -> list[tuple[int, datetime]]:
    """Return model and end of each rule's next window, where the wall clock is past it; one that is unripe, or being
    measured, holds the rule up.
    """
    points = MetricPoint.objects.filter(
        model=OuterRef("model"), span=OuterRef("judged_span"), metric=OuterRef("metric"), segment=OuterRef("segment"),
        role="champion", version="",
    )  # fmt: skip
    later = points.filter(  # by their start too, which the index knows
        start__gt=OuterRef("judged_start"), end__gt=OuterRef("judged_end"), end__lte=now
    ).order_by("start")
    judged = Coalesce(F("state__judged_until"), _NEVER)
    rules = (
        rules.filter(condition__isnull=True)
        .annotate(
            judged_end=judged,
            judged_start=ExpressionWrapper(judged - longest_of("judged_span"), output_field=DateTimeField()),
        )
        .annotate(
            next_start=Case(
                When(feature="*", then=Subquery(later.values("start")[:1])),
                default=Subquery(later.filter(feature=OuterRef("feature")).values("start")[:1]),
            )
        )
    )
    of_feature = Q(feature=OuterRef("feature")) | Q(Exact(OuterRef("feature"), "*"))
    unripe = points.filter(of_feature, start=OuterRef("next_start"), status=PointStatus.UNRIPE)
    being_measured = StaleWindow.objects.unfinished().filter(
        model=OuterRef("model"), span=OuterRef("judged_span"), start=OuterRef("next_start")
    )
    waiting = rules.filter(~Exists(unripe), ~Exists(being_measured), next_start__isnull=False)
    found = waiting.values_list("model_id", "next_start", "judged_span")
    return [(pk, end_of(start, span)) for pk, start, span in found]


def _measured_windows(rules: QuerySet[Rule], now: datetime) -> list[tuple[int, datetime]]:
    """Return model and end of the next window of each rule that looks at every one that was measured.

    One that is unripe or being measured holds the rule up, and a condition waits for its newest window to be complete.
    """
    rows = PackedPoints.objects.filter(
        model=OuterRef("model"), span=OuterRef("judged_span"), role="champion", version="", segment="",
    ).order_by("start")  # fmt: skip
    later = rows.filter(start__gt=OuterRef("judged_start")).values("start").distinct()
    judged = Coalesce(F("state__judged_until"), _NEVER)
    every = rules.filter(Q(condition__isnull=False) | ~Q(no_data=Rule.NoData.KEEP)).annotate(
        judged_end=judged,
        judged_start=ExpressionWrapper(judged - longest_of("judged_span"), output_field=DateTimeField()),
    )
    # The first two: months differ in length, so that the first may be the one that was judged last.
    every = every.annotate(
        first=Subquery(later[:1]), second=Subquery(later[1:2]), newest=Subquery(later.reverse()[:1])
    ).annotate(
        is_first_held_up=_is_held_up("first", now),
        is_second_held_up=_is_held_up("second", now),
    )
    due = []
    for rule in every:
        both = (rule.first, rule.is_first_held_up), (rule.second, rule.is_second_held_up)
        later_ones = [one for one in both if one[0] and end_of(one[0], rule.judged_span) > rule.judged_end]
        if not later_ones:
            continue
        start, is_held_up = later_ones[0]
        end = end_of(start, rule.judged_span)
        is_awaited = rule.condition is not None and start == rule.newest and now - end > _AWAITED
        if end <= now and not is_awaited and not is_held_up:
            due.append((rule.model_id, end))
    return due


def _is_held_up(start: str, now: datetime) -> Q:
    """Return of rules whether the window that starts at an annotation is unripe or being measured."""
    window = {"model": OuterRef("model"), "span": OuterRef("judged_span"), "start": OuterRef(start)}
    unripe = PackedPoints.objects.filter(**window, role="champion", version="", ripe_at__gt=now)
    being_measured = StaleWindow.objects.unfinished().filter(**window)
    return Q(Exists(unripe) | Exists(being_measured))


def _ripened_windows(rules: QuerySet[Rule], now: datetime) -> list[tuple[int, datetime]]:
    """Return model and moment of labels that have ripened by the wall clock."""
    ripened = PackedPoints.objects.filter(ripe_at__lte=now, model__in=rules.values("model"))
    return [(pk, moment) for pk, moment in ripened.values_list("model_id", "ripe_at") if moment]
