"""Which features of a model are numbers and which are texts, and what becomes of values of the other kind.

A feature has one kind for as long as its model lives, so that all its summaries merge. The version's signature decides,
else the values that come first: the kind of most of them, so that a stray value among them decides nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.prediction_log.items import as_objects
from inference.registry.models import Model
from inference.signatures import Signature
from monitors.definitions.models import FeatureProfile
from monitors.stats.mergeable.sketches import choose_centre

type Values = NDArray[Any]


def declared_kinds(signature: Signature) -> dict[str, bool]:
    """Return for each feature that a signature declares whether it is a number."""
    return {feature.name: feature.type != "string" for feature in signature.features}


def centres_of(
    model: Model,
    features: Mapping[str, Values],
    *,
    prediction: Values | None,
    declared: Mapping[str, bool] | None = None,
) -> dict[str, float]:
    """Return the grid centre of each numeric column, fixing the kind and the centre of columns seen for the first time.

    The answer of a regression is one of them, by the name `prediction`. A column without values is not fixed yet.
    """
    known = dict(model.feature_profiles.values_list("feature", "centre"))
    columns = dict(features)
    kinds = dict(declared or {})
    if prediction is not None and prediction.dtype != object:
        columns["prediction"], kinds["prediction"] = prediction, True
    fresh = [
        FeatureProfile(model=model, feature=name, centre=choose_centre(values) if is_number else None)
        for name, values in columns.items()
        if name not in known and len(values)
        # The kind of a known column stands: looking at its values again would cost more than summarising them.
        if (is_number := kinds[name] if name in kinds else _kind_of_most(values)) is not None
    ]
    if fresh:
        FeatureProfile.objects.bulk_create(fresh, ignore_conflicts=True)
        known = dict(model.feature_profiles.values_list("feature", "centre"))
    return {name: centre for name, centre in known.items() if centre is not None}


def _kind_of_most(values: Values) -> bool | None:
    """Return whether most values are numbers; None where all are missing or empty texts."""
    if values.dtype != object:
        return True if (~np.isnan(values)).any() else None
    texts = sum(isinstance(value, str) and value != "" for value in values)
    numbers = sum(isinstance(value, float) for value in values)
    return numbers > texts if numbers or texts else None


def numbers_as_texts(
    features: Mapping[str, Values], centres: Mapping[str, float], declared: Mapping[str, bool]
) -> dict[str, Values]:
    """Write numbers as texts where another version of the model made the feature a text: they are what was declared."""
    return {
        name: _as_texts(values)
        if declared.get(name) and name not in centres and values.dtype != object
        else values
        for name, values in features.items()
    }


def _as_texts(values: Values) -> Values:
    return as_objects([None if value != value else str(value) for value in values.tolist()])


def kinds_in_rows(model: Model) -> dict[str, bool]:
    """Return for each feature whether it is a number, for `LogFrame.as_kinds`.

    A feature whose kind differs between versions, as their signatures declare, is left out.
    """
    profiles = model.feature_profiles.values_list("feature", "centre")
    kinds = {name: centre is not None for name, centre in profiles}
    for signature in model.versions.filter(signature__isnull=False).values_list("signature", flat=True):
        for feature in signature["features"] if signature else ():
            if kinds.get(feature["name"]) not in (None, feature["type"] != "string"):
                del kinds[feature["name"]]
    return kinds
