"""A version ready to answer: its session with the codecs that its signature asks for."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from inference.prediction_log.record import ColumnKind, FeatureColumn
from inference.protocol.open_inference import RequestCodec
from inference.protocol.results import ResultCodec
from inference.protocol.tensors import Buffer, TensorCodec
from inference.runtime.session import Array, ModelRefused, load_session
from inference.serving.plan import PlanModel, PlanVersion, Signature

INLINE_SECONDS = 0.001  # a longer run would hold up the other requests of the event loop


class Outcome(Struct):
    """What a run gave: all outputs, and the prediction and probabilities as the log keeps them."""

    outputs: list[Array]
    prediction: list[str] | bytes
    probabilities: bytes | None
    run_us: int = 0


class LoadedVersion:
    """A version in memory. `run` may be called from one thread at a time or from several."""

    def __init__(self, home: Path, model: PlanModel, version: PlanVersion) -> None:
        signature = version.signature
        self.plan = version
        self.model_id = model.id
        self.requests = RequestCodec(signature)
        self.results = ResultCodec(model.name, version.version, signature.outputs)
        self._session = load_session(home / version.path, version.sha256)
        self._outputs = [spec.name for spec in signature.outputs]
        self._check_names()
        self._reader = PredictionReader(signature)
        self._columns = FeatureLog(signature)
        self._one_row, self._each_row = self._warm()

    @property
    def tensors(self) -> list[TensorCodec]:
        return self.requests.tensors

    def join(self, requests: Sequence[Sequence[Buffer]]) -> dict[str, Array]:
        """Join the tensors of several requests into one batch."""
        if len(self.tensors) == 1:
            codec = self.tensors[0]
            return {codec.name: codec.join([tensors[0] for tensors in requests])}
        return {
            codec.name: codec.join([tensors[place] for tensors in requests])
            for place, codec in enumerate(self.tensors)
        }

    def run(self, batch: dict[str, Array]) -> Outcome:
        """Answer a batch of rows."""
        began_ns = time.perf_counter_ns()
        outcome = self._reader.read(self._session.run(batch, self._outputs))
        outcome.run_us = (time.perf_counter_ns() - began_ns) // 1000
        return outcome

    def feature_columns(self, batch: dict[str, Array]) -> list[FeatureColumn]:
        """Give the batch's features by name, as the log keeps them."""
        return self._columns.columns(batch)

    def runs_inline(self, rows: int) -> bool:
        """Tell whether so many rows are answered so fast that a thread would cost more."""
        return self._one_row + self._each_row * (rows - 1) <= INLINE_SECONDS

    def takes_same_inputs(self, other: "LoadedVersion") -> bool:
        """Tell whether a batch for the other version can be given to this one as it is."""
        return self.plan.signature.inputs == other.plan.signature.inputs

    def _check_names(self) -> None:
        known = {*self._session.input_names, *self._session.output_names}
        wanted = {*self._outputs, *(codec.name for codec in self.tensors)}
        if not wanted <= known:
            raise ModelRefused(
                f"The model has no tensor {sorted(wanted - known)[0]!r}, which its signature names; "
                "correct the metadata and upload it again."
            )

    def _warm(self) -> tuple[float, float]:
        """Run an invented row and a batch of it; return seconds of one row and of each further one."""
        example = {codec.name: _blank_row(codec) for codec in self.tensors}
        one_row = self._session.warm(example, self._outputs)
        if math.isinf(one_row):
            return one_row, 0.0
        self._reader.check(self._session.run(example, self._outputs))
        rows = 32
        batch = {name: np.repeat(column, rows, axis=0) for name, column in example.items()}
        began = time.perf_counter()
        self._session.run(batch, self._outputs)
        return one_row, max(time.perf_counter() - began - one_row, 0.0) / (rows - 1)


