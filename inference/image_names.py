"""The names of the features that an image becomes, without arrays."""

from inference.vector_names import vector_of

SUFFIXES = ("brightness", "contrast", "sharpness")


def image_parts(name: str) -> list[str]:
    """Name the features that an image becomes."""
    return [f"{name}.{suffix}" for suffix in SUFFIXES]


def whole_by_name(part: str) -> str | None:
    """Return the name of the vector or image that a feature would be a part of; None where it is none."""
    name, _, suffix = part.rpartition(".")
    return name if name and suffix in SUFFIXES else vector_of(part)
