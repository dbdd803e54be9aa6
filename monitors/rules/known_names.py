"""Refuses a rule on a feature, class or segment that its model does not have, with the name that is nearest."""

from collections.abc import Collection
from datetime import timedelta
from difflib import get_close_matches

from driftline.base.errors import invalid
from driftline.base.strict_json import printable
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from monitors.definitions.expectations import judged_features
from monitors.definitions.segment_masks import features_of_segment
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS, SubjectKind
from monitors.rules.judging.condition_trees import Term
from monitors.rules.models import Rule
from monitors.summaries.models import Summary

_LOOKED_BACK = timedelta(days=30)  # for the values that a segment feature has
_MAX_NAMED = 5
MAX_SEGMENTS_LISTED = 200


def check_names(rule: Rule) -> None:
    """Raise Problem where the rule names what the model does not have; of a model without data nothing is known."""
    for term in rule.terms:
        if term.feature not in ("", "*"):
            _check_feature(rule.model, term)
        if term.segment:
            _check_segment(rule.model, term)
            _check_feature_of_segment(rule.model, term)


def known_segments(model: Model) -> list[str]:
    """List the segments of a model: those that were declared, and each value that its newest days had."""
    declared = model.segments.order_by("name").values_list("name", flat=True)
    of_values = (sorted(_values_of(model, feature)) for feature in _segment_features(model))
    return [*declared, *(name for names in of_values for name in names)][:MAX_SEGMENTS_LISTED]


def _check_feature_of_segment(model: Model, term: Term) -> None:
    if term.feature in features_of_segment(model, term.segment):
        raise invalid(
            f"{term.pointer}/feature",
            f"{printable(term.feature)!r} chooses the rows of the segment, so that its drift is not measured there; "
            "name another feature, or leave the segment out.",
        )


def _check_feature(model: Model, term: Term) -> None:
    here = f"{term.pointer}/feature"
    match METRICS[term.metric].subject_of(term.feature):
        case SubjectKind.FEATURE:
            _require(here, "feature", term.feature, judged_features(model), ANSWER_COLUMNS)
        case SubjectKind.CLASS:
            _require(here, "class", term.feature, _classes(model))
        case SubjectKind.CUSTOM_METRIC:
            _check_custom_metric(model, term)
        case SubjectKind.SEGMENT_FEATURE:
            _require(here, "segment feature", term.feature, _segment_features(model))


def _check_custom_metric(model: Model, term: Term) -> None:
    here, metrics = (
        f"{term.pointer}/feature",
        {one.name: one.metric for one in model.custom_metrics.order_by("name")},
    )
    if not metrics:
        detail = f"{model.name} has no custom metrics; define {printable(term.feature)!r} first."
        raise invalid(here, detail, "unknown_custom_metric")
    _require(here, "custom metric", term.feature, metrics)
    if metrics[term.feature] != term.metric:
        detail = f"The points of {printable(term.feature)!r} are of the metric {metrics[term.feature]}."
        raise invalid(f"{term.pointer}/metric", detail, "other_metric")


def _check_segment(model: Model, term: Term) -> None:
    feature, here = term.segment.partition(":")[0], f"{term.pointer}/segment"
    features = _segment_features(model)
    if ":" in term.segment and feature in features:
        if not Summary.objects.filter(model=model, segment=term.segment).exists():
            _require(here, "segment", term.segment, _values_of(model, feature))
        return
    if ":" in term.segment and (nearest := get_close_matches(feature, features, n=1, cutoff=0.5)):
        detail = f"{printable(feature)!r} has no segments in this model; did you mean '{nearest[0]}:<value>'?"
        raise invalid(here, detail, "unknown_segment")
    known = [*model.segments.values_list("name", flat=True), *(f"{name}:<value>" for name in features)]
    if not known:
        detail = (
            f"{model.name} has no segments; declare {printable(term.segment)!r} first, or leave it empty."
        )
        raise invalid(here, detail, "unknown_segment")
    _require(here, "segment", term.segment, known)


def _require(pointer: str, what: str, name: str, known: Collection[str], more: Collection[str] = ()) -> None:
    if not known or name in known:
        return
    names = sorted({*known, *more})
    nearest = get_close_matches(name, names, n=1, cutoff=0.5) or names[:_MAX_NAMED]
    hint = f"did you mean {nearest[0]!r}?" if len(nearest) == 1 else f"use one such as {', '.join(nearest)}."
    plural = "classes" if what == "class" else f"{what}s"
    detail = f"{printable(name)!r} is none of the {plural} of this model; {hint}"
    raise invalid(pointer, detail, f"unknown_{what.rpartition(' ')[2]}")


def _classes(model: Model) -> set[str]:
    versions = model.versions.filter(signature__isnull=False)
    return {name for version in versions for name in signature_of(version).classes}


def _segment_features(model: Model) -> list[str]:
    return list(model.segment_features.order_by("feature").values_list("feature", flat=True))


def _values_of(model: Model, feature: str) -> set[str]:
    """Return the segments of a feature's values that the newest days had."""
    days = Summary.objects.filter(model=model, span="day")
    newest = days.order_by("-start").values_list("start", flat=True).first()
    if newest is None:
        return set()
    recent = days.filter(start__gt=newest - _LOOKED_BACK, segment__startswith=f"{feature}:")
    return set(recent.values_list("segment", flat=True).distinct())
