"""Writes of custom metrics: define, change and delete, each checked against the columns of its model."""

from typing import Any

from django.db import transaction

from driftline.base.clock import now
from driftline.base.errors import Problem, invalid, not_found
from driftline.base.strict_json import escape_pointer
from inference.prediction_log.spool.privacy import policy_of
from inference.registry.models import Model
from inference.registry.parts import audit_part, lock_model
from monitors.definitions.expectations import kinds_of_features
from monitors.definitions.models import CustomMetric
from monitors.definitions.segments import HIDDEN_POLICIES
from monitors.definitions.signals import (
    custom_metric_dropped,
    custom_metrics_changed,
    custom_points_outdated,
)
from monitors.stats.expressions.checking import ModelColumns, check_metric
from monitors.stats.expressions.parsing import parse_metric
from monitors.stats.expressions.tree import ColumnSource, ExpressionError

MAX_CUSTOM_METRICS = 50
MAX_NAME_LENGTH = 100
MAX_UNIT_LENGTH = 20
_FIELDS = ("expression", "unit", "lower_is_better")


def define_metric(
    *,
    model: Model,
    name: str,
    expression: str,
    actor: str,
    unit: str = "",
    lower_is_better: bool = False,
) -> CustomMetric:
    """Measure something of one's own from now on, and of the past as far as its rows are kept. Raises Problem."""
    name = name.strip()
    _check_name(name)
    _check_unit(unit)
    kinds = check_expression(model, expression)
    with transaction.atomic():
        lock_model(model)
        if model.custom_metrics.filter(name=name).exists():
            raise Problem(409, "custom_metric_exists", f"{model.name} already has a custom metric {name!r}.")
        if model.custom_metrics.count() >= MAX_CUSTOM_METRICS:
            raise Problem(
                409,
                "too_many_custom_metrics",
                f"A model has up to {MAX_CUSTOM_METRICS} custom metrics; delete one first.",
            )
        custom = CustomMetric.objects.create(
            model=model, name=name, expression=expression, unit=unit, lower_is_better=lower_is_better,
            kinds=kinds, since=now(),
        )  # fmt: skip
        audit_part(custom, "custom_metric.create", actor, after=describe_metric(custom))
        custom_metrics_changed.send(sender=CustomMetric, model=model)
    return custom


def change_metric(*, custom: CustomMetric, actor: str, **changes: Any) -> None:
    """Change the expression, the unit or the direction; by another expression the rows that are kept are read again.

    So they are by the same one where a feature is of another kind than when it was defined.

    Raises Problem: `custom_metric_watched` (409) where a rule watches it and the other expression needs labels and the
    former did not, or the reverse: its points are of another metric then.
    """
    model = custom.model
    _check_unit(changes.get("unit", ""))
    kinds = check_expression(model, changes["expression"]) if "expression" in changes else custom.kinds
    with transaction.atomic():
        _lock_and_read(custom)
        before, former = describe_metric(custom), custom.metric
        for name in _FIELDS:
            setattr(custom, name, changes.get(name, getattr(custom, name)))
        has_new = (custom.expression, kinds) != (before["expression"], custom.kinds)
        if custom.metric != former:
            custom_metric_dropped.send(sender=CustomMetric, custom=custom, metric=former)
        if has_new:
            custom.kinds, custom.revision, custom.since = kinds, custom.revision + 1, now()
        custom.save()
        audit_part(custom, "custom_metric.update", actor, before=before, after=describe_metric(custom))
        if has_new:
            custom_points_outdated.send(sender=CustomMetric, custom=custom, metric=former)
            custom_metrics_changed.send(sender=CustomMetric, model=model)


def delete_metric(*, custom: CustomMetric, actor: str) -> None:
    """Stop measuring a custom metric and forget its points. Raises Problem `custom_metric_watched` (409)."""
    with transaction.atomic():
        _lock_and_read(custom)
        custom_metric_dropped.send(sender=CustomMetric, custom=custom, metric=custom.metric)
        custom_points_outdated.send(sender=CustomMetric, custom=custom, metric=custom.metric)
        audit_part(custom, "custom_metric.delete", actor, before=describe_metric(custom))
        custom.delete()


def describe_metric(custom: CustomMetric) -> dict[str, Any]:
    """Return what people say of a metric, as the API takes it."""
    return {name: getattr(custom, name) for name in _FIELDS}


def check_expression(model: Model, expression: str) -> dict[str, str]:
    """Return the kind of each feature that an expression reads. Raises Problem at `/expression`."""
    try:
        found = check_metric(parse_metric(expression), columns_of(model))
    except ExpressionError as error:
        raise invalid("/expression", str(error), "invalid_expression") from error
    return {
        column.name: kind.value for column, kind in found.items() if column.source == ColumnSource.FEATURE
    }


def columns_of(model: Model) -> ModelColumns:
    """Return what expressions of a model may name."""
    kinds = kinds_of_features(model)
    hidden = {
        feature: HIDDEN_POLICIES[policy]
        for feature in kinds.keys() | model.privacy.keys()
        if (policy := policy_of(model.privacy, feature)) in HIDDEN_POLICIES
    }
    return ModelColumns(model.task, kinds, hidden)


def refuse_to_hide_operands(model: Model) -> None:
    """Raise Problem where a metric needs in each row what the model's privacy is about to hide."""
    for feature in sorted(columns_of(model).hidden):
        for custom in model.custom_metrics.order_by("name"):
            if feature in custom.kinds:
                raise invalid(
                    f"/privacy/{escape_pointer(feature)}",
                    f"The custom metric {custom.name!r} needs the values of {feature!r}; delete it first.",
                )


def _check_name(name: str) -> None:
    if not name or ":" in name or name == "*" or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        raise invalid(
            "/name",
            f"A custom metric's name has 1 to {MAX_NAME_LENGTH} printable characters, no colon, and is not '*'.",
            "invalid_text",
        )


def _check_unit(unit: str) -> None:
    if len(unit) > MAX_UNIT_LENGTH or not unit.isprintable():
        raise invalid("/unit", f"A unit has up to {MAX_UNIT_LENGTH} printable characters.", "invalid_text")


def _lock_and_read(custom: CustomMetric) -> None:
    """Read a metric again under the lock. Raises Problem, 404 once it was deleted."""
    lock_model(custom.model)
    try:
        custom.refresh_from_db()
    except CustomMetric.DoesNotExist as error:
        raise not_found("custom metric") from error
