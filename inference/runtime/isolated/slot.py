"""The place of one version's process: who may run something in it, how it is started again, and what a death means."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from inference.runtime.isolated.child import LoadReport
from inference.runtime.isolated.errors import ModelFailed, ModelProcessFailed, ProcessDied, RunAbandoned
from inference.runtime.isolated.launcher import CannotFork
from inference.runtime.isolated.process import STOP_SECONDS, ModelProcess
from inference.runtime.isolated.processes import Blame, EndedProcess, ModelProcesses
from inference.runtime.session import Array, ModelRefused, RunOptions

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0
CALM_SECONDS = 60.0  # after which a death counts as the first again
LOCK_SECONDS = 0.05
BUSY_SECONDS = 10.0  # of one run, after which nobody is let wait for its end

type Read = Callable[[], bytes]
type Load = Callable[[ModelProcess, bytes], LoadReport]
type Done = Callable[[list[Array] | Exception], None]


class LoopRun(Struct, eq=False):
    """A run for which the event loop waits."""

    done: Done
    timer: asyncio.TimerHandle | None = None
    was_stopped: bool = False


class ProcessSlot:
    """One process at a time, for one run at a time: whoever holds `lock`, a thread or the event loop."""

    def __init__(self, processes: ModelProcesses, read: Read, load: Load, blame: Blame) -> None:
        """Make an empty place; `read` gives the model, which `load` brings into a process that was started."""
        self.lock = threading.Lock()
        self.process: ModelProcess | None = None
        self.used_at = time.monotonic()
        self._processes = processes
        self._read = read
        self._load = load
        self._blame = blame
        self._pause = FIRST_PAUSE_SECONDS
        self._died_at = 0.0
        self._start_at = 0.0  # not before
        self._run: LoopRun | None = None
        self._waiting = 0  # threads

    # Starting

    def start(self) -> LoadReport:
        """Start the process and load the model, as `launch` does; tell what was loaded."""
        return self._launch()[1]

    def _launch(self) -> tuple[ModelProcess, LoadReport]:
        """Start the process and load the model; whoever calls it holds the lock.

        Raises ModelRefused, or ModelProcessFailed where it cannot be started or ends meanwhile.
        """
        if (failure := self.refusal()) is not None:
            raise failure
        model = self._read()
        try:
            process = self._processes.launch(len(model))
        except CannotFork as error:
            self._start_later()
            raise ModelProcessFailed(f"The model's process cannot be started: {error}.") from error
        self.process = process
        try:
            report = self._load(process, model)
        except ProcessDied as error:
            raise self._lose(error) from error
        except BaseException:
            self.process = None
            self._processes.end(EndedProcess(process))
            raise
        self.used_at = time.monotonic()
        return process, report

    def refusal(self) -> ModelProcessFailed | None:
        """Return why nothing would be run now; None where it would."""
        process = self.process
        if process is None:
            wait = self._start_at - time.monotonic()
            if wait <= 0:
                return None
            return ModelProcessFailed("The model's process ended and is started again; ask again.", wait)
        if not process.is_at_work or (seconds := time.monotonic() - process.began_at) < BUSY_SECONDS:
            return None
        return ModelProcessFailed(
            f"The model has been at one run for {seconds:.0f} s; ask again.", MAX_PAUSE_SECONDS
        )

    def _lose(self, error: ProcessDied) -> ModelProcessFailed:
        """Blame the version for the death of its process at work, and say what those are answered who wait for it."""
        process, self.process = self.process, None
        assert process is not None
        reason = "" if process.overran or error.is_end else f"broke its process: {error}"
        self._processes.end(EndedProcess(process, self._blame, reason))
        self._start_later()
        if process.overran:
            sentence = "A run of the model did not end, so its process was ended; ask again."
        else:
            sentence = "The model's process ended before it had answered; ask again."
        return ModelProcessFailed(sentence)

    def _start_later(self) -> None:
        now = time.monotonic()
        self._pause = (
            FIRST_PAUSE_SECONDS
            if now - self._died_at > CALM_SECONDS
            else min(2 * self._pause, MAX_PAUSE_SECONDS)
        )
        self._died_at = now
        self._start_at = now + self._pause

    # Runs of threads

    def run(self, arrays: Sequence[Array], options: RunOptions | None) -> list[Array]:
        """Run in the process once it is free, and wait for the answer; see `IsolatedSession.run`."""
        self._acquire(options)
        try:
            self._detach()
            return self._run_alone(arrays, options)
        except ProcessDied as error:
            raise self._lose(error) from error
        finally:
            self._end_exhausted()
            self.used_at = time.monotonic()
            self.lock.release()

    def _acquire(self, options: RunOptions | None) -> None:
        """Wait for the lock; RunAbandoned where `options` end the wait."""
        self._waiting += 1
        try:
            while not self.lock.acquire(timeout=LOCK_SECONDS):
                if options is not None and options.terminate:
                    raise RunAbandoned
        finally:
            self._waiting -= 1

    def _run_alone(self, arrays: Sequence[Array], options: RunOptions | None) -> list[Array]:
        return self._begin(arrays, options).wait(options)

    def _begin(self, arrays: Sequence[Array], options: RunOptions | None) -> ModelProcess:
        """Begin a run in the process, which is started where there is none, or where it ended while it was idle."""
        seconds = self._processes.limits.run_seconds + STOP_SECONDS
        process = self.process
        if process is not None:
            process.finish_abandoned(options)
            try:
                process.begin(arrays, seconds)
            except ProcessDied:
                self._processes.end(EndedProcess(process))
                self.process = None
            else:
                return process
        try:
            process, _ = self._launch()
        except ModelRefused as error:
            raise ModelProcessFailed(f"The model's process cannot load it again: {error}") from error
        process.begin(arrays, seconds)
        return process

    # Runs of the event loop

    def try_acquire(self) -> bool:
        """Take the lock for the event loop, unless something is at work or the process has to be started first."""
        if self._waiting or not self.lock.acquire(blocking=False):
            return False
        if self.process is None or self.process.is_at_work:
            self.lock.release()
            return False
        return True

    def release(self) -> None:
        """Release the lock without a run."""
        self.lock.release()

    def begin(self, arrays: Sequence[Array], seconds: float, done: Done) -> None:
        """Begin a run for which the event loop does not wait: `done` is called there with what came of it.

        After `seconds` it is asked to end, and RunAbandoned is what came of it.
        """
        process = self.process
        assert process is not None
        loop = asyncio.get_running_loop()
        try:
            process.begin(arrays, self._processes.limits.run_seconds + STOP_SECONDS)
        except ProcessDied:  # while it was idle
            self._processes.end(EndedProcess(process))
            self.process = None
            loop.call_soon(
                self._finish,
                done,
                ModelProcessFailed("The model's process is started again; ask again.", 0.0),
            )
            return
        except Exception as error:
            loop.call_soon(self._finish, done, error)
            return
        if process.reader_of is None:
            process.reader_of = loop
            loop.add_reader(process.channel.fileno(), self._on_readable, process)
        run = self._run = LoopRun(done)
        run.timer = loop.call_later(seconds, self._stop, run)

    def _on_readable(self, process: ModelProcess) -> None:
        run = self._run
        if run is None or process is not self.process:  # a thread reads its answer
            return
        try:
            answer: list[Array] | Exception | None = process.receive()
        except ProcessDied as error:
            answer = self._lose(error)
        except Exception as error:
            answer = RunAbandoned() if run.was_stopped and isinstance(error, ModelFailed) else error
        if answer is not None:
            self._end_run(run, answer)

    def _end_run(self, run: LoopRun, answer: list[Array] | Exception) -> None:
        self._run = None
        if run.timer is not None:
            run.timer.cancel()
        self._finish(run.done, answer)

    def _finish(self, done: Done, answer: list[Array] | Exception) -> None:
        self._end_exhausted()
        self.used_at = time.monotonic()
        self.lock.release()
        done(answer)

    def _stop(self, run: LoopRun) -> None:
        if self._run is not run or self.process is None:
            return
        if run.was_stopped:
            self._end_run(run, RunAbandoned())
            return
        run.was_stopped = True
        self.process.stop_run()
        run.timer = asyncio.get_running_loop().call_later(STOP_SECONDS, self._stop, run)

    def _detach(self) -> None:
        """Make the event loop read no answers any more, as a thread does; it does not matter when."""
        process = self.process
        if process is None or (loop := process.reader_of) is None:
            return

        def detach() -> None:
            if self._run is None and process.reader_of is loop:
                loop.remove_reader(process.channel.fileno())
                process.reader_of = None

        try:
            loop.call_soon_threadsafe(detach)
        except RuntimeError:  # the loop is closed
            process.reader_of = None

    # The end

    def take_idle(self) -> ModelProcess | None:
        """Take the process out of its place where nothing is at work in it."""
        if not self.lock.acquire(blocking=False):
            return None
        try:
            process = self.process
            if process is None or process.is_at_work:
                return None
            self.process = None
            return process
        finally:
            self.lock.release()

    def _end_exhausted(self) -> None:
        """End a process that keeps the memory of a failed run; the next run starts another."""
        if self.process is not None and self.process.is_exhausted:
            process, self.process = self.process, None
            self._processes.end(EndedProcess(process))

    def has_ended(self) -> bool:
        """Return whether there is a process that has ended."""
        process = self.process
        return process is not None and process.has_ended()

    def notice_end(self) -> None:
        """Blame the version for a process that was killed at work, where nobody waits who would notice."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            if self.process is not None and self.process.is_at_work:
                self._lose(ProcessDied("it was killed", is_end=True))
        finally:
            self.lock.release()
