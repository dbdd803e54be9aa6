"""What a model's own settings refuse of items that are right by themselves: types, a strict schema, retention."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from driftline.base.periods import DAY_US, day_of, start_of_day, to_us
from driftline.base.strict_json import escape_pointer, printable
from inference.prediction_log.items import ItemFault
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.plain_features import find_plain_features
from inference.prediction_log.queries.selectors import newest_arrival
from inference.prediction_log.rows.sent_columns import SentColumns
from inference.registry.models import Model, SchemaPolicy
from inference.registry.vector_dimensions import Dimensions
from inference.signatures import Feature, Signature

_DAY = timedelta(days=1)
_EPOCH_DAY = date(1970, 1, 1)

type _Mask = NDArray[np.bool_]


def find_refused(
    model: Model,
    columns: SentColumns,
    declared: Mapping[str, Signature],
    now: datetime,
    served: Collection[str] = (),
) -> dict[int, ItemFault]:
    """Find the items that the model does not take, by their places; `declared` is by version, where it is known.

    The features and classes of the versions that are `served` are fixed, whatever the model's schema policy is.
    """
    faults = _Faults(columns)
    for name, signature in declared.items():
        of_version, is_strict = columns.versions == name, model.schema_policy == SchemaPolicy.STRICT
        if is_strict or (name in served and signature.features):
            _refuse_unknown_features(columns, of_version, signature, faults)
        if is_strict:
            _refuse_missing_features(columns, of_version, signature, faults)
        if name in served and signature.classes:
            _refuse_unknown_classes(columns, of_version, signature, faults)
        made = [Feature(name, "float") for name in columns.features if signature.makes(name)]
        _refuse_wrong_types(columns, np.flatnonzero(of_version), [*signature.features, *made], faults)
    _refuse_expired(model, columns, now, faults)
    return faults.found


@dataclass
class _Faults:
    """The first fault of each item, by its place."""

    columns: SentColumns

    def __post_init__(self) -> None:
        self.found: dict[int, ItemFault] = {}

    def add(self, row: int, code: str, detail: str, at: str) -> None:
        place = int(self.columns.places[row])
        fault = ItemFault(self.columns.ids[row], code, detail, f"/predictions/{place}{at}")
        self.found.setdefault(place, fault)

    def add_feature(self, rows: Iterable[int], code: str, detail: str, name: str) -> None:
        for row in rows:
            self.add(row, code, detail, f"/features/{escape_pointer(name)}")


# -- the schema --------------------------------------------------------------------------------------------------------
def _refuse_unknown_features(
    columns: SentColumns, rows: _Mask, signature: Signature, faults: _Faults
) -> None:
    """Refuse items that have features that the signature has not."""
    for name in columns.features.keys() - {feature.name for feature in signature.features}:
        if signature.makes(name):
            continue
        detail = f"The version declares no feature {printable(name)!r}."
        faults.add_feature(np.flatnonzero(rows & _has(columns, name)), "unknown_feature", detail, name)


def _refuse_missing_features(
    columns: SentColumns, rows: _Mask, signature: Signature, faults: _Faults
) -> None:
    """Refuse items that lack a feature of the signature; null is a value that is missing, not a feature."""
    for name in sorted(feature.name for feature in signature.features):
        detail = f"The feature {name!r} is missing, and the model's schema is strict; send null for no value."
        faults.add_feature(np.flatnonzero(rows & ~_has(columns, name)), "missing_feature", detail, name)


def _has(columns: SentColumns, name: str) -> _Mask:
    if name not in columns.features:
        return np.zeros(len(columns), bool)
    absent = columns.absent.get(name)
    return np.ones(len(columns), bool) if absent is None else ~absent


def _refuse_unknown_classes(columns: SentColumns, rows: _Mask, signature: Signature, faults: _Faults) -> None:
    """Refuse items that predict, or give a probability to, what is none of the signature's classes."""
    classes = frozenset(signature.classes)

    def refuse(places: Iterable[int], name: str, at: str) -> None:
        known = ", ".join(map(repr, signature.classes[:10]))
        for row in places:
            detail = f"{printable(name)!r} is no class of the version; its classes are {known}."
            faults.add(row, "unknown_class", detail, at)

    for name in set(columns.predictions[rows]) - classes:
        refuse(np.flatnonzero(rows & (columns.predictions == name)), name, "/prediction")
    if columns.probabilities is None or columns.probabilities.dtype != object:
        return
    for row in np.flatnonzero(rows):
        given = columns.probabilities[row]
        for name in given.keys() - classes if isinstance(given, dict) else ():
            refuse([int(row)], name, f"/probabilities/{escape_pointer(name)}")


