"""The features that people declared to be texts, and what is compared of them."""

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from inference.prediction_log.spool.privacy import HASH
from inference.registry.models import Model
from inference.texts import describe_texts, text_parts

type Values = NDArray[Any]


def declared_texts(model: Model) -> list[str]:
    """Name them; of one that is kept as a hash nothing can be measured, so that it stays a category."""
    return [name for name in model.text_features if model.privacy.get(name) != HASH]


def texts_among(model: Model, features: Collection[str]) -> list[str]:
    """Name those that some features have; one with parts that are features of their own stays a category."""
    return [
        name
        for name in declared_texts(model)
        if name in features and not any(part in features for part in text_parts(name))
    ]


def with_text_statistics(model: Model, features: Mapping[str, Values]) -> dict[str, Values]:
    """Put what is measured of texts in their place, among arrays of one entry a row."""
    texts = texts_among(model, features)
    plain = {name: values for name, values in features.items() if name not in texts}
    for name in texts:
        plain |= describe_texts(name, features[name])
    return plain
