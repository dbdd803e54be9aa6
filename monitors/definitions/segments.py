"""Writes of what a model looks at apart: the values of some features, and segments declared by their conditions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Q

from driftline.accounts.services import record_audit
from driftline.common.clock import now
from driftline.common.errors import Problem, invalid
from driftline.common.strict_json import escape_pointer, printable
from inference.prediction_log.spool.privacy import DROP, HASH, SUMMARY
from inference.registry.models import Model
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
        if model.privacy.get(feature) == SUMMARY:
            raise invalid(f"/segments/{place}", _without_rows(feature))
    with transaction.atomic():
        _lock(model)
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
        _lock(model)
        if model.segments.filter(name=name).exists():
            raise Problem(409, "segment_exists", f"{model.name} already has a segment {name!r}.")
        if model.segments.count() >= MAX_SEGMENTS:
            raise Problem(
                409, "too_many_segments", f"A model has up to {MAX_SEGMENTS} segments; remove one first."
            )
        segment = Segment.objects.create(
            model=model, name=name, conditions=msgspec.to_builtins(checked), since=now()
        )
        _audit(segment, "segment.create", actor, after=segment.conditions)
        segments_changed.send(sender=Segment, model=model)
    return segment


def change_segment(*, segment: Segment, conditions: Sequence[Mapping[str, Any]], actor: str) -> None:
    """Give a segment other conditions: what was known of its rows is forgotten, and the log is looked at again."""
    model = segment.model
    checked = _checked(model, conditions)
    with transaction.atomic():
        _lock(model)
        before = segment.conditions
        segment.conditions, segment.since = msgspec.to_builtins(checked), now()
        segment.save(update_fields=["conditions", "since"])
        _audit(segment, "segment.update", actor, before=before, after=segment.conditions)
        segments_changed.send(sender=Segment, model=model, which=Q(segment=segment.name))


def remove_segment(*, segment: Segment, actor: str) -> None:
    """Stop looking at a segment and forget what is known of it. Raises Problem `segment_watched` (409)."""
    with transaction.atomic():
        _lock(segment.model)
        segments_dropped.send(sender=Segment, model=segment.model, which=Q(segment=segment.name))
        _audit(segment, "segment.delete", actor, before=segment.conditions)
        segment.delete()


def _lock(model: Model) -> None:
    """Let one change of a model's segments happen after the other, so that limits hold.

    `no_key` lets a worker write the summaries that refer to the model: a change may wait for it to end.
    """
    Model.objects.select_for_update(no_key=True).get(pk=model.pk)


def _audit(segment: Segment, action: str, actor: str, *, before: Any = None, after: Any = None) -> None:
    record_audit(
        project=segment.model.project,
        actor=actor,
        action=action,
        subject=f"{segment.model.name}/{segment.name}",
        before=before,
        after=after,
    )


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
        _checked_condition(f"/conditions/{place}", model, RowCondition(**said), kinds)
        for place, said in enumerate(conditions)
    )
    if len({one.column for one in checked}) < len(checked):
        raise invalid("/conditions", "Two conditions are of the same column; one range says both.")
    return checked


def _checked_condition(at: str, model: Model, said: RowCondition, kinds: Mapping[str, bool]) -> RowCondition:
    if bool(said.feature) == bool(said.tag):
        raise invalid(at, "A condition is of a feature or of a tag.")
    has_range = said.lower is not None or said.upper is not None
    if (said.value is not None) + has_range + said.is_missing != 1:
        raise invalid(at, "A condition is a value, a range (lower, upper or both), or is_missing.")
    if said.value is not None and not 0 < len(said.value) <= MAX_VALUE_LENGTH:
        raise invalid(f"{at}/value", f"A value has 1 to {MAX_VALUE_LENGTH} characters.", "invalid_text")
    _check_range(at, said)
    if said.feature:
        _check_feature(at, model, said, kinds)
    elif has_range:
        raise invalid(at, "A tag is a text and has no range.")
    return said


def _check_range(at: str, said: RowCondition) -> None:
    for name, edge in (("lower", said.lower), ("upper", said.upper)):
        if edge is not None and not math.isfinite(edge):
            raise invalid(f"{at}/{name}", "Use a finite number.")
    if said.lower is not None and said.upper is not None and said.lower >= said.upper:
        raise invalid(
            f"{at}/upper", f"Rows lie below the upper edge, which must be above {said.lower:g} then."
        )


def _check_feature(at: str, model: Model, said: RowCondition, kinds: Mapping[str, bool]) -> None:
    feature = printable(said.feature)
    if kinds and said.feature not in kinds:  # of a model without data nothing is known
        raise invalid(
            f"{at}/feature",
            f"{feature!r} is no feature of {model.name} that was seen or declared.",
            "unknown_feature",
        )
    policy = model.privacy.get(said.feature, "")
    if policy in HIDDEN_POLICIES:
        raise invalid(
            f"{at}/feature", f"{feature!r} {HIDDEN_POLICIES[policy]}, so no row can be chosen by its value."
        )
    is_number = kinds.get(said.feature)
    if is_number and said.value is not None and not _is_number(said.value):
        raise invalid(f"{at}/value", f"{feature} is a number, and {printable(said.value)!r} is none.")
    if is_number is False and (said.lower is not None or said.upper is not None):
        raise invalid(at, f"{feature} is a category and has no range; give a value.")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def refuse_to_hide(model: Model) -> None:
    """Raise Problem where a segment needs in each row what the model's privacy is about to hide."""
    for feature, policy in sorted(model.privacy.items()):
        at = f"/privacy/{escape_pointer(feature)}"
        if policy == SUMMARY and model.segment_features.filter(feature=feature).exists():
            raise invalid(at, _without_rows(feature))
        for segment in model.segments.order_by("name") if policy in HIDDEN_POLICIES else ():
            if any(one.feature == feature for one in segment.parsed):
                raise invalid(
                    at, f"The segment {segment.name!r} needs the values of {feature!r}; remove it first."
                )
