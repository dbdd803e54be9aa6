"""One ONNX model in memory: verified, loaded, warmed and run. Arrays in, arrays out."""

import hashlib
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Array = npt.NDArray[np.generic]

WARM_RUNS = 15
WARM_SECONDS = 0.25  # a slow model is known after a few runs
WARM_ROWS = (1, 32)


class ModelRefused(RuntimeError):
    """The file is not the one that was registered, or does not run as its signature says."""


class OnnxSession:
    """An ONNX Runtime session with one thread, so that workers do not fight over cores."""

    def __init__(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise ModelRefused(f"ONNX Runtime cannot load the model: {first_line(error)}") from error
        self.input_names = [tensor.name for tensor in self._session.get_inputs()]
        self.output_names = [tensor.name for tensor in self._session.get_outputs()]

    def run(self, inputs: dict[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run the rows of `inputs` at once and return the named outputs in that order."""
        results: list[Array] = self._session.run(outputs, inputs)
        return results

    def warm(self, example: dict[str, Array], outputs: Sequence[str]) -> float:
        """Run a one-row example alone and in a batch; return the median seconds of a one-row run.

        Infinity where the model fails on the example, which is invented and proves nothing. Raises
        ModelRefused where it does not give one row for each row it takes.
        """
        for rows in WARM_ROWS:
            batch = {name: np.repeat(column, rows, axis=0) for name, column in example.items()}
            try:
                results = self.run(batch, outputs)
            except Exception:
                return math.inf
            for name, result in zip(outputs, results, strict=True):
                if result.ndim == 0 or result.shape[0] != rows:
                    raise ModelRefused(
                        f"Output {name!r} has shape {list(result.shape)} for {rows} rows; "
                        "it must give one row for each row."
                    )
        times: list[float] = []
        while len(times) < WARM_RUNS and sum(times) < WARM_SECONDS:
            times.append(self._time_run(example, outputs))
        return statistics.median(times)

    def _time_run(self, example: dict[str, Array], outputs: Sequence[str]) -> float:
        began = time.perf_counter()
        self.run(example, outputs)
        return time.perf_counter() - began


def load_session(path: Path, sha256: str) -> OnnxSession:
    """Load the model at `path` if its bytes have that digest; raise ModelRefused otherwise."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(model).hexdigest()
    if digest != sha256:
        raise ModelRefused(
            f"{path} has the digest {digest} and not {sha256}, which was registered; upload the model again."
        )
    return OnnxSession(model)


def first_line(error: Exception) -> str:
    """Cut an exception's text to its first line and 200 characters: the rest names internals."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