class PredictionReader:
    """Finds the prediction and the probabilities among a version's outputs."""

    def __init__(self, signature: Signature) -> None:
        names = [spec.name for spec in signature.outputs]
        self._classes = signature.classes
        self._is_number = signature.task in ("regression", "ranking")
        self._probabilities = _place(names, signature.probabilities_output)
        self._prediction = _place(names, signature.prediction_output)
        if self._prediction is None and (self._is_number or self._probabilities is None):
            self._prediction = 0

    def read(self, outputs: list[Array]) -> Outcome:
        """Read a batch's outputs into the form that is logged."""
        if self._is_number:
            assert self._prediction is not None
            values = outputs[self._prediction].reshape(-1).astype("<f8")
            return Outcome(outputs, values.tobytes(), None)
        matrix = None if self._probabilities is None else self._matrix(outputs[self._probabilities])
        return Outcome(
            outputs=outputs,
            prediction=self._class_texts(outputs, matrix),
            probabilities=None if matrix is None else matrix.tobytes(),
        )

    def check(self, outputs: list[Array]) -> None:
        """Raise ModelRefused where the outputs do not have the form that the signature promises."""
        if self._prediction is not None and outputs[self._prediction].size != 1:
            raise ModelRefused(
                f"The prediction has shape {list(outputs[self._prediction].shape)} for one row; "
                "name an output with one value a row."
            )
        if self._is_number or self._probabilities is None:
            return
        columns = self._matrix(outputs[self._probabilities]).shape[1]
        if columns != len(self._classes):
            raise ModelRefused(
                f"The probabilities have {columns} columns and the signature names {len(self._classes)} "
                "classes; name one class a column."
            )

    def _matrix(self, probabilities: Array) -> Array:
        """Give rows x classes; a lone column is the probability of the second of two classes."""
        matrix = probabilities.reshape(len(probabilities), -1).astype("<f4", copy=False)
        if matrix.shape[1] == 1 and len(self._classes) == 2:
            return np.hstack([1 - matrix, matrix])
        return matrix

    def _class_texts(self, outputs: list[Array], matrix: Array | None) -> list[str]:
        if self._prediction is None:
            assert matrix is not None
            return [self._classes[place] for place in matrix.argmax(axis=1).tolist()]
        values = outputs[self._prediction]
        if values.dtype.kind == "f" and (values == np.trunc(values)).all():
            values = values.astype(np.int64)  # labels 0.0 and 1.0 are the classes "0" and "1"
        return [str(value) for value in values.reshape(-1).tolist()]


class FeatureLog:
    """Cuts a batch into the columns that the log keeps; inputs of higher rank have none."""

    def __init__(self, signature: Signature) -> None:
        self._features = [feature.name for feature in signature.features]
        self._missing = signature.missing
        names = [spec.name for spec in signature.inputs]
        only = signature.inputs[0]
        self._table = only.name if len(names) == 1 and only.shape[1:] == [len(self._features)] else None
        self._names = names if all(spec.shape[1:] in ([1], []) for spec in signature.inputs) else []

    def columns(self, batch: dict[str, Array]) -> list[FeatureColumn]:
        """Give one column a feature."""
        if self._table is None:
            return [self._column(name, batch[name]) for name in self._names]
        values = batch[self._table]
        if values.dtype == object:
            return [self._column(name, values[:, place]) for place, name in enumerate(self._features)]
        kind, table = _storable(values)
        raw = table.T.tobytes()
        size = len(values) * table.itemsize
        return [
            FeatureColumn(name, kind, raw[start : start + size])
            for name, start in zip(self._features, range(0, len(raw), size), strict=True)
        ]

    def _column(self, name: str, values: Array) -> FeatureColumn:
        if values.dtype == object:
            token = self._missing.get(name)
            texts = values.reshape(-1).tolist()
            if token is not None:
                texts = [None if text == token else text for text in texts]
            return FeatureColumn(name, "s", texts)
        kind, column = _storable(values)
        return FeatureColumn(name, kind, column.tobytes())


def _storable(values: Array) -> tuple[ColumnKind, Array]:
    """Choose the log's type for a numeric array."""
    if values.dtype.kind != "f":
        return "i8", values.astype("<i8", copy=False)
    if values.dtype.itemsize == 8:
        return "f8", values
    return "f4", values.astype("<f4", copy=False)


def _blank_row(codec: TensorCodec) -> Array:
    value = (codec.missing or "") if codec.datatype == "BYTES" else 0
    width = math.prod(max(size, 1) for size in codec.row_shape)
    if codec.datatype == "BYTES":
        return codec.join([[str(value)] * width])
    return codec.join([codec.pack([bool(value) if codec.datatype == "BOOL" else value] * width)])


def _place(names: Sequence[str], name: str | None) -> int | None:
    return None if name is None else names.index(name)
