"""The classification extension: an output's highest values, named by their classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inference.protocol.v2.tensors import InvalidRequest, shorten
from inference.signatures import Signature, TensorSpec


def class_labels(signature: Signature, output: TensorSpec) -> list[str]:
    """Return the labels of an output's columns: the classes' names for probabilities, else none."""
    return signature.classes if output.name == signature.probabilities_output else []


def top_classes(
    values: npt.NDArray[np.generic], count: int, labels: Sequence[str]
) -> npt.NDArray[np.object_]:
    """Name the highest values of each row as `value:index[:label]`, the highest first, at most `count`.

    Of equal values the one of lower index comes first; NaN comes last.
    """
    table = values.reshape(len(values), -1)
    falling = (
        np.negative(table) if table.dtype.kind == "f" else np.invert(table)
    )  # which has no overflow, and keeps NaN last
    places = np.argsort(falling, axis=1, kind="stable")[:, :count]
    highest = np.take_along_axis(table, places, axis=1)
    known = labels if len(labels) == table.shape[1] else []
    names = [
        _name(value, place, known)
        for value, place in zip(highest.ravel().tolist(), places.ravel().tolist(), strict=True)
    ]
    return np.array(names, dtype=object).reshape(places.shape)


def _name(value: float, place: int, labels: Sequence[str]) -> str:
    text = f"{value:f}" if isinstance(value, float) else str(int(value))
    return f"{text}:{place}:{labels[place]}" if labels else f"{text}:{place}"


def read_class_count(count: object, output: TensorSpec) -> int:
    """Read of how many classes of an output a request wants the names."""
    if type(count) is not int or count < 1:
        raise InvalidRequest(
            f"Output '{output.name}' is asked for {shorten(count)} classes; send a whole number from 1."
        )
    if output.datatype == "BYTES":
        raise InvalidRequest(
            f"Output '{output.name}' holds texts, which have no highest values; leave 'classification' out."
        )
    return count
