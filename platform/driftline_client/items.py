"""Turn what an application knows of a prediction into the items of the logging API."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from driftline_client.errors import DriftlineError

Item = dict[str, Any]

MAX_ITEM_BYTES = 64 << 10  # the server's limit, beside vectors
_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def prediction_item(
    *,
    id: str,
    timestamp: datetime | None,
    version: str | None,
    features: Mapping[str, Any],
    prediction: Any,
    probabilities: Mapping[Any, float] | float | None,
    **optional: Any,
) -> Item:
    """Build one prediction; what is None is left out. Raises DriftlineError for what cannot be sent."""
    if version is None:
        raise DriftlineError("A logged prediction needs a version; give it to model() or to log().")
    item: Item = {
        "id": id,
        "timestamp": rfc3339(timestamp or datetime.now(UTC)),
        "version": version,
        "features": {str(name): _feature(value, f"feature {name}") for name, value in features.items()},
        "prediction": _needed(prediction, "prediction"),
    }
    if isinstance(probabilities, Mapping):
        item["probabilities"] = {
            str(plain(label, "class")): _needed(p, f"probability of {label}")
            for label, p in probabilities.items()
        }
    elif probabilities is not None:
        item["probabilities"] = _needed(probabilities, "probability")
    item.update({name: _optional(value, name) for name, value in optional.items() if value is not None})
    return item


def label_item(*, id: str, label: Any, timestamp: datetime | None) -> Item:
    """Build one label."""
    item: Item = {"id": id, "label": _needed(label, "label")}
    if timestamp is not None:
        item["timestamp"] = rfc3339(timestamp)
    return item


def encode(item: Item) -> bytes:
    """Write an item as JSON; raises DriftlineError for what the server would not take either."""
    try:
        line = _encoder.encode(item).encode()
    except UnicodeEncodeError as error:
        raise DriftlineError(
            f"The item holds text that is not Unicode ({error.object[error.start]!r})."
        ) from error
    except (TypeError, ValueError) as error:
        raise DriftlineError(f"The item cannot be written as JSON: {error}.") from error
    if len(line) > MAX_ITEM_BYTES and (size := _bytes_beside_vectors(item)) > MAX_ITEM_BYTES:
        raise DriftlineError(f"An item has at most 64 KiB beside vectors; this one has {size:,} bytes.")
    return line


def _bytes_beside_vectors(item: Item) -> int:
    others = {name: value for name, value in item.get("features", {}).items() if not isinstance(value, list)}
    return len(_encoder.encode(item | ({"features": others} if "features" in item else {})).encode())


def rfc3339(moment: datetime) -> str:
    """Write a time with its zone; a naive one is refused, for nobody can tell which hour it means."""
    if moment.utcoffset() is None:
        raise DriftlineError(f"The time {moment} has no zone; use datetime.now(UTC) or set tzinfo.")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _feature(value: Any, what: str) -> float | int | bool | str | list[float] | None:
    """Turn a feature's value into JSON's own; a list, tuple or array of numbers is a vector."""
    if isinstance(value, (str, bytes)) or not (
        isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1
    ):
        return plain(value, what)
    return [_number(one, what) for one in (value.tolist() if hasattr(value, "tolist") else value)]


def _number(value: Any, what: str) -> float:
    number = plain(value, what)
    if number is None or isinstance(number, str):
        raise DriftlineError(
            f"The {what} is a vector that holds {value!r}; send numbers alone, or None for it all."
        )
    return float(number)


def plain(value: Any, what: str) -> float | int | bool | str | None:
    """Turn a value, NumPy's and pandas' included, into JSON's own; missing numbers become None."""
    if type(value) is float and math.isfinite(value):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DriftlineError(
            f"The {what} is a {type(value).__name__}; send a number, a text, a bool or None."
        ) from error
    if math.isinf(number):
        raise DriftlineError(f"The {what} is {number}, which JSON cannot hold; send None or a finite number.")
    return None if math.isnan(number) else number


def _optional(value: Any, name: str) -> Any:
    return dict(value) if isinstance(value, Mapping) else plain(value, name)


def _needed(value: Any, what: str) -> float | int | bool | str:
    known = plain(value, what)
    if known is None:
        raise DriftlineError(f"The {what} is missing; send a number or a text.")
    return known
