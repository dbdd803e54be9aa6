"""The rows of a reference's file, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftline.base.periods import HOUR_US
from inference.registry.files.datasets import path_of
from inference.registry.selectors import privacy_of, signature_of
from inference.signatures import Feature, Signature
from inference.texts import text_parts
from monitors.definitions.models import Reference
from monitors.definitions.text_features import declared_texts, with_text_statistics


@dataclass(frozen=True)
class ReferenceRows:
    """Features of a reference's rows as the log keeps them, and the hours since 1970 of those rows, if known.

    `places` count the file's rows from 1.
    """

    features: dict[str, NDArray[Any]]
    hours: NDArray[np.int64] | None
    places: NDArray[np.int64]


def read_rows(reference: Reference, names: Collection[str], *, most: int) -> ReferenceRows:
    """Read some features of up to `most` rows, evenly spaced over the file.

    Where rows have times, those without one are left out. Raises FileNotFoundError where the file is gone.
    """
    assert reference.dataset is not None
    names = set(names)
    texts = {name for name in declared_texts(reference.model) if names & set(text_parts(name))}
    features = [
        feature for feature in signature_of(reference.version).features if feature.name in names | texts
    ]
    timed = ["timestamp"] if "timestamp" in reference.dataset.columns else []
    table = pq.read_table(path_of(reference.dataset), columns=[*(one.name for one in features), *timed])
    places = np.arange(table.num_rows)
    if timed:
        places = places[table["timestamp"].is_valid().to_numpy()]
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    if len(places) < table.num_rows:
        table = table.take(places)
    kept = privacy_of(reference.model_id).protect(feature_arrays(table, features))
    if texts:
        known = with_text_statistics(reference.model, kept)
        kept = {name: values for name, values in known.items() if name in names}
    return ReferenceRows(kept, _hours(table) if timed else None, places + 1)


def feature_arrays(table: pa.Table, features: Iterable[Feature]) -> dict[str, NDArray[Any]]:
    """Return a table's features by name: texts as objects, anything else as float64."""
    return {
        feature.name: (
            np.array(table[feature.name].to_pylist(), object)
            if feature.type == "string"
            else table[feature.name].to_numpy().astype(np.float64)
        )
        for feature in features
    }


def column_of(table: pa.Table, name: str) -> NDArray[Any] | None:
    """Return a column that is no feature: texts as objects, anything else as float64; None where it is not there."""
    if name not in table.column_names:
        return None
    if pa.types.is_string(table[name].type):
        return np.array(table[name].to_pylist(), object)
    return table[name].to_numpy().astype(np.float64)


def positive_score(table: pa.Table, signature: Signature) -> NDArray[Any] | None:
    """Return the probability of the positive class, under either of its names."""
    for name in ("probability", f"probability_{signature.positive_class}"):
        if name in table.column_names:
            return column_of(table, name)
    return None


def class_probabilities(table: pa.Table, signature: Signature) -> NDArray[Any] | None:
    """Return rows x classes; None unless each class has its column."""
    names = [f"probability_{name}" for name in signature.classes]
    if not names or not all(name in table.column_names for name in names):
        return None
    return np.column_stack([table[name].to_numpy() for name in names])


def _hours(table: pa.Table) -> NDArray[np.int64]:
    times = table["timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    hours: NDArray[np.int64] = times // HOUR_US
    return hours