# -- vectors -----------------------------------------------------------------------------------------------------------
def find_misfit_vectors(
    columns: SentColumns, versions: Mapping[str, int], known: Dimensions
) -> dict[int, ItemFault]:
    """Find the items with a vector of another dimension than their version's, with one in the place of a number or a
    text, or with none, by their places.

    `versions` are the keys of those that are there; of others the first vector of the request counts.
    """
    faults = _Faults(columns)
    plain = _find_plain(columns, versions, known)
    vectors = set[tuple[str, str]]()
    for version, name, rows in vectors_by_version(columns):
        if (version, name) in plain:
            detail = (
                f"The feature {printable(name)!r} of version {version} is a number or a text; send one, or null. Log "
                "vectors under another name or version."
            )
            faults.add_feature(rows.tolist(), "wrong_type", detail, name)
            continue
        vectors.add((version, name))
        lengths = columns.dimensions[name][rows]
        wanted = known.get((versions.get(version, 0), name), int(lengths[0]))
        for row, length in zip(rows[lengths != wanted], lengths[lengths != wanted], strict=True):
            detail = (
                f"The vectors {printable(name)!r} of version {version} have {wanted:,} numbers, and this one has "
                f"{length:,}. Log what another encoder made under another version."
            )
            faults.add_feature([int(row)], "wrong_dimension", detail, name)
    by_key = {key: version for version, key in versions.items()}
    for version, name in vectors | {(by_key[key], name) for key, name in known if key in by_key}:
        rows = np.flatnonzero((columns.versions == version) & _is_given(columns, name))
        detail = f"The feature {printable(name)!r} of version {version} is a vector; send a list of numbers or null."
        faults.add_feature(rows.tolist(), "wrong_type", detail, name)
    return faults.found


def _find_plain(columns: SentColumns, versions: Mapping[str, int], known: Dimensions) -> set[tuple[str, str]]:
    """Return by version the features that are numbers or texts although some items have vectors there.

    They are in the log as such, or in more items than vectors are: one wrong item may not decide what a feature is.
    """
    plain, unknown = set[tuple[str, str]](), dict[str, set[str]]()
    for version, name, rows in vectors_by_version(columns):
        if (versions.get(version, 0), name) in known:
            continue
        if np.count_nonzero((columns.versions == version) & _is_given(columns, name)) > len(rows):
            plain.add((version, name))
        elif version in versions:
            unknown.setdefault(version, set()).add(name)
    for version, names in unknown.items():
        plain |= {(version, name) for name in find_plain_features(versions[version], names)}
    return plain


def _is_given(columns: SentColumns, name: str) -> _Mask:
    """Mark the items in which a feature has a value that is no vector."""
    values = columns.features.get(name)
    if values is None:
        return np.zeros(len(columns), bool)
    return np.fromiter((value is not None and value == value for value in values), bool, len(columns))


def vectors_by_version(columns: SentColumns) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """List the vectors of each version: its name, the feature, and the items that have one."""
    for name, lengths in columns.dimensions.items():
        for version in sorted(set(columns.versions)):
            rows = np.flatnonzero((columns.versions == version) & (lengths > 0))
            if len(rows):
                yield version, name, rows


def _refuse_wrong_types(
    columns: SentColumns, rows: NDArray[np.intp], features: Iterable[Feature], faults: _Faults
) -> None:
    """Refuse items whose features are not of the declared types; nothing is coerced silently."""
    for feature in features:
        lengths = columns.dimensions.get(feature.name)
        if lengths is not None:
            detail = f"Feature {feature.name!r} is a list; use {_expected(feature)} or null."
            faults.add_feature(rows[lengths[rows] > 0], "wrong_type", detail, feature.name)
        values = columns.features.get(feature.name)
        if values is None or (values.dtype != object and feature.type != "string"):
            continue
        for row in rows:
            if _is_misfit(values[row], is_text=feature.type == "string"):
                detail = _misfit(feature, values[row])
                faults.add_feature([row], "wrong_type", detail, feature.name)


def _is_misfit(value: Any, *, is_text: bool) -> bool:
    is_missing = value is None or value != value
    return not is_missing and isinstance(value, str) != is_text


def _misfit(feature: Feature, value: object) -> str:
    return f"Feature {feature.name!r} is {str(value)[:64]!r}; use {_expected(feature)} or null."


def _expected(feature: Feature) -> str:
    return "text" if feature.type == "string" else "a number"


# -- the retention -----------------------------------------------------------------------------------------------------
def _refuse_expired(model: Model, columns: SentColumns, now: datetime, faults: _Faults) -> None:
    """Refuse items of days that the model does not keep, by the clock of its events as expiry goes by it."""
    days = settings.RETENTION_DAYS if model.retention_days is None else model.retention_days
    if not days or columns.times_us.min() >= to_us(start_of_day(day_of(now) - days * _DAY)):
        return
    last_day = int(columns.times_us.max()) // DAY_US
    if newest_arrival(model) != (None, None):  # history may be logged from its first day on
        last_day = max(last_day, (day_of(event_now(model=model, now=now)) - _EPOCH_DAY).days)
    detail = f"The model keeps {days:,} days of events, and this one is older; change its retention_days."
    for row in np.flatnonzero(columns.times_us < (last_day - days) * DAY_US):
        faults.add(int(row), "timestamp_out_of_window", detail, "/timestamp")
