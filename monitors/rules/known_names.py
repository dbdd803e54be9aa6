"""Refuses a rule on a feature, class or segment that its model does not have, with the name that is nearest."""

from collections.abc import Collection
from datetime import timedelta
from difflib import get_close_matches

from driftline.common.errors import invalid
from driftline.common.strict_json import printable
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from monitors.definitions.expectations import kinds_of_features
from monitors.definitions.segment_masks import features_of_segment
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS, SubjectKind
from monitors.rules.models import Rule
from monitors.summaries.models import Summary

_LOOKED_BACK = timedelta(days=30)  # for the values that a segment feature has
_MAX_NAMED = 5
MAX_SEGMENTS_LISTED = 200


def check_names(rule: Rule) -> None:
    """Raise Problem where the rule names what the model does not have; of a model without data nothing is known."""
    if rule.feature not in ("", "*"):
        _check_feature(rule)
    if rule.segment:
        _check_segment(rule)
        _check_feature_of_segment(rule)


def known_segments(model: Model) -> list[str]:
    """List the segments of a model: those that were declared, and each value that its newest days had."""
    declared = model.segments.order_by("name").values_list("name", flat=True)
    of_values = (sorted(_values_of(model, feature)) for feature in _segment_features(model))
    return [*declared, *(name for names in of_values for name in names)][:MAX_SEGMENTS_LISTED]


def _check_feature_of_segment(rule: Rule) -> None:
    if rule.feature in features_of_segment(rule.model, rule.segment):
        raise invalid(
            "/feature",
            f"{printable(rule.feature)!r} chooses the rows of the segment, so that its drift is not measured there; "
            "name another feature, or leave the segment out.",
        )


def _check_feature(rule: Rule) -> None:
    match METRICS[rule.metric].subject_of(rule.feature):
        case SubjectKind.FEATURE:
            _require("/feature", "feature", rule.feature, kinds_of_features(rule.model), ANSWER_COLUMNS)
        case SubjectKind.CLASS:
            _require("/feature", "class", rule.feature, _classes(rule.model))
        case SubjectKind.CUSTOM_METRIC:
            _check_custom_metric(rule)
        case SubjectKind.SEGMENT_FEATURE:
            _require("/feature", "segment feature", rule.feature, _segment_features(rule.model))


def _check_custom_metric(rule: Rule) -> None:
    metrics = {one.name: one.metric for one in rule.model.custom_metrics.order_by("name")}
    if not metrics:
        detail = f"{rule.model.name} has no custom metrics; define {printable(rule.feature)!r} first."
        raise invalid("/feature", detail, "unknown_custom_metric")
    _require("/feature", "custom metric", rule.feature, metrics)
    if metrics[rule.feature] != rule.metric:
        detail = f"The points of {printable(rule.feature)!r} are of the metric {metrics[rule.feature]}."
        raise invalid("/metric", detail, "other_metric")


def _check_segment(rule: Rule) -> None:
    model, feature = rule.model, rule.segment.partition(":")[0]
    features = _segment_features(model)
    if ":" in rule.segment and feature in features:
        if not Summary.objects.filter(model=model, segment=rule.segment).exists():
            _require("/segment", "segment", rule.segment, _values_of(model, feature))
        return
    if ":" in rule.segment and (nearest := get_close_matches(feature, features, n=1, cutoff=0.5)):
        detail = f"{printable(feature)!r} has no segments in this model; did you mean '{nearest[0]}:<value>'?"
        raise invalid("/segment", detail, "unknown_segment")
    known = [*model.segments.values_list("name", flat=True), *(f"{name}:<value>" for name in features)]
    if not known:
        detail = (
            f"{model.name} has no segments; declare {printable(rule.segment)!r} first, or leave it empty."
        )
        raise invalid("/segment", detail, "unknown_segment")
    _require("/segment", "segment", rule.segment, known)


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
