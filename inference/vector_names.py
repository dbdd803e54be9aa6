"""The names of the features that a vector becomes, and how long it may be, without arrays."""

from collections.abc import Iterable

MIN_DIMENSION, MAX_DIMENSION = 2, 4_096
DIRECTIONS = 16
_PROJECTION, _NORM = ".projection_", ".norm"
SUFFIX_LENGTH = len(f"{_PROJECTION}{DIRECTIONS:02d}")


def part_names(name: str, dimension: int) -> list[str]:
    """Name the features that a vector becomes: its directions in order, then its length."""
    count = min(dimension, DIRECTIONS)
    return [f"{name}{_PROJECTION}{place:02d}" for place in range(1, count + 1)] + [name + _NORM]


def norm_of(name: str) -> str:
    """Name the feature that is a vector's length."""
    return name + _NORM


def vector_of(part: str) -> str | None:
    """Return the name of the vector that a feature would be a part of, by its name; None where it is none."""
    if part.endswith(_NORM):
        return part.removesuffix(_NORM) or None
    name, mark, place = part.rpartition(_PROJECTION)
    is_place = bool(mark) and len(place) == 2 and place.isascii() and place.isdigit()
    return name if name and is_place and 1 <= int(place) <= DIRECTIONS else None


def vectors_in(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the vectors that features are parts of, each with its parts in order: those of which none is missing.

    >>> vectors_in(["age", "photo.projection_01", "photo.projection_02", "photo.norm", "other.norm"])
    {'photo': ('photo.projection_01', 'photo.projection_02', 'photo.norm')}
    """
    known = dict.fromkeys(names)
    found: dict[str, tuple[str, ...]] = {}
    for name in known:
        vector = vector_of(name)
        if vector is None or vector in found:
            continue
        parts = tuple(part for part in part_names(vector, DIRECTIONS) if part in known)
        if len(parts) > MIN_DIMENSION and parts == tuple(part_names(vector, len(parts) - 1)):
            found[vector] = parts
    return found


def whole_of(parts: Iterable[str]) -> dict[str, str]:
    """Map each part of a vector among some features to the vector's name."""
    return {part: vector for vector, several in vectors_in(parts).items() for part in several}
