"""A version ready to answer: its session with the codecs that its signature asks for."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from driftline.base.outbound.rules import NO_RULES, OutboundRules
from inference.images import describe_images
from inference.prediction_log.spool.privacy import Privacy
from inference.prediction_log.spool.record import ColumnKind, FeatureColumn, FeatureTable, feature_columns
from inference.protocol.dialect import Codec, Dialect
from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.protocol.v2.tensors import Buffer, TensorCodec, tensor_codecs
from inference.runtime.isolated.errors import ModelProcessFailed
from inference.runtime.isolated.session import IsolatedSession
from inference.runtime.providers import Execution, open_with_provider
from inference.runtime.remote.counts import CALLS
from inference.runtime.remote.errors import UpstreamFailed
from inference.runtime.session import Array, ModelRefused, OnnxSession, RunOptions, read_verified
from inference.serving.crashes import MARKS, blame
from inference.serving.plan import PROCESS, PlanModel, PlanVersion
from inference.serving.versions.cost_model import RunCost
from inference.serving.versions.id_sampling import chosen_by_id
from inference.serving.versions.sample_inputs import Batch, RecentInputs
from inference.signatures import ImageSpec, Signature
from inference.thumbnails import draw_thumbnail
from inference.vector_names import MAX_DIMENSION, MIN_DIMENSION

if TYPE_CHECKING:
    from inference.runtime.remote.session import RemoteSession

MAX_OUTPUT_VALUES = 4 << 20  # of one run: 16 MiB of FP32, as much as a request may hold
MAX_TEXT_BYTES = 16 << 20  # of the texts among them
THUMBNAIL_VALUES = 3_000  # of an image that are measured in the time that one thumbnail takes to draw
REMOTE_SECONDS = 0.01  # what a call of another server is thought to take before one was made


class AnswerTooLarge(Exception):
    """A run gave more than an answer may hold."""


class Outcome(Struct):
    """What a run gave: all outputs, and the prediction and probabilities as the log keeps them."""

    outputs: list[Array]
    prediction: list[str] | bytes
    probabilities: bytes | None
    run_ns: int = 0

    @property
    def values(self) -> int:
        """Count the values of all outputs."""
        return sum([output.size for output in self.outputs])

    @property
    def run_us(self) -> int:
        return self.run_ns // 1000


class LoadedVersion:
    """A version in memory. `run` may be called from one thread at a time or from several."""

    def __init__(
        self,
        home: Path,
        model: PlanModel,
        version: PlanVersion,
        example: Batch | None = None,
        rules: OutboundRules = NO_RULES,
    ) -> None:
        """Load a version and warm it with `example`, a row that was really asked, else with an invented one.

        One that another server answers under these `rules` is not asked here: it may be down, and come back.
        """
        signature = version.signature
        self.plan = version
        self._home = home
        self.recent = RecentInputs()
        self.model_id = model.id
        self.project_id = model.project_id
        self.privacy: Privacy | None = None
        self.thumbnail_share = 0.0
        self.tensors = tensor_codecs(signature)
        self.codecs = Codecs(model.name, version)
        self._outputs = [spec.name for spec in signature.outputs]
        self._reader = PredictionReader(signature)
        self._log = FeatureLog(signature)
        self._image = signature.image
        self._embedding = _place(self._outputs, signature.embedding_output)
        self.remote = _open_remote(home, model, version, rules)
        self.isolated: IsolatedSession | None = None
        self._marked_as = 0 if self.runs_elsewhere else version.id  # what runs elsewhere crashes elsewhere
        if self.remote is not None:
            self._session: OnnxSession | RemoteSession = self.remote
            self.execution = Execution("remote", "remote")
            self.cost = RunCost(REMOTE_SECONDS, 0.0, needs_thread=True)
            return
        mark = MARKS.begin(self._marked_as)
        try:
            self._load(home, example or {codec.name: _blank_row(codec) for codec in self.tensors})
        finally:
            MARKS.end(mark)

    def _load(self, home: Path, example: Batch) -> None:
        session = self._open(home, example)
        self._session = session
        self._check_names(session)
        try:
            self.cost = RunCost(
                *self._warm(session, example),
                needs_thread=self.runs_elsewhere or self.plan.value_costs,
            )
        except ModelProcessFailed as error:
            raise ModelRefused(str(error)) from error

    def _open(self, home: Path, example: Batch) -> OnnxSession:
        def read() -> bytes:
            return read_verified(home / plan.path, plan.sha256)

        plan = self.plan
        if plan.isolation == PROCESS:
            self.isolated = IsolatedSession(
                read,
                plan.execution_provider,
                example,
                self._outputs,
                blame=lambda reason: blame(home, plan.id, reason, time.time()),
            )
            self.execution = self.isolated.execution
            return self.isolated
        session, self.execution = open_with_provider(read(), plan.execution_provider, example, self._outputs)
        return session

    @property
    def runs_elsewhere(self) -> bool:
        """Return whether this process waits for its answers, and computes none: another server or process does."""
        return self.remote is not None or self.plan.isolation == PROCESS

    def join(self, requests: Sequence[Sequence[Buffer]]) -> dict[str, Array]:
        """Join the tensors of several requests into one batch."""
        if len(self.tensors) == 1:
            codec = self.tensors[0]
            return {codec.name: codec.join([tensors[0] for tensors in requests])}
        return {
            codec.name: codec.join([tensors[place] for tensors in requests])
            for place, codec in enumerate(self.tensors)
        }

    def run(self, batch: Batch, options: RunOptions | None = None) -> Outcome:
        """Answer a batch of rows; `options.terminate`, set by another thread, ends a run that takes too long."""
        began_ns = time.perf_counter_ns()
        mark = MARKS.begin(self._marked_as)
        try:
            outputs = self._session.run(batch, self._outputs, options)
        finally:
            MARKS.end(mark)
        return self.read(outputs, began_ns)

    def read(self, outputs: list[Array], began_ns: int) -> Outcome:
        """Read what a run that began then has given."""
        _check_size(outputs, with_texts=self.plan.value_costs)
        outcome = self._reader.read(outputs)
        outcome.run_ns = time.perf_counter_ns() - began_ns
        self.cost.learn(len(outcome.outputs[0]), outcome.run_ns / 1e9)
        return outcome

    def note_hang(self) -> None:
        """Blame this version for a run that does not end, and ask for a process that is rid of it."""
        if not self.runs_elsewhere:
            blame(self._home, self.plan.id, "did not end a run", time.time())
            MARKS.ask_for_successor()

    def keep_rows(self, outcome: Outcome, rows: list[int]) -> Outcome:
        """Return the outcome that a run of these of its rows alone would have had."""
        kept = self._reader.read([output[rows] for output in outcome.outputs])
        kept.run_ns = outcome.run_ns
        return kept

    def features(
        self, batch: dict[str, Array], outputs: Sequence[Array] = ()
    ) -> list[FeatureColumn] | FeatureTable:
        """Return the batch's features by name, as the log keeps them, and the embedding among `outputs`, if any."""
        features = self._log.features(batch)
        if self._image is not None:
            features = _image_columns(self.tensors[0].name, batch, self._image)
        if self._embedding is not None and outputs and _are_vectors(outputs[self._embedding], batch):
            vectors = outputs[self._embedding].astype("<f4", copy=False)
            embedding = FeatureColumn(self._outputs[self._embedding], "v4", vectors.tobytes())
            features = [*feature_columns(features), embedding]
        return self.privacy.protect_record(feature_columns(features)) if self.privacy else features

    def thumbnails(self, batch: dict[str, Array], ids: Sequence[str]) -> list[bytes | None] | None:
        """Draw the images of the rows that are chosen by their ids; None where the model keeps no thumbnail.

        Of an input that has any other privacy than being kept, or a number of it has, none is.
        """
        if self._image is None or not self._draws_thumbnails:
            return None
        name = self.tensors[0].name
        chosen = chosen_by_id(ids, self.thumbnail_share)
        if not chosen:
            return None
        drawn: list[bytes | None] = [None] * len(ids)
        for place in chosen:
            drawn[place] = draw_thumbnail(batch[name][place], self._image)
        return drawn

    @property
    def _draws_thumbnails(self) -> bool:
        return self.thumbnail_share > 0 and (
            not self.privacy or self.privacy.keeps_image(self.tensors[0].name)
        )

    def measured_values(self, batch: dict[str, Array]) -> int:
        """Count the pixels' values that `features` would look at, and what thumbnails take as so many more.

        0 where the input is no image.
        """
        if self._image is None:
            return 0
        images = batch[self.tensors[0].name]
        drawn = len(images) * self.thumbnail_share if self._draws_thumbnails else 0
        return images.size + int(drawn * THUMBNAIL_VALUES)

    def takes_same_inputs(self, other: "LoadedVersion") -> bool:
        """Return whether a batch for the other version can be given to this one as it is."""
        return self.plan.signature.inputs == other.plan.signature.inputs

    def refusal(self, hops: int) -> UpstreamFailed | None:
        """Return why it would not be run now for a request that was forwarded so often; None where it would."""
        if self.isolated is not None:
            return self.isolated.refusal()
        return self.remote.refusal(hops) if self.remote is not None else None

    def _check_names(self, session: OnnxSession) -> None:
        known = {*session.input_names, *session.output_names}
        wanted = {*self._outputs, *(codec.name for codec in self.tensors)}
        if not wanted <= known:
            raise ModelRefused(
                f"The model has no tensor {sorted(wanted - known)[0]!r}, which its signature names; "
                "correct the metadata and upload it again."
            )

    def _warm(self, session: OnnxSession, example: Batch) -> tuple[float, float]:
        """Run a row and a batch of it; return seconds of one row and of each further one."""
        one_row = session.warm(example, self._outputs)
        if math.isinf(one_row):
            return one_row, 0.0
        self._reader.check(session.run(example, self._outputs))
        rows = 32
        batch = {name: np.repeat(column, rows, axis=0) for name, column in example.items()}
        began = time.perf_counter()
        session.run(batch, self._outputs)
        return one_row, max(time.perf_counter() - began - one_row, 0.0) / (rows - 1)


