"""What becomes of a feature's values before they are kept anywhere: as they are, as a keyed hash, or not at all.

Or they are kept only until they are summarised: see drop_rows.

No Django here: serving processes apply it before a record reaches the spool, every other way in before the log.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.image_names import image_parts, whole_by_name
from inference.prediction_log.items import as_objects
from inference.prediction_log.spool.record import FeatureColumn

type Values = NDArray[Any]

KEEP, HASH, DROP, SUMMARY = "keep", "hash", "drop", "summary"
POLICIES = (KEEP, HASH, DROP, SUMMARY)
KEY_FILE = Path("keys") / "hash_key"
_DTYPES = {"f4": "<f4", "f8": "<f8", "i8": "<i8"}
_DIGITS = 24  # 96 bits: no two of a billion values are likely to share a hash
_HASHED = re.compile(rf"hmac:[0-9a-f]{{{_DIGITS}}}")


def read_hash_key(home: Path) -> bytes:
    """Read the key of the home's hashes."""
    return (home / KEY_FILE).read_bytes()


def policy_of(policies: Mapping[str, str], feature: str) -> str:
    """Return a feature's policy; a number made of a vector or an image has that one's, and is dropped for a hash."""
    whole = whole_by_name(feature)
    if feature in policies or whole is None:
        return policies.get(feature, KEEP)
    policy = policies.get(whole, KEEP)
    return DROP if policy == HASH else policy


def keeps_image(policies: Mapping[str, str], name: str) -> bool:
    """Return whether thumbnails of an image may be kept and seen: it and all that is measured of it are kept."""
    return all(policy_of(policies, part) == KEEP for part in (name, *image_parts(name)))


class Privacy:
    """The policies of one model's features; what none names is kept."""

    def __init__(self, model_id: int, policies: Mapping[str, str], key: bytes) -> None:
        self._model_id = model_id
        self._policies = policies
        self._key = key

    def __bool__(self) -> bool:
        return bool(self._policies)

    def of(self, feature: str) -> str:
        """Return a feature's policy; see `policy_of`."""
        return policy_of(self._policies, feature)

    def keeps_image(self, name: str) -> bool:
        """Return whether thumbnails of an image may be kept; see `keeps_image`."""
        return keeps_image(self._policies, name)

    def hash_values(self, feature: str, values: Iterable[Any]) -> list[str | None]:
        """Hash the text of each value; equal values of a feature have one hash, and a hash stays as it is."""
        known: dict[Any, str | None] = {}
        return [self._hash(feature, value, known) for value in values]

    def _hash(self, feature: str, value: Any, known: dict[Any, str | None]) -> str | None:
        if value is None or value != value:
            return None
        if value not in known:
            known[value] = self._digest(feature, _text(value))
        return known[value]

    def _digest(self, feature: str, text: str) -> str:
        if _HASHED.fullmatch(text):  # a serving process has hashed it before the drain
            return text
        named = f"feature {self._model_id} {feature}\n{text}".encode("utf-8", "surrogatepass")
        return f"hmac:{hmac.new(self._key, named, hashlib.sha256).hexdigest()[:_DIGITS]}"

    # What is logged

    def protect(self, features: Mapping[str, Values]) -> dict[str, Values]:
        """Apply the policies to arrays of one entry a row."""
        return {
            name: as_objects(self.hash_values(name, values.tolist())) if self.of(name) == HASH else values
            for name, values in features.items()
            if self.of(name) != DROP
        }

    def protect_record(self, columns: list[FeatureColumn]) -> list[FeatureColumn]:
        """Apply the policies to the columns of a record that is about to be spooled."""
        return [
            FeatureColumn(column.name, "s", self.hash_values(column.name, _values(column)))
            if self.of(column.name) == HASH
            else column
            for column in columns
            if self.of(column.name) != DROP and not (column.kind == "v4" and self.of(column.name) == HASH)
        ]


def _text(value: Any) -> str:
    """Write a value as text, a whole number without decimals: it may come as either."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _values(column: FeatureColumn) -> list[Any]:
    if isinstance(column.data, list):
        return column.data
    found: list[Any] = np.frombuffer(column.data, _DTYPES[column.kind]).tolist()
    return found
