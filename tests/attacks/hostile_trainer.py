"""A trainer of a third party that tries to get out; it runs only in the training subprocess.

It writes what came of each attempt into `seen.json` and then fails. Targets come as the job's parameters.
"""

import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from monitors.workflows.trainers.data import TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SHMGET = {"x86_64": 29, "aarch64": 194}
_libc = ctypes.CDLL(None, use_errno=True)


def tries_everything(job: TrainingJob, data: TrainingData) -> TrainedModel:
    worker = os.getppid()
    attempts: dict[str, Callable[[], object]] = {
        "list the processes": lambda: os.listdir("/proc"),
        "read the worker's environment": lambda: Path(f"/proc/{worker}/environ").read_bytes(),
        "read the worker's command": lambda: Path(f"/proc/{worker}/cmdline").read_bytes(),
        "read the worker's files": lambda: os.listdir(f"/proc/{worker}/fd"),
        "signal the worker": lambda: os.kill(worker, 0),
        "trace the worker": lambda: _trace(worker),
        "read a key": lambda: Path(job.parameters["key"]).read_bytes(),
        "link to a key": lambda: os.symlink(job.parameters["key"], "model.onnx"),
        "link hard to a key": lambda: os.link(job.parameters["key"], "report.json"),
        "leave a pipe that hangs its reader": lambda: os.mkfifo("metadata.json"),
        "list the folder of all runs": lambda: os.listdir(".."),
        "write beside its folder": lambda: Path("../planted").write_text("x"),
        "write into installed code": lambda: Path(ctypes.__file__).with_name("planted.py").write_text("x"),
        "start a program": lambda: subprocess.run(["true"], check=True),
        "fork": lambda: os.fork() or os._exit(0),
        "reach the network": lambda: socket.create_connection(tuple(job.parameters["address"]), timeout=5),
        "share memory": lambda: _call(_libc.syscall, SHMGET[os.uname().machine], 0, 4096, 0o1600),
        "use root's powers": lambda: os.chroot("/"),
        # What a training needs:
        "write its folder": lambda: Path("own").write_text("x"),
        "rename in its folder": lambda: Path("own").rename("own too"),
        "read its data": lambda: Path(job.data).read_bytes(),
        "start a thread": _run_thread,
    }
    for path in job.parameters["sockets"]:
        attempts[f"connect to {path}"] = lambda path=path: socket.socket(socket.AF_UNIX).connect(path)
    Path("seen.json").write_text(json.dumps({what: _outcome(attempt) for what, attempt in attempts.items()}))
    raise ZeroDivisionError("nothing to train")


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return "done"


def _call(function: Callable[..., int], *arguments: int) -> None:
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _trace(worker: int) -> None:
    _call(_libc.ptrace, PTRACE_ATTACH, worker, 0, 0)
    os.waitpid(worker, 0)
    _call(_libc.ptrace, PTRACE_DETACH, worker, 0, 0)  # it would stand still


def _run_thread() -> None:
    thread = threading.Thread(target=bool)
    thread.start()
    thread.join()