def _open_remote(
    home: Path, model: PlanModel, version: PlanVersion, rules: OutboundRules
) -> "RemoteSession | None":
    if version.endpoint is None:
        return None
    from inference.runtime.remote.session import (
        RemoteSession,  # who serves its own files needs no HTTP client
    )

    def count(outcome: str) -> None:
        CALLS[model.id, version.version, outcome] += 1

    signature = version.signature
    return RemoteSession(
        version.endpoint, signature.inputs, signature.outputs, home=home, rules=rules, count=count
    )


def check_values(values: int) -> None:
    """Raise AnswerTooLarge where an answer would have too many values."""
    if values > MAX_OUTPUT_VALUES:
        raise AnswerTooLarge(
            f"the answer would have {values:,} values, and {MAX_OUTPUT_VALUES:,} is the most; send fewer rows, or "
            "smaller values where they are sizes."
        )


def _check_size(outputs: Sequence[Array], *, with_texts: bool) -> None:
    """Raise AnswerTooLarge before anything is made of outputs that no answer may hold."""
    check_values(sum([output.size for output in outputs]))
    if with_texts:
        texts = [output for output in outputs if output.dtype == object]
        size = sum(sum(map(len, output.ravel().tolist())) for output in texts)
        if size > MAX_TEXT_BYTES:
            raise AnswerTooLarge(
                f"the answer's texts would have {size:,} characters, and {MAX_TEXT_BYTES:,} is the most; send fewer "
                "rows."
            )


