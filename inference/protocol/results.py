"""Model outputs -> V2 JSON answers: a whole batch is turned to text at once, then cut into its requests."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from inference.serving.plan import TensorSpec

Array = npt.NDArray[np.generic]


class OutputTexts:
    """One output of a batch as JSON text a row."""

    def __init__(self, values: Array) -> None:
        self.row_shape = list(values.shape[1:])
        self.rows = _row_texts(values)
        self.finite = bool(np.isfinite(values).all()) if values.dtype.kind == "f" else True


class ResultCodec:
    """Writes the answers of one version; built once, when it is loaded."""

    def __init__(self, model: str, version: str, outputs: Sequence[TensorSpec]) -> None:
        self._head = (
            b'{"model_name":'
            + msgspec.json.encode(model)
            + b',"model_version":'
            + msgspec.json.encode(version)
        )
        self._names = [spec.name for spec in outputs]
        self._tensor_heads = [
            b'{"name":'
            + msgspec.json.encode(spec.name)
            + b',"datatype":'
            + msgspec.json.encode(spec.datatype)
            + b',"shape":['
            for spec in outputs
        ]

    def encode(
        self,
        texts: Sequence[OutputTexts],
        start: int,
        stop: int,
        client_id: str | None,
        asked: Sequence[int],
    ) -> bytes:
        """Write the answer for the rows `start` to `stop` of a batch, with the outputs asked for."""
        tensors = b",".join([self._tensor(texts[place], place, start, stop) for place in asked])
        identity = b"" if client_id is None else b',"id":' + msgspec.json.encode(client_id)
        warning = (
            b"" if all(texts[place].finite for place in asked) else self._warning(texts, start, stop, asked)
        )
        return b'%b%b%b,"outputs":[%b]}' % (self._head, identity, warning, tensors)

    def _tensor(self, output: OutputTexts, place: int, start: int, stop: int) -> bytes:
        shape = b"".join([b",%d" % size for size in output.row_shape])
        rows = output.rows[start] if stop - start == 1 else b",".join(output.rows[start:stop])
        return b'%b%d%b],"data":[%b]}' % (self._tensor_heads[place], stop - start, shape, rows)

    def _warning(self, texts: Sequence[OutputTexts], start: int, stop: int, asked: Sequence[int]) -> bytes:
        """Say which outputs of these rows are null because the model gave NaN or infinity."""
        names = [
            self._names[place]
            for place in asked
            if not texts[place].finite and any(b"null" in row for row in texts[place].rows[start:stop])
        ]
        if not names:
            return b""
        sentence = f"The model gave values that are not finite in {', '.join(names)}; they are null here."
        return b',"parameters":' + msgspec.json.encode({"driftline_warnings": sentence})


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
