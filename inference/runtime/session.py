"""One ONNX model in memory: verified, loaded, warmed and run. Arrays in, arrays out."""

import hashlib
import math
import re
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from inference.runtime.memory import bound_memory, explain_failure

Array = npt.NDArray[np.generic]

WARM_RUNS = 15
WARM_SECONDS = 0.25  # a slow model is known after a few runs
WARM_ROWS = (1, 32)
MAX_RUN_SECONDS = 5.0  # of a run that nobody waits for
CPU_PROVIDER = "CPUExecutionProvider"
_SOURCE_FILE = re.compile(r"/onnxruntime_src/\S+ .*?\)( const)? ")  # with the line and the function after it


class RunOptions(ort.RunOptions):
    """Options of one run; `terminate`, set from another thread, makes it raise before its next node.

    `hops` is how often what it answers was forwarded before, for versions that forward.
    """

    hops = 0


class ModelRefused(RuntimeError):
    """The file is not the one that was registered, or does not run as its signature says."""


class OnnxSession:
    """An ONNX Runtime session with one thread, so that workers do not fight over cores."""

    def __init__(
        self, model: bytes, provider: str = CPU_PROVIDER, options: ort.SessionOptions | None = None
    ) -> None:
        """Load a model for a provider of this ONNX Runtime; what that does not take runs on the CPU."""
        providers = list(dict.fromkeys([provider, CPU_PROVIDER]))
        try:
            self._session = ort.InferenceSession(model, options or new_options(), providers=providers)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise ModelRefused(f"ONNX Runtime cannot load the model: {first_line(error)}") from error
        self.input_names = [tensor.name for tensor in self._session.get_inputs()]
        self.output_names = [tensor.name for tensor in self._session.get_outputs()]

    @property
    def providers(self) -> list[str]:
        """List the providers that the session was given, the first choice first."""
        providers: list[str] = self._session.get_providers()
        return providers

    def end_profile(self) -> str:
        """End the profile that the options asked for and name its file."""
        path: str = self._session.end_profiling()
        return path

    def run(
        self, inputs: dict[str, Array], outputs: Sequence[str], options: RunOptions | None = None
    ) -> list[Array]:
        """Run the rows of `inputs` at once and return the named outputs in that order.

        Raises whatever ONNX Runtime raises, also where `options` ended the run.
        """
        results: list[Array] = self._session.run(outputs, inputs, options)
        return results

    def warm(self, example: dict[str, Array], outputs: Sequence[str]) -> float:
        """Run a one-row example alone and in a batch; return the median seconds of a one-row run.

        Infinity where the model fails on the example or does not end, which proves nothing where that is
        invented. Raises ModelRefused where it does not give one row for each row it takes.
        """
        for rows in WARM_ROWS:
            batch = {name: np.repeat(column, rows, axis=0) for name, column in example.items()}
            try:
                with time_limit(MAX_RUN_SECONDS) as options:
                    results = self.run(batch, outputs, options)
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


def new_options() -> ort.SessionOptions:
    """Make the options of every session: one thread that does not spin, and bounded memory."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    bound_memory(options)
    return options


@contextmanager
def time_limit(seconds: float) -> Iterator[RunOptions]:
    """Yield options whose run is ended after so many seconds."""
    options = RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def load_session(path: Path, sha256: str) -> OnnxSession:
    """Load the model at `path` if its bytes have that digest; raise ModelRefused otherwise."""
    return OnnxSession(read_verified(path, sha256))


def read_verified(path: Path, sha256: str) -> bytes:
    """Read the file at `path` if its bytes have that digest; raise ModelRefused otherwise."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelRefused(
            f"The artifact {sha256[:12]} cannot be read: {error.strerror}; restore it from a backup."
        ) from error
    digest = hashlib.sha256(model).hexdigest()
    if digest != sha256:
        raise ModelRefused(
            f"The artifact has the digest {digest} and not {sha256}, which was registered; upload the model again."
        )
    return model


def first_line(error: Exception) -> str:
    """Cut an exception's text to its first line and 200 characters, without source files: those are internals."""
    line = explain_failure(error) or (str(error).splitlines() or [type(error).__name__])[0]
    return _SOURCE_FILE.sub("", line)[:200]
