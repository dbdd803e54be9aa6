"""A model that runs in a process of its own, with the interface of one in this process: arrays in, arrays out."""

import weakref
from collections.abc import Callable, Sequence

from inference.runtime.isolated.child import LoadReport
from inference.runtime.isolated.errors import ModelProcessFailed
from inference.runtime.isolated.process import ModelProcess
from inference.runtime.isolated.processes import PROCESSES, Blame, ModelProcesses
from inference.runtime.isolated.slot import Done, ProcessSlot
from inference.runtime.session import Array, ModelRefused, OnnxSession, RunOptions

LOAD_BYTES_PER_SECOND = 4 << 20


class IsolatedSession(OnnxSession):
    """An ONNX Runtime session elsewhere on this machine; safe for threads, which take turns.

    Whatever the model does there, this process goes on: a crash, the end of all memory and a run without end cost
    the model its process, and the version is blamed for it.
    """

    def __init__(
        self,
        read_model: Callable[[], bytes],
        provider: str,
        example: dict[str, Array],
        outputs: Sequence[str],
        *,
        blame: Blame = lambda _: None,
        processes: ModelProcesses = PROCESSES,
    ) -> None:
        """Start a process and load the model there, which `read_model` reads each time it has to.

        `blame` is called with what the model did to its process, from a thread. Raises ModelRefused.
        """
        self._inputs, self._outputs = list(example), list(outputs)
        self._places = {name: place for place, name in enumerate(self._outputs)}

        def load(process: ModelProcess, model: bytes) -> LoadReport:
            seconds = processes.limits.load_seconds + len(model) / LOAD_BYTES_PER_SECOND
            return process.load(model, provider, example, outputs, seconds)

        self._slot = ProcessSlot(processes, read_model, load, blame)
        processes.add(self._slot)
        weakref.finalize(self, processes.remove, self._slot)
        with self._slot.lock:
            try:
                report = self._slot.start()
            except ModelProcessFailed as error:
                raise ModelRefused(str(error)) from error
        self.input_names, self.output_names = report.inputs, report.outputs
        self.execution = report.execution

    @property
    def providers(self) -> list[str]:
        """List the providers that the session was given, the first choice first."""
        return [self.execution.used]

    def end_profile(self) -> str:
        """A session elsewhere keeps no profile."""
        raise NotImplementedError

    def run(
        self, inputs: dict[str, Array], outputs: Sequence[str], options: RunOptions | None = None
    ) -> list[Array]:
        """Run the rows of `inputs` at once and return the named outputs in that order.

        Raises ModelFailed with the words of ONNX Runtime, ModelProcessFailed where there was no process to answer, and
        RunAbandoned where `options` ended the run and it goes on.
        """
        answer = self._slot.run([inputs[name] for name in self._inputs], options)
        if outputs == self._outputs:
            return answer
        return [answer[self._places[name]] for name in outputs]

    def refusal(self) -> ModelProcessFailed | None:
        """Return why nothing would be run now; None where it would."""
        return self._slot.refusal()

    # For the event loop, which waits for nothing

    def try_acquire(self) -> bool:
        """Take the process for one run, unless it is at work or has to be started first: threads wait for that."""
        return self._slot.try_acquire()

    def release(self) -> None:
        """Release the process without a run."""
        self._slot.release()

    def begin(self, inputs: dict[str, Array], seconds: float, done: Done) -> None:
        """Begin the run for which the process was acquired: `done` is called in the running loop with what came of it.

        That is a version's outputs in the order of its signature, or what `run` raises; RunAbandoned after `seconds`.
        """
        try:
            arrays = [inputs[name] for name in self._inputs]
        except BaseException:
            self._slot.release()
            raise
        self._slot.begin(arrays, seconds, done)
