"""Run a trainer in a subprocess that the worker can limit, end and do without."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic

import msgspec

import monitors
from inference.runtime.machine_memory import memory_bytes
from monitors.workflows.trainers.catalogue import SHIPPED, entry_point
from monitors.workflows.trainers.job import Limits, Specification, TrainingJob
from monitors.workflows.trainers.report import (
    METADATA_FILE,
    MODEL_FILE,
    REPORT_FILE,
    TrainedMetadata,
    TrainingReport,
    TrainingResult,
)

CHILD = "monitors.workflows.trainers.child"
SPECIFICATION_FILE = "specification.json"
ERROR_FILE = "stderr.txt"
TAIL_BYTES = 4_000
DEFAULT_LIMITS = Limits()
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")
"""Variables that a trainer may see; nothing of ours, so no credential reaches it."""


TRAINING_SECONDS = 600.0
"""What a training, or the evaluation of a model, may take; with what surrounds it less than a task may."""
MIN_MEMORY_MB = 512
"""Less does not hold the libraries."""


def memory_of_machine_mb() -> int:
    """Return the memory of this machine, or of this container, in MiB."""
    return memory_bytes() >> 20


class TrainingFailed(Exception):
    """The trainer ended without a model; the message holds the end of what it wrote to stderr."""

    code = "training_failed"


class TrainingTimedOut(TrainingFailed):
    """The trainer passed its deadline and was ended."""

    code = "training_timed_out"


class TrainingStopped(Exception):
    """The caller asked the trainer to stop, and it was ended."""


def run_trainer(
    trainer: str,
    job: TrainingJob,
    workdir: Path,
    timeout: float,
    *,
    allowed: Collection[str] = tuple(SHIPPED),
    limits: Limits = DEFAULT_LIMITS,
    stop: Event | None = None,
) -> TrainingResult:
    """Train `job` with the trainer named `trainer` in the empty folder `workdir`, within `timeout` seconds.

    Raises TrainerNotAllowed before anything starts, TrainingTimedOut at the deadline (the trainer's whole
    process group is ended), TrainingFailed with the end of its error output, and TrainingStopped within a
    second of another thread setting `stop`.
    """
    target = entry_point(trainer, allowed)
    _claim(workdir)
    specification = Specification(trainer=trainer, target=target, job=job, limits=limits, parent=os.getpid())
    return _work(specification, workdir, timeout, stop)


def run_evaluation(
    trainer: str,
    model: Path,
    job: TrainingJob,
    workdir: Path,
    timeout: float,
    *,
    limits: Limits = DEFAULT_LIMITS,
    stop: Event | None = None,
) -> TrainingResult:
    """Make an ONNX that `trainer` made elsewhere answer the held-out rows of `job`, as `run_trainer` does with its own.

    Raises the same.
    """
    _claim(workdir)
    shutil.copyfile(model, workdir / MODEL_FILE)
    specification = Specification(trainer=trainer, target=None, job=job, limits=limits, parent=os.getpid())
    return _work(specification, workdir, timeout, stop)


def _work(specification: Specification, workdir: Path, timeout: float, stop: Event | None) -> TrainingResult:
    (workdir / SPECIFICATION_FILE).write_bytes(msgspec.json.encode(specification))
    status = _run_child(workdir, timeout, stop or Event())
    if status != 0:
        raise TrainingFailed(f"Trainer '{specification.trainer}' {_ending(status)}: {_error_tail(workdir)}")
    return read_result(workdir)


def read_result(workdir: Path) -> TrainingResult:
    """Read what a finished trainer left in `workdir`."""
    return TrainingResult(
        folder=str(workdir),
        report=msgspec.json.decode((workdir / REPORT_FILE).read_bytes(), type=TrainingReport),
        metadata=msgspec.json.decode((workdir / METADATA_FILE).read_bytes(), type=TrainedMetadata),
    )


def _claim(workdir: Path) -> None:
    workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(workdir.iterdir()):
        raise TrainingFailed(f"The folder {workdir} is not empty; give each attempt a folder of its own.")


def _run_child(workdir: Path, timeout: float, stop: Event) -> int:
    with (workdir / ERROR_FILE).open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", CHILD, SPECIFICATION_FILE],
            cwd=workdir,
            env=_environment(workdir),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
        try:
            finished = _has_ended(child, timeout, stop)
        finally:  # also when the worker's own time limit interrupts the wait
            _end_group(child)
            status = child.wait()
    if not finished and stop.is_set():
        raise TrainingStopped
    if not finished:
        raise TrainingTimedOut(f"The trainer passed its deadline of {timeout:g} s and was ended.")
    return status


def _has_ended(child: subprocess.Popen[bytes], timeout: float, stop: Event) -> bool:
    """Wait for the child's end without reaping it: while it is a zombie, its group's number stays its own."""
    handle = os.pidfd_open(child.pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        deadline = monotonic() + timeout
        while not (ended := bool(poll.poll(min(1.0, max(0.0, deadline - monotonic())) * 1000))):
            if stop.is_set() or monotonic() >= deadline:
                break
        return ended
    finally:
        os.close(handle)


def _environment(workdir: Path) -> dict[str, str]:
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    checkout = Path(monitors.__path__[0]).parent
    return own | {
        "HOME": str(workdir),
        "TMPDIR": str(workdir),
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"failed (exit {status})"


def _error_tail(workdir: Path) -> str:
    text = ""
    with suppress(OSError), (workdir / ERROR_FILE).open("rb") as errors:  # the trainer may have removed it
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = errors.read().decode(errors="replace").strip()
    return text or "it wrote nothing; its memory or time limit may be too small."
