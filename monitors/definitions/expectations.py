"""What features are learnt to be, and what people say that they should be."""

import math
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.errors import invalid
from driftline.base.strict_json import escape_pointer, printable
from inference.prediction_log.spool.privacy import HASH
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.texts import kinds_of_parts
from inference.vector_names import norm_of, whole_of
from monitors.definitions.choosing import active_reference
from monitors.definitions.models import Expectation, Reference
from monitors.definitions.schemas import ExpectedColumn, FeatureSchema, LearntColumn
from monitors.definitions.signals import expectations_changed
from monitors.definitions.text_features import declared_texts
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

MAX_CATEGORIES = 1_000
MAX_CATEGORY_LENGTH = 200
LEARNT_CATEGORIES = 50
"""The most frequent ones of a reference that are told."""

SAID = ("least", "most", "categories", "missing_share", "tolerance")
_NUMBERS_ONLY, _TEXTS_ONLY = ("least", "most"), ("categories",)


def schema_of(model: Model) -> list[FeatureSchema]:
    """Describe each feature that is known, by name: its kind, what the reference shows of it, what is expected."""
    expected = {one.feature: one for one in model.expectations.all()}
    learnt = _columns(active_reference(model=model, version_id=model.deployment.champion_id))
    kinds = judged_features(model)
    return [
        {
            "feature": name,
            "kind": "number" if kinds.get(name, _is_number(expected.get(name))) else "category",
            "learnt": _describe(column) if (column := learnt.get(name, learnt.get(norm_of(name)))) else None,
            "expected": describe_expectation(expected[name]) if name in expected else None,
        }
        for name in sorted(kinds.keys() | expected.keys())
    ]


def _is_number(expectation: Expectation | None) -> bool:
    """Return whether a feature of which only an expectation is known is a number."""
    return expectation is None or expectation.categories is None


def kinds_of_features(model: Model) -> dict[str, bool]:
    """Return of each feature that was seen or is declared whether it is a number."""
    known = {
        name: centre is not None for name, centre in model.feature_profiles.values_list("feature", "centre")
    }
    known.pop("prediction", None)
    for version in model.versions.filter(signature__isnull=False):
        known |= {feature.name: feature.type != "string" for feature in signature_of(version).features}
    return known


def compared_features(model: Model) -> dict[str, bool]:
    """Return the same of each feature as it is judged: a vector is one, and a number, for which its length speaks."""
    kinds = kinds_of_features(model)
    vector_of = whole_of(kinds)
    return {vector_of.get(name, name): is_number for name, is_number in kinds.items()}


def judged_features(model: Model) -> dict[str, bool]:
    """Return the same of what rules and expectations may name: in place of a declared text, what is measured of it."""
    kinds = compared_features(model)
    for name in declared_texts(model):
        if kinds.pop(name, None) is not None:
            kinds |= kinds_of_parts(name)
    return kinds


def describe_expectation(expectation: Expectation) -> ExpectedColumn:
    """Write what is expected of a feature as the API takes it."""
    return {
        "least": expectation.least,
        "most": expectation.most,
        "categories": expectation.categories,
        "missing_share": expectation.missing_share,
        "tolerance": expectation.tolerance,
    }


def expect(*, model: Model, changes: Mapping[str, Mapping[str, Any] | None], actor: str) -> None:
    """Set what features should be, or with None nothing any more, and have the newest windows judged by it.

    Raises Problem, and then changes nothing.
    """
    kinds = judged_features(model)
    wanted = {name: _checked(model, name, said, kinds) for name, said in changes.items()}
    with transaction.atomic():
        before = {one.feature: describe_expectation(one) for one in model.expectations.all()}
        for name, fields in wanted.items():
            if fields is None:
                model.expectations.filter(feature=name).delete()
            else:
                Expectation.objects.update_or_create(model=model, feature=name, defaults=fields)
        record_audit(
            project=model.project,
            actor=actor,
            action="model.expect",
            subject=model.name,
            before={name: before.get(name) for name in wanted},
            after=wanted,
        )
        expectations_changed.send(sender=Expectation, model=model)


def _checked(
    model: Model, feature: str, said: Mapping[str, Any] | None, kinds: Mapping[str, bool]
) -> dict[str, Any] | None:
    """Return the fields of an expectation; what says nothing is none."""
    at = f"/features/{escape_pointer(feature)}"
    if said is None:
        return None
    if kinds and feature not in kinds:  # of a model without data nothing is known
        raise invalid(
            at,
            f"{printable(feature)!r} is no feature of {model.name} that was seen or declared.",
            "unknown_feature",
        )
    fields = {
        "least": None,
        "most": None,
        "categories": None,
        "missing_share": None,
        "tolerance": 0.0,
    } | dict(said)
    other_kind = (_TEXTS_ONLY if kinds[feature] else _NUMBERS_ONLY) if kinds else ()
    for name in other_kind:
        if fields[name] is not None:
            kind = "a number: give least and most" if kinds[feature] else "a category: give categories"
            raise invalid(f"{at}/{name}", f"{printable(feature)} is {kind}.")
    _check_range(at, fields)
    _check_categories(at, model, feature, fields["categories"])
    for name in ("missing_share", "tolerance"):
        if fields[name] is not None and not 0 <= fields[name] <= 1:
            raise invalid(f"{at}/{name}", "A share of rows lies between 0 and 1.")
    return fields if any(fields[name] is not None for name in SAID if name != "tolerance") else None


def _check_range(at: str, fields: Mapping[str, Any]) -> None:
    for name in _NUMBERS_ONLY:
        if fields[name] is not None and not math.isfinite(fields[name]):
            raise invalid(f"{at}/{name}", "Use a finite number.")
    if fields["least"] is not None and fields["most"] is not None and fields["least"] > fields["most"]:
        raise invalid(f"{at}/most", f"The largest value lies below the least, {fields['least']:g}.")


def _check_categories(at: str, model: Model, feature: str, categories: list[str] | None) -> None:
    if categories is None:
        return
    if model.privacy.get(feature) == HASH:
        raise invalid(
            f"{at}/categories", "This feature is kept hashed, so its values cannot be compared by name."
        )
    if not 1 <= len(categories) <= MAX_CATEGORIES:
        raise invalid(f"{at}/categories", f"Name 1 to {MAX_CATEGORIES:,} values.")
    for place, category in enumerate(categories):
        if not category or len(category) > MAX_CATEGORY_LENGTH:
            raise invalid(
                f"{at}/categories/{place}",
                f"A value has 1 to {MAX_CATEGORY_LENGTH} characters.",
                "invalid_text",
            )


def _columns(reference: Reference | None) -> Mapping[str, ColumnSummary]:
    payload = None if reference is None else reference.payload
    return WindowSummary.decode(bytes(payload)).features if payload else {}


def _describe(column: ColumnSummary) -> LearntColumn:
    missing_share = (column.rows - column.n) / max(column.rows, 1)
    if isinstance(column, NumericSummary):
        return {
            "rows": column.rows,
            "missing_share": missing_share,
            "least": column.minimum if column.n else None,
            "most": column.maximum if column.n else None,
        }
    by_count = sorted(column.counts, key=lambda level: (-column.counts[level], level))
    return {
        "rows": column.rows,
        "missing_share": missing_share,
        "categories": by_count[:LEARNT_CATEGORIES],
        "distinct": len(column.counts),
        "is_exact": column.exact,
    }
