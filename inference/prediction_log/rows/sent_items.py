"""What one sent item means, and which values cannot be kept although their types are right."""

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from driftline.base.ids import ID_LENGTH, is_valid_id
from driftline.base.periods import parse_timestamp, rfc3339
from driftline.base.strict_json import escape_pointer, printable
from inference.prediction_log.items import LabelItem, class_text
from inference.vector_names import MAX_DIMENSION, MIN_DIMENSION, SUFFIX_LENGTH, part_names

MAX_LABEL_LENGTH = 200
MAX_FEATURE_NAME = 100
MAX_FEATURES = 1_000
MAX_TAGS = 50
MAX_VECTORS = 16
MAX_VECTOR_NAME = MAX_FEATURE_NAME - SUFFIX_LENGTH
AHEAD = timedelta(minutes=10)
RETENTION = timedelta(days=3650)
NUMERIC_TASKS = ("regression", "ranking")
ROLES = ("champion", "shadow", "canary", "direct")
DEFAULT_ROLE = "champion"
PROBABILITY_TOLERANCE = 1e-6
SUM_TOLERANCE = 1e-4  # callers round each class
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


type _Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
type Value = float | _Integer | bool | str
type FeatureValue = Value | list[float] | None


class SentPrediction(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    timestamp: str
    version: str
    features: dict[str, FeatureValue]
    prediction: Value
    probabilities: dict[str, float] | float | UnsetType | None = UNSET
    latency_ms: float | UnsetType | None = UNSET
    role: str | UnsetType | None = UNSET
    subject: str | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET


OPTIONAL_FIELDS = SentPrediction.__struct_fields__[-len(SentPrediction.__struct_defaults__) :]


class SentLabel(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    label: Value
    timestamp: str | UnsetType | None = UNSET


class Refused(Exception):
    """One item cannot be kept; `at` is the place below the item."""

    def __init__(self, code: str, at: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.at, self.detail = code, at, detail


def check_prediction(row: SentPrediction, *, task: str, now: datetime, skew: timedelta | None) -> None:
    """Check one item by itself; raises Refused with the first field that cannot be kept."""
    _check_id(row.id)
    check_version(row.version)
    check_feature_names(tuple(row.features))
    check_vectors(row.features)
    _event_time(row.timestamp, now=now, skew=skew)
    check_outcome(row.prediction, task=task)
    check_probabilities(row.probabilities, task=task)
    _check_latency(row.latency_ms)
    check_role(row.role)
    check_subject(row.subject)
    check_tags(row.tags)


def accept_label(row: SentLabel, *, task: str, now: datetime, skew: timedelta | None) -> LabelItem:
    _check_id(row.id)
    moment = _event_time(row.timestamp, now=now, skew=skew) if row.timestamp else None
    return LabelItem(row.id, label_text(row.label, task=task), moment)


def _check_id(text: str) -> None:
    if not is_valid_id(text):
        raise Refused("invalid_id", "/id", f"An id has 1 to {ID_LENGTH} printable characters.")


def _event_time(text: str, *, now: datetime, skew: timedelta | None) -> datetime:
    try:
        moment = parse_timestamp(text)
        moment = moment + skew if skew else moment
    except (ValueError, OverflowError) as error:
        detail = f"'{printable(text)}' is not an RFC 3339 time with a zone, such as {rfc3339(now)}."
        raise Refused("invalid_timestamp", "/timestamp", detail) from error
    if not now - RETENTION <= moment <= now + AHEAD:
        detail = f"{rfc3339(moment)} is more than 10 minutes ahead or older than {RETENTION.days:,} days."
        raise Refused("timestamp_out_of_window", "/timestamp", detail)
    return moment


def check_version(name: str) -> None:
    """Raise Refused where a version cannot have this name."""
    if not _VERSION.fullmatch(name):
        raise Refused("invalid_version", "/version", "A version has 1 to 64 letters, digits, dots or dashes.")


@lru_cache(maxsize=64)  # the items of a model have the same names
def check_feature_names(names: tuple[str, ...]) -> None:
    """Raise Refused where features cannot have these names."""
    if len(names) > MAX_FEATURES:
        raise Refused("too_many_keys", "/features", f"A prediction has at most {MAX_FEATURES:,} features.")
    for name in names:
        if not 0 < len(name) <= MAX_FEATURE_NAME:
            at = f"/features/{escape_pointer(name)}"
            raise Refused("key_too_long", at, f"A feature's name has 1 to {MAX_FEATURE_NAME} characters.")


def check_vectors(features: Mapping[str, FeatureValue]) -> None:
    """Raise Refused for vectors that are too many, too short or too long, or with parts that have another's name."""
    vectors = {name: value for name, value in features.items() if type(value) is list}
    if len(vectors) > MAX_VECTORS:
        raise Refused("too_many_keys", "/features", f"A prediction has at most {MAX_VECTORS} vectors.")
    for name, vector in vectors.items():
        at = f"/features/{escape_pointer(name)}"
        check_dimension(len(vector), at)
        if len(name) > MAX_VECTOR_NAME:
            raise Refused("key_too_long", at, f"A vector's name has 1 to {MAX_VECTOR_NAME} characters.")
        for part in part_names(name, len(vector)):
            if part in features:
                detail = f"{part!r} is a number that is made of the vector {name!r}; give one of them another name."
                raise Refused("name_taken", at, detail)


def check_dimension(dimension: int, at: str) -> None:
    """Raise Refused where a vector cannot have so many numbers."""
    if not MIN_DIMENSION <= dimension <= MAX_DIMENSION:
        detail = f"A vector has {MIN_DIMENSION} to {MAX_DIMENSION:,} numbers; this list has {dimension:,}."
        raise Refused("invalid_vector", at, detail)


def check_outcome(value: Value, *, task: str) -> None:
    """Raise Refused where a model of this task cannot predict `value`: a regression predicts numbers only."""
    if task in NUMERIC_TASKS:
        if isinstance(value, (bool, str)):
            raise Refused("invalid_prediction", "/prediction", f"A {task} model predicts a number.")
    elif isinstance(value, str) and not 0 < len(value) <= MAX_LABEL_LENGTH:
        raise Refused("invalid_prediction", "/prediction", f"A class has 1 to {MAX_LABEL_LENGTH} characters.")


def label_text(value: float | bool | str, *, task: str) -> str:
    """Write a label as it is kept; raises Refused where this task cannot have it."""
    if task in NUMERIC_TASKS and (isinstance(value, bool) or not _is_finite(value)):
        detail = f"The label '{printable(str(value))}' is not a number, and this is a {task} model."
        raise Refused("label_type_mismatch", "/label", detail)
    if isinstance(value, str) and not 0 < len(value) <= MAX_LABEL_LENGTH:
        raise Refused("invalid_label", "/label", f"A label has 1 to {MAX_LABEL_LENGTH} characters.")
    return class_text(value)


def _is_finite(value: float | str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def check_probabilities(
    value: dict[str, float] | float | UnsetType | None, *, task: str
) -> dict[str, float] | float | None:
    """Return probabilities as they are kept, rounding errors cut off; raises Refused."""
    if value is UNSET or value is None:
        return None
    if task in NUMERIC_TASKS:
        raise Refused("invalid_probability", "/probabilities", f"A {task} model has no probabilities.")
    if isinstance(value, dict):
        found = {name: _probability(p, f"/probabilities/{escape_pointer(name)}") for name, p in value.items()}
        if abs(math.fsum(found.values()) - 1) > SUM_TOLERANCE:
            detail = f"The probabilities sum to {math.fsum(found.values()):.6g}, not to 1."
            raise Refused("invalid_probability", "/probabilities", detail)
        return found
    if task != "binary":
        raise Refused(
            "invalid_probability", "/probabilities", "Send {class: p}; one number is for binary models."
        )
    return _probability(value, "/probabilities")


def _probability(value: float, at: str) -> float:
    if not is_probability(value):
        raise Refused("invalid_probability", at, f"A probability lies between 0 and 1; this is {value:.10g}.")
    return min(max(value, 0.0), 1.0)


def is_probability(value: Any) -> Any:
    """Return whether a number is a probability, but for rounding; of an array, each of its numbers."""
    return (value >= -PROBABILITY_TOLERANCE) & (value <= 1 + PROBABILITY_TOLERANCE)


def _check_latency(value: float | UnsetType | None) -> None:
    if value is not UNSET and value is not None and not is_latency(value):
        raise Refused("invalid_latency", "/latency_ms", "A latency lies between 0 ms and one day.")


def is_latency(value: Any) -> Any:
    """Return whether a number of milliseconds can be a latency; of an array, each of its numbers."""
    return (value >= 0) & (value <= 86_400_000)


def check_role(value: str | UnsetType | None) -> None:
    """Raise Refused for what is no role."""
    if value is not UNSET and value is not None and value not in ROLES:
        raise Refused("invalid_role", "/role", f"'{printable(value)}' is not one of {', '.join(ROLES)}.")


def check_subject(value: str | UnsetType | None) -> None:
    """Raise Refused for what cannot be a subject's key."""
    if value is not UNSET and value is not None and not is_valid_id(value):
        raise Refused("invalid_subject", "/subject", f"A subject has 1 to {ID_LENGTH} printable characters.")


def check_tags(value: dict[str, str] | UnsetType | None) -> None:
    """Raise Refused for more tags than a prediction may have."""
    if value and len(value) > MAX_TAGS:
        raise Refused("too_many_keys", "/tags", f"A prediction has at most {MAX_TAGS} tags.")
