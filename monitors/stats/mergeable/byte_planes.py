"""Arrays as bytes that compress well: all first bytes first, then all second bytes, and so on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def shuffle(values: NDArray[np.generic]) -> bytes:
    """Put all first bytes first, then all second bytes, ...: like bytes side by side compress far better."""
    little = values.astype(values.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, little.itemsize).T.tobytes()


def unshuffle(data: bytes, kind: np.typing.DTypeLike) -> NDArray[np.generic]:
    """Restore what `shuffle` took, as values of a kind."""
    little = np.dtype(kind).newbyteorder("<")
    planes = np.frombuffer(data, dtype=np.uint8).reshape(little.itemsize, -1)
    together = np.empty(planes.shape[::-1], dtype=np.uint8)
    for place, plane in enumerate(planes):  # plane by plane: a transposed copy takes three times as long
        together[:, place] = plane
    return together.view(little).ravel().astype(kind, copy=False)


def unshuffle_together(parts: Sequence[bytes], kind: np.typing.DTypeLike) -> NDArray[np.generic]:
    """Restore what `shuffle` took of several arrays of a kind, one after the other in one array."""
    width = np.dtype(kind).itemsize
    sizes = [len(part) // width for part in parts]
    planes = (
        part[place * size : (place + 1) * size]
        for place in range(width)
        for part, size in zip(parts, sizes, strict=True)
    )
    return unshuffle(b"".join(planes), kind)
