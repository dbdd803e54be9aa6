"""What Driftline keeps of a vector, such as an embedding: few numbers along fixed directions, and its length.

A vector becomes up to 17 features: `name.projection_01` ... `name.projection_16` and `name.norm`. Distances between
vectors survive in few random directions (Johnson and Lindenstrauss 1984), and directions of plus and minus one are as
good as any (Achlioptas 2003): a shift of the vectors is a shift of these numbers, of its share of their spread. A
direction is drawn from the digest of the dimension alone, so that rows of any machine, model and time compare.

Arrays only: no Django, no clock.
"""

import hashlib
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.vector_names import DIRECTIONS, MAX_DIMENSION, MIN_DIMENSION, part_names

_BLOCK_VALUES = 1 << 22  # numbers of vectors that are multiplied at once

Vectors = NDArray[np.floating[Any]]
"""One row a vector."""


@lru_cache(maxsize=64)
def directions_of(dimension: int) -> NDArray[np.float64]:
    """Return the directions that vectors of a dimension are measured along, a row each, of length 1.

    Up to 16 dimensions they are the numbers themselves, of which nothing is lost.

    >>> directions_of(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    >>> directions_of(768).shape
    (16, 768)
    """
    if dimension <= DIRECTIONS:
        return np.eye(dimension)
    wanted = DIRECTIONS * dimension
    digest = hashlib.shake_256(f"directions of {dimension}".encode()).digest(-(-wanted // 8))
    signs = np.unpackbits(np.frombuffer(digest, np.uint8), count=wanted).reshape(DIRECTIONS, dimension)
    return (2.0 * signs - 1.0) / np.sqrt(dimension)


def describe_vectors(name: str, vectors: Vectors) -> dict[str, NDArray[np.float64]]:
    """Return the features of one row each that vectors of one dimension become, as float32 holds them.

    A vector with a NaN is missing as a whole.
    """
    columns = np.concatenate(
        [_describe(vectors[rows]) for rows in _blocks(vectors)] or [_describe(vectors)], axis=1
    )
    return dict(zip(part_names(name, vectors.shape[1]), columns, strict=True))


def _describe(vectors: Vectors) -> NDArray[np.float64]:
    """Measure vectors along each direction, and their lengths: a row each."""
    values = vectors.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        along = directions_of(values.shape[1]) @ values.T
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
        return np.vstack([along, lengths]).astype(np.float32).astype(np.float64)


def _blocks(vectors: Vectors) -> Iterable[slice]:
    step = max(1, _BLOCK_VALUES // vectors.shape[1])
    return [slice(start, start + step) for start in range(0, len(vectors), step)]


def describe_rows(
    name: str, rows: Collection[list[float] | None]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Return the features that vectors of rows become, missing where a row has none, and each row's dimension or 0.

    Raises ValueError for a dimension that no vector may have.
    """
    dimensions = np.fromiter((0 if row is None else len(row) for row in rows), np.int64, len(rows))
    outside = (dimensions < MIN_DIMENSION) | (dimensions > MAX_DIMENSION)
    if any(row is not None for row, is_wrong in zip(rows, outside, strict=True) if is_wrong):
        raise ValueError(f"A vector has {MIN_DIMENSION} to {MAX_DIMENSION} numbers.")
    by_row, features = list(rows), dict[str, NDArray[np.float64]]()
    for dimension in np.unique(dimensions[dimensions > 0]).tolist():
        places = np.flatnonzero(dimensions == dimension)
        matrix = np.array([by_row[place] for place in places.tolist()], np.float64)
        for part, values in describe_vectors(name, matrix).items():
            features.setdefault(part, np.full(len(by_row), np.nan))[places] = values
    return features, dimensions
