"""A version in memory: loaded, proved by a run, and run. Arrays in, arrays out."""

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from driftline_agent.accelerators import CPU, NotAccelerated, accelerate, trial_of
from driftline_agent.datatypes import DATATYPES
from driftline_agent.durable_files import write_file
from driftline_agent.errors import ModelRefused
from driftline_agent.server.manifest import Manifest, Signature, TensorSpec

log = logging.getLogger("driftline_agent")

Array = npt.NDArray[Any]

SAMPLE_ROWS = 32
SAMPLE_BYTES = 4 << 20
"""Rows that were answered, by which an accelerator is judged: of invented ones its answers prove nothing."""
WAITS_FOR_ROWS = f"{CPU} until rows were answered that prove it"
_BLOCK_BYTES = 1 << 20


class LoadedModel:
    """A version that is ready to answer; any number of threads may ask it. `runs_on` says where it runs."""

    def __init__(self, manifest: Manifest, path: Path, profile: str = CPU) -> None:
        """Load a version's file; raises ModelRefused where it is not the file of the manifest or does not load."""
        check_file(path, manifest)
        self.manifest = manifest
        self.runs_on = CPU if profile == CPU else WAITS_FOR_ROWS
        self._path, self._profile = path, profile
        try:
            self._session = ort.InferenceSession(str(path), _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise ModelRefused(f"ONNX Runtime cannot load it: {_first_line(error)}") from error
        self._outputs = [tensor.name for tensor in manifest.signature.outputs]

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run all rows at once and return the outputs by name; raises ModelRefused where the model fails."""
        try:
            results = self._session.run(self._outputs, dict(feed))
        except Exception as error:  # as above
            raise ModelRefused(f"the model fails: {_first_line(error)}") from error
        return dict(zip(self._outputs, results, strict=True))

    def prove(self, sample: Mapping[str, Array] | None) -> None:
        """Run some rows, real ones where there are any; raises ModelRefused for an error, a wrong shape or NaN.

        NaN counts on real rows alone: of rows that are invented it proves nothing. Enough real rows also decide
        whether the model runs by the profile from now on.
        """
        feed = sample if sample is not None and self._takes(sample) else self.invented_rows(2)
        rows = len(next(iter(feed.values())))
        outputs = self.run(feed)
        for name, values in outputs.items():
            if values.ndim == 0 or len(values) != rows:
                raise ModelRefused(f"output {name} has shape {list(values.shape)} for {rows} rows")
        check_outputs(self.manifest.signature, outputs)
        if feed is sample and not all_finite(outputs):
            raise ModelRefused(f"it answers NaN or infinity to rows of before ({rows} rows)")
        if feed is sample:
            self._accelerate(feed, outputs)

    def accelerate(self, sample: Mapping[str, Array]) -> None:
        """Run by the profile from now on where rows that were answered are enough to prove it; requests go on."""
        if self.runs_on != WAITS_FOR_ROWS or not self._takes(sample):
            return
        with contextlib.suppress(ModelRefused):  # the next rows may do
            self._accelerate(sample, self.run(sample))

    def _accelerate(self, feed: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Try the profile, behind a file that is still there where the driver ended the process or never returned."""
        if self.runs_on != WAITS_FOR_ROWS or len(next(iter(feed.values()))) < rows_of_a_sample(feed):
            return
        trial = trial_of(self._path)
        try:
            if trial.exists() and trial.read_bytes() == self._profile.encode():
                raise NotAccelerated("it ended the agent before")
            write_file(trial, self._profile.encode())
            try:
                self._session, self.runs_on = accelerate(self._path, _options(), self._profile, feed, outputs)
            finally:
                trial.unlink(missing_ok=True)
        except NotAccelerated as reason:
            self.runs_on = f"{CPU}, not {self._profile}: {reason}"
        except OSError as error:  # of a full disk: it waits
            log.error("the attempt to run on %s cannot be noted: %s", self._profile, error)
            return
        log.info("version %s runs on %s", self.manifest.version, self.runs_on)

    def invented_rows(self, rows: int) -> dict[str, Array]:
        """Make rows of zeros and empty texts, of the shapes that the signature names."""
        return {tensor.name: _blank(tensor, rows) for tensor in self.manifest.signature.inputs}

    def _takes(self, sample: Mapping[str, Array]) -> bool:
        specs = {tensor.name: tensor for tensor in self.manifest.signature.inputs}
        return specs.keys() == sample.keys() and all(
            fits(specs[name], values.shape) and values.dtype == DATATYPES[specs[name].datatype].dtype
            for name, values in sample.items()
        )


def check_file(path: Path, manifest: Manifest) -> None:
    """Raise ModelRefused where a file is not the one that the manifest names."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                digest.update(block)
    except OSError as error:
        raise ModelRefused(f"its file cannot be read: {error.strerror}") from error
    if digest.hexdigest() != manifest.sha256:
        raise ModelRefused(
            f"its file has the SHA-256 {digest.hexdigest()[:12]} and not {manifest.sha256[:12]}"
        )


def rows_of_a_sample(feed: Mapping[str, Array]) -> int:
    """Return how many rows of such a size prove a version: of large images, fewer than of others."""
    size = sum(values[:1].nbytes for values in feed.values())
    return max(1, min(SAMPLE_ROWS, SAMPLE_BYTES // max(size, 1)))


def fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Return whether a shape is one that the tensor may have."""
    pairs = itertools.zip_longest(spec.shape, shape)
    return all(wanted is not None and size is not None and wanted in (-1, size) for wanted, size in pairs)


def all_finite(arrays: Mapping[str, Array]) -> bool:
    """Return whether no number is NaN or infinite."""
    return all(np.isfinite(values).all() for values in arrays.values() if values.dtype.kind == "f")


def check_outputs(signature: Signature, outputs: Mapping[str, Array]) -> None:
    """Raise ModelRefused where outputs are not one prediction a row, or not a probability for each class."""
    probabilities_of(signature, outputs)
    if (name := signature.prediction_output) is not None and outputs[name].size != len(outputs[name]):
        raise ModelRefused(f"its prediction {name} has shape {list(outputs[name].shape)}")


def probabilities_of(signature: Signature, outputs: Mapping[str, Array]) -> Array | None:
    """Return the probabilities as rows x classes, None for a model without them.

    A lone column is the probability of the second of two classes. Raises ModelRefused for any other number of columns.
    """
    name = signature.probabilities_output
    if name is None or not signature.classes:
        return None
    matrix = outputs[name].reshape(len(outputs[name]), -1).astype(np.float32)
    if matrix.shape[1] == 1 and len(signature.classes) == 2:
        matrix = np.hstack([1 - matrix, matrix])
    if matrix.shape[1] != len(signature.classes):
        raise ModelRefused(
            f"its probabilities have {matrix.shape[1]} columns for {len(signature.classes)} classes"
        )
    return matrix


def _blank(tensor: TensorSpec, rows: int) -> Array:
    shape = [rows, *(1 if size == -1 else size for size in tensor.shape[1:])]
    blank: Array = np.full(shape, "" if tensor.datatype == "BYTES" else 0, DATATYPES[tensor.datatype].dtype)
    return blank


def _options() -> Any:
    """One thread that does not spin: the device has other things to do."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
