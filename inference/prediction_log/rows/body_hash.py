"""What was sent of a prediction, as one number: it tells a repetition from another prediction under the same id."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

type Values = NDArray[Any]

_CACHED = 1 << 15  # numbers that are mixed at once: they stay in the processor's cache
_canonical = msgspec.json.Encoder(order="deterministic")


def hash_items(sent_us: NDArray[np.int64], columns: Mapping[str, Values]) -> NDArray[np.int64]:
    """Hash each item by its values: a sum over its fields of mixed 64-bit values, so order does not matter.

    A missing value adds nothing. Numbers count as float64, as the log keeps them.
    """
    numbers = {name: values for name, values in columns.items() if values.dtype != object}
    total = _mix(sent_us.view(np.uint64), _seed("timestamp"))
    if numbers:
        seeds = np.array([_seed(name) for name in numbers], np.uint64)[:, None]
        step = max(1, _CACHED // len(numbers))
        for start in range(0, len(total), step):
            rows = slice(start, start + step)
            total[rows] += _mixed_numbers(np.stack([values[rows] for values in numbers.values()]), seeds)
    for name, values in columns.items():
        if values.dtype == object and values.tolist().count(None) < len(values):
            total += _mixed_objects(values, _seed(name))
    return (total >> np.uint64(1)).astype(np.int64)


def _mixed_numbers(table: NDArray[Any], seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    table = table + 0.0  # -0.0 becomes 0.0
    mixed = _mix(table.view(np.uint64), seeds)
    missing = np.isnan(table)
    if missing.any():
        mixed[missing] = 0
    return mixed.sum(0, dtype=np.uint64)


def _mixed_objects(values: Values, seed: np.uint64) -> NDArray[np.uint64]:
    try:
        places = {value: place for place, value in enumerate(set(values.tolist()))}
    except TypeError:  # objects that hold classes or tags
        return _mixed([_bits(value) for value in values], seed)
    mixed = _mixed([_bits(value) for value in places], seed)
    if len(mixed) == 1:
        return np.broadcast_to(mixed, len(values))
    return mixed[np.fromiter(map(places.__getitem__, values), np.intp, len(values))]


def _mixed(bits: list[int | None], seed: np.uint64) -> NDArray[np.uint64]:
    mixed = _mix(np.array([given or 0 for given in bits], np.uint64), seed)
    return np.where([given is None for given in bits], np.uint64(0), mixed)


def _bits(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, float | int):
        return int(np.float64(value + 0.0).view(np.uint64))
    content = value.encode() if isinstance(value, str) else _canonical.encode(value)
    return int.from_bytes(blake2b(content, digest_size=8).digest())


def _mix(bits: NDArray[np.uint64], seed: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Spread every bit over all 64 (splitmix64's finaliser, Steele, Lea and Flood 2014)."""
    mixed = np.asarray(bits ^ seed)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@lru_cache(maxsize=8192)
def _seed(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(name.encode(), digest_size=8).digest()))
