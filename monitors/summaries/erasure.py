"""Erases a subject from the summaries: hours that lost rows are summarised again, and levels that name the key go."""

from collections.abc import Iterator
from dataclasses import replace

from django.db.models.functions import Now

from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.subject import Subject
from inference.prediction_log.erasure.work import Work, add_counts
from inference.prediction_log.labels.services import lock_summaries
from inference.prediction_log.models import SummedDay
from inference.prediction_log.retention.drop_rows import summary_only_features
from inference.registry.models import Model
from inference.registry.selectors import privacy_of
from monitors.definitions.models import Segment
from monitors.stats.mergeable.sketches import CategoricalSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.stats.segments.conditions import RowCondition
from monitors.summaries.models import Summary
from monitors.summaries.services import measure_hours

_AT_ONCE = 200


def tell_what_remains(work: Work) -> None:
    """Record which models have dropped rows or values: their summaries may still count the subject."""
    names = [
        model.name
        for model in work.models
        if summary_only_features(model) or SummedDay.objects.filter(model=model).exists()
    ]
    with work.fenced() as erasure:
        Erasure.objects.filter(pk=erasure.pk).update(remains=names)


def erase_levels(work: Work) -> None:
    """Count the key among the rare values wherever a summary has it as a category: its rows may have expired."""
    for model in work.models:
        named = Summary.objects.filter(model=model, segment__in=segments_of_subject(model, work.subject))
        work.count(summaries=named.delete()[0])
        for found in _summaries_with_key(work, model):
            _rewrite(work, model, found)


def _summaries_with_key(work: Work, model: Model) -> Iterator[list[int]]:
    """Yield the keys of such summaries some at a time, from where an earlier slice ended."""
    step = f"levels of {model.pk}"
    rows = Summary.objects.filter(model=model).order_by("pk").values_list("pk", "payload")
    while some := list(rows.filter(pk__gt=work.progress.get(step, 0))[:_AT_ONCE]):
        work.check_deadline()
        if found := [pk for pk, payload in some if without_level(bytes(payload), work.subject, model)]:
            yield found
        work.progress[step] = some[-1][0]


def _rewrite(work: Work, model: Model, found: list[int]) -> None:
    with work.fenced() as erasure:
        lock_summaries(model.pk)
        for summary in Summary.objects.filter(pk__in=found):
            clean = without_level(bytes(summary.payload), work.subject, model)
            if clean is not None:
                Summary.objects.filter(pk=summary.pk).update(payload=clean, updated_at=Now())
        starts = Summary.objects.filter(pk__in=found).values_list("start", flat=True)
        measure_hours(model_id=model.pk, hours=list(starts))
        add_counts(erasure, {"summaries": len(found)})


def segments_of_subject(model: Model, subject: Subject) -> list[str]:
    """Name the segments that are the subject: the key is the value of a feature that names people, or a condition."""
    known = model.feature_profiles.values_list("feature", flat=True)
    values = [f"{feature}:{level}" for feature in known for level in _levels_of(model, subject, feature)]
    return values + [one.name for one in declared_of_subject(model, subject)]


def declared_of_subject(model: Model, subject: Subject) -> list[Segment]:
    """Return the declared segments whose name or conditions name the subject."""
    return [
        one
        for one in model.segments.order_by("pk")
        if subject.is_in(one.name) or any(_names(part, model, subject) for part in one.parsed)
    ]


def _names(condition: RowCondition, model: Model, subject: Subject) -> bool:
    return condition.value == subject.key and (
        bool(condition.tag) or subject.is_named_in(model.pk, condition.feature)
    )


def _levels_of(model: Model, subject: Subject, feature: str) -> set[str]:
    """Name the values of a feature that are the subject: the key, and its hash where the model keeps that instead."""
    if not subject.is_named_in(model.pk, feature):
        return set()
    [hashed] = privacy_of(model.pk).hash_values(feature, [subject.key])
    return {subject.key, str(hashed)}


def without_level(payload: bytes, subject: Subject, model: Model) -> bytes | None:
    """Return an encoded summary without the category that is the key; None where none is."""
    window = WindowSummary.decode(payload)
    changed: dict[str, ColumnSummary] = {
        name: replace(
            column,
            counts={level: count for level, count in column.counts.items() if level not in erased_levels},
            rest=column.rest + sum(column.counts[level] for level in erased_levels),
        )
        for name, column in window.features.items()
        if isinstance(column, CategoricalSummary)
        and (erased_levels := column.counts.keys() & _levels_of(model, subject, name))
    }
    return replace(window, features=window.features | changed).encode() if changed else None