class Codecs(dict[Dialect[Any, Any], Codec[Any, Any]]):
    """A version's codecs: that of the usual dialect is ready, others are made when first asked for."""

    def __init__(self, model_name: str, version: PlanVersion) -> None:
        self._model_name = model_name
        self._version = version
        self[OPEN_INFERENCE]

    def __missing__(self, dialect: Dialect[Any, Any]) -> Codec[Any, Any]:
        codec = self[dialect] = dialect.compile(
            self._model_name, self._version.version, self._version.signature
        )
        return codec


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
        """Return rows x classes; a lone column is the probability of the second of two classes."""
        matrix = probabilities.reshape(len(probabilities), -1).astype("<f4", copy=False)
        if matrix.shape[1] == 1 and len(self._classes) == 2:
            return np.hstack([1 - matrix, matrix])
        return matrix

    def _class_texts(self, outputs: list[Array], matrix: Array | None) -> list[str]:
        if self._prediction is None:
            assert matrix is not None
            return [self._classes[place] for place in matrix.argmax(axis=1).tolist()]
        values = outputs[self._prediction]
        if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.trunc(values)).all():
            values = values.astype(np.int64)  # labels 0.0 and 1.0 are the classes "0" and "1"
        return [str(value) for value in values.reshape(-1).tolist()]


