"""Model outputs on their way to answers: a whole batch is turned to text at once, then cut into its requests."""

import functools
import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import orjson

VALUES_AT_ONCE = 4096  # written before another thread may have the interpreter

Array = npt.NDArray[np.generic]


class BatchOutputs:
    """All outputs of one run, from which each of its requests is answered."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = arrays
        self.row_shapes = [_shape_text(values.shape[1:]) for values in arrays]
        self.finite = [
            bool(np.isfinite(values).all()) if values.dtype.kind == "f" else True for values in arrays
        ]
        self.all_finite = False not in self.finite
        self._texts: list[list[bytes] | None] = [None] * len(arrays)
        self._rows: list[tuple[bytes, ...]] | None = None

    def texts(self, place: int) -> list[bytes]:
        """Return an output's rows as JSON, each its values with commas between; written once for the batch."""
        texts = self._texts[place]
        if texts is None:
            values = self.arrays[place]
            rows = max(VALUES_AT_ONCE // max(math.prod(values.shape[1:]), 1), 1)
            parts = [_row_texts(values[start : start + rows]) for start in range(0, len(values), rows)]
            texts = self._texts[place] = parts[0] if len(parts) == 1 else [*chain.from_iterable(parts)]
        return texts

    @property
    def rows(self) -> list[tuple[bytes, ...]]:
        """Return the texts of all outputs row by row; put together once for the batch."""
        if self._rows is None:
            self._rows = list(zip(*[self.texts(place) for place in range(len(self.arrays))], strict=True))
        return self._rows


@functools.lru_cache(1024)
def _shape_text(sizes: tuple[int, ...]) -> bytes:
    return b"".join([b",%d" % size for size in sizes])


def _row_texts(values: Array) -> list[bytes]:
    """Write each row's values, separated by commas; NaN and infinity become null."""
    rows = len(values)
    if values.dtype.kind in "OUS":
        width = math.prod(values.shape[1:])
        texts = [orjson.dumps(str(text)) for text in values.ravel().tolist()]
        return [b",".join(texts[row * width : (row + 1) * width]) for row in range(rows)]
    table = np.ascontiguousarray(values.reshape(rows, -1))
    if table.dtype == np.float16:
        table = table.astype(np.float32)
    return orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
