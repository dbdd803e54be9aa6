"""64-bit hashes of ids, sorted: eight bytes a row tell which chunk may hold a prediction without a narrow row."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_STORED = "<u8"


def hash_ids(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Hash each id, in their order."""
    digests = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in ids])
    return np.frombuffer(digests, _STORED)


def write_hashes(ids: Iterable[str]) -> bytes:
    """Write the hashes of these ids, sorted."""
    return np.sort(hash_ids(ids)).tobytes()


def read_hashes(stored: bytes | memoryview) -> NDArray[np.uint64]:
    return np.frombuffer(stored, _STORED)


def may_hold(stored: bytes | memoryview | None, wanted: NDArray[np.uint64]) -> bool:
    """Return whether any of the wanted hashes is among the stored ones; without any, the rows must be looked at."""
    if stored is None:
        return True
    hashes = read_hashes(stored)
    if not len(hashes):
        return False
    places = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    return bool((hashes[places] == wanted).any())