class FeatureLog:
    """Returns a batch as the log keeps it; inputs of higher rank have no features."""

    def __init__(self, signature: Signature) -> None:
        self._features = [feature.name for feature in signature.features]
        self._missing = signature.missing
        names = [spec.name for spec in signature.inputs]
        only = signature.inputs[0]
        self._table = only.name if len(names) == 1 and only.shape[1:] == [len(self._features)] else None
        self._names = names if all(spec.shape[1:] in ([1], []) for spec in signature.inputs) else []

    def features(self, batch: dict[str, Array]) -> list[FeatureColumn] | FeatureTable:
        """Return one column a feature, or a table of all: to cut 16 rows into 30 columns took 9 us, a table takes 2."""
        if self._table is None:
            return [self._column(name, batch[name]) for name in self._names]
        values = batch[self._table]
        if values.dtype == object:
            return [self._column(name, values[:, place]) for place, name in enumerate(self._features)]
        kind, table = _storable(values)
        return FeatureTable(self._features, kind, table.tobytes())

    def _column(self, name: str, values: Array) -> FeatureColumn:
        if values.dtype == object:
            token = self._missing.get(name)
            texts = values.reshape(-1).tolist()
            if token is not None:
                texts = [None if text == token else text for text in texts]
            return FeatureColumn(name, "s", texts)
        kind, column = _storable(values)
        return FeatureColumn(name, kind, column.tobytes())


def _image_columns(name: str, batch: dict[str, Array], spec: ImageSpec) -> list[FeatureColumn]:
    """Return what is measured of images."""
    measured = describe_images(name, batch[name], spec)
    return [FeatureColumn(part, "f8", values.tobytes()) for part, values in measured.items()]


def _are_vectors(output: Array, batch: dict[str, Array]) -> bool:
    """Return whether an output has a vector for each row of its batch: another server may answer what it likes."""
    rows = len(next(iter(batch.values())))
    return (
        output.ndim == 2
        and len(output) == rows
        and output.dtype.kind == "f"
        and MIN_DIMENSION <= output.shape[1] <= MAX_DIMENSION
    )


def _storable(values: Array) -> tuple[ColumnKind, Array]:
    """Choose the log's type for a numeric array."""
    if values.dtype.kind != "f":
        whole = values.astype("<i8", copy=False)
        if values.dtype.kind == "u" and (whole < 0).any():
            return "f8", values.astype("<f8")  # rounded: the log has no whole numbers above 2**63 - 1
        return "i8", whole
    if values.dtype.itemsize == 8:
        return "f8", values
    return "f4", values.astype("<f4", copy=False)


def _blank_row(codec: TensorCodec) -> Array:
    value = (codec.missing or "") if codec.datatype == "BYTES" else 0
    if codec.datatype == "BYTES":
        return codec.join([[str(value)] * codec.width])
    return codec.join([codec.pack([bool(value) if codec.datatype == "BOOL" else value] * codec.width)])


def _place(names: Sequence[str], name: str | None) -> int | None:
    return None if name is None else names.index(name)
