"""Writes of what a model looks at apart: the values of some features, and segments declared by their conditions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Q

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.strict_json import escape_pointer, printable
from inference.image_names import whole_by_name
from inference.prediction_log.spool.privacy import DROP, HASH, SUMMARY, policy_of
from inference.registry.models import Model
from inference.registry.parts import audit_part, lock_model
from monitors.definitions.expectations import kinds_of_features
from monitors.definitions.models import Segment, SegmentFeature
from monitors.definitions.segment_masks import NAME_LENGTH
from monitors.definitions.signals import segments_changed, segments_dropped
from monitors.stats.segments.conditions import RowCondition, name_of

MAX_FEATURES = 10
MAX_SEGMENTS = 20
MAX_CONDITIONS = 5
MAX_VALUE_LENGTH = 200
HIDDEN_POLICIES = {
    HASH: "is kept hashed",
    DROP: "is not kept",
    SUMMARY: "is dropped once it is summarised",
}


# -- each value of a feature -------------------------------------------------------------------------------------------
def set_segments(*, model: Model, features: Sequence[str], actor: str) -> None:
    """Choose the features that have a segment for each value; rows that are still there are read again.

    Raises Problem, and then changes nothing: `segment_watched` (409) where a rule watches what would go.
    """
    if len(features) > MAX_FEATURES:
        raise invalid("/segments", f"{len(features)} segment features; use up to {MAX_FEATURES}.")
    for place, feature in enumerate(features):
        if policy_of(model.privacy, feature) == SUMMARY:
            raise invalid(f"/segments/{place}", _without_rows(feature))
    with transaction.atomic():
        lock_model(model)
        before = sorted(model.segment_features.values_list("feature", flat=True))
        after = sorted(set(features))
        if before == after:
            return
        for feature in set(before) - set(after):
            segments_dropped.send(
                sender=SegmentFeature, model=model, which=Q(segment__startswith=f"{feature}:")
            )
        model.segment_features.exclude(feature__in=after).delete()
        SegmentFeature.objects.bulk_create(
            [SegmentFeature(model=model, feature=feature) for feature in after], ignore_conflicts=True
        )
        record_audit(
            project=model.project, actor=actor, action="model.segment_features", subject=model.name,
            before=before, after=after,
        )  # fmt: skip
        if set(after) - set(before):
            segments_changed.send(sender=SegmentFeature, model=model)


def _without_rows(feature: str) -> str:
    return (
        f"The values of {feature!r} are dropped once they are summarised, and a segment needs them in each row; keep "
        "the feature or hash it."
    )


# -- segments by their conditions --------------------------------------------------------------------------------------
def declare_segment(
    *, model: Model, name: str, conditions: Sequence[Mapping[str, Any]], actor: str
) -> Segment:
    """Look at the rows of which all `conditions` hold apart, those included that the log still has.

    Without a `name` the conditions are its name. Raises Problem.
    """
    checked = _checked(model, conditions)
    name = name.strip() or name_of(checked).replace(":", " ")[:NAME_LENGTH]
    _check_name(name)
    with transaction.atomic():
        lock_model(model)
        if model.segments.filter(name=name).exists():
            raise Problem(409, "segment_exists", f"{model.name} already has a segment {name!r}.")
        if model.segments.count() >= MAX_SEGMENTS:
            raise Problem(
                409, "too_many_segments", f"A model has up to {MAX_SEGMENTS} segments; remove one first."
            )
        segment = Segment.objects.create(
            model=model, name=name, conditions=msgspec.to_builtins(checked), since=now()
        )
        audit_part(segment, "segment.create", actor, after=segment.conditions)
        segments_changed.send(sender=Segment, model=model)
    return segment


def change_segment(*, segment: Segment, conditions: Sequence[Mapping[str, Any]], actor: str) -> None:
    """Set other conditions for a segment: what was known of its rows is forgotten, and the log is looked at again."""
    model = segment.model
    checked = _checked(model, conditions)
    with transaction.atomic():
        lock_model(model)
        before = segment.conditions
        segment.conditions, segment.since = msgspec.to_builtins(checked), now()
        segment.save(update_fields=["conditions", "since"])
        audit_part(segment, "segment.update", actor, before=before, after=segment.conditions)
        segments_changed.send(sender=Segment, model=model, which=Q(segment=segment.name))


def remove_segment(*, segment: Segment, actor: str) -> None:
    """Stop looking at a segment and forget what is known of it. Raises Problem `segment_watched` (409)."""
    with transaction.atomic():
        lock_model(segment.model)
        segments_dropped.send(sender=Segment, model=segment.model, which=Q(segment=segment.name))
        audit_part(segment, "segment.delete", actor, before=segment.conditions)
        segment.delete()


# -- what may be declared ----------------------------------------------------------------------------------------------
def _check_name(name: str) -> None:
    if ":" in name or not name.isprintable() or len(name) > NAME_LENGTH:
        raise invalid(
            "/name",
            f"A segment's name has up to {NAME_LENGTH} printable characters and no colon: feature:value names one "
            "value of a feature.",
            "invalid_text",
        )


def _checked(model: Model, conditions: Sequence[Mapping[str, Any]]) -> tuple[RowCondition, ...]:
    if not 1 <= len(conditions) <= MAX_CONDITIONS:
        raise invalid("/conditions", f"A segment has 1 to {MAX_CONDITIONS} conditions.")
    kinds = kinds_of_features(model)
    checked = tuple(
        _checked_condition(f"/conditions/{place}", model, RowCondition(**condition), kinds)
        for place, condition in enumerate(conditions)
    )
    if len({one.column for one in checked}) < len(checked):
        raise invalid("/conditions", "Two conditions are of the same column; one range says both.")
    return checked


def _checked_condition(
    at: str, model: Model, condition: RowCondition, kinds: Mapping[str, bool]
) -> RowCondition:
    if bool(condition.feature) == bool(condition.tag):
        raise invalid(at, "A condition is of a feature or of a tag.")
    has_range = condition.lower is not None or condition.upper is not None
    if (condition.value is not None) + has_range + condition.is_missing != 1:
        raise invalid(at, "A condition is a value, a range (lower, upper or both), or is_missing.")
    if condition.value is not None and not 0 < len(condition.value) <= MAX_VALUE_LENGTH:
        raise invalid(f"{at}/value", f"A value has 1 to {MAX_VALUE_LENGTH} characters.", "invalid_text")
    _check_range(at, condition)
    if condition.feature:
        _check_feature(at, model, condition, kinds)
    elif has_range:
        raise invalid(at, "A tag is a text and has no range.")
    return condition


def _check_range(at: str, condition: RowCondition) -> None:
    for name, edge in (("lower", condition.lower), ("upper", condition.upper)):
        if edge is not None and not math.isfinite(edge):
            raise invalid(f"{at}/{name}", "Use a finite number.")
    if condition.lower is not None and condition.upper is not None and condition.lower >= condition.upper:
        raise invalid(
            f"{at}/upper", f"Rows lie below the upper edge, which must be above {condition.lower:g} then."
        )


def _check_feature(at: str, model: Model, condition: RowCondition, kinds: Mapping[str, bool]) -> None:
    feature = printable(condition.feature)
    if kinds and condition.feature not in kinds:  # of a model without data nothing is known
        raise invalid(
            f"{at}/feature",
            f"{feature!r} is no feature of {model.name} that was seen or declared.",
            "unknown_feature",
        )
    policy = policy_of(model.privacy, condition.feature)
    if policy in HIDDEN_POLICIES:
        raise invalid(
            f"{at}/feature", f"{feature!r} {HIDDEN_POLICIES[policy]}, so no row can be chosen by its value."
        )
    is_number = kinds.get(condition.feature)
    if is_number and condition.value is not None and not _is_number(condition.value):
        raise invalid(f"{at}/value", f"{feature} is a number, and {printable(condition.value)!r} is none.")
    if is_number is False and (condition.lower is not None or condition.upper is not None):
        raise invalid(at, f"{feature} is a category and has no range; give a value.")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def refuse_to_hide(model: Model) -> None:
    """Raise Problem where a segment needs in each row what the model's privacy is about to hide."""
    for feature in model.segment_features.order_by("feature").values_list("feature", flat=True):
        if policy_of(model.privacy, feature) == SUMMARY:
            raise invalid(_policy_at(model, feature), _without_rows(feature))
    for segment in model.segments.order_by("name"):
        for feature in sorted(one.feature for one in segment.parsed if one.feature):
            if policy_of(model.privacy, feature) in HIDDEN_POLICIES:
                detail = f"The segment {segment.name!r} needs the values of {feature!r}; remove it first."
                raise invalid(_policy_at(model, feature), detail)


def _policy_at(model: Model, feature: str) -> str:
    """Return the pointer of the policy that a feature has: its own, or that of its vector."""
    named = feature if feature in model.privacy else whole_by_name(feature) or feature
    return f"/privacy/{escape_pointer(named)}"
