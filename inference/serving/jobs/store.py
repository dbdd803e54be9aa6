"""Jobs on disk, so that any serving process can run and show them, and none of them dies with a process.

A job is a folder, DRIFTLINE_HOME/jobs/open/<project>-<id>, which moves to `ended` with its answer. Each change is one
rename, so a reader sees all of it or nothing. Whoever runs a job holds a lock on its request: the kernel gives it
back when the process dies. A file's first bytes tell whether it is sealed.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from driftline.base.durable_files import sync_to_disk, write_file
from inference.prediction_log.spool.record import Role
from inference.prediction_log.spool.sealing import FILE_MAGIC, Tampered, open_file, seal_file
from inference.protocol.dialect import JSON_FIELDS
from inference.serving.plan import PlanCallback

JOBS_FOLDER = "jobs"
REQUEST, STARTS, ANSWER = "request", "starts", "answer"
LEFTOVER_SECONDS = 3600.0  # drafts and deleted folders older than this were left by a process that died
HANGS_SECONDS = 60.0  # after its deadline, a job that is still run is ended by any process
BLOCK = 512  # bytes, of which st_blocks counts
MAX_CALLBACK_ANSWER_BYTES = 16 * 1024  # a callback with a longer answer leaves it to be fetched
DAMAGED = (msgspec.MsgspecError, UnicodeDecodeError, Tampered)  # what cannot be decoded or opened
log = logging.getLogger(__name__)


class Job(Struct, frozen=True):
    """What was accepted; times are POSIX times.

    The version is chosen with the acceptance, and so is the prediction id: a job that is run again after a crash
    gives the same answer, and the log keeps it once. `path` and `headers` are the request's own, for its dialect.
    """

    id: str
    project_id: int
    model_id: int
    model: str
    version: str
    role: Role
    prediction_id: str
    accepted_at: float
    deadline_at: float
    path: str
    headers: dict[str, str]
    callback: PlanCallback | None = None

    @property
    def name(self) -> str:
        """Name its folder."""
        return folder_name(self.project_id, self.id)


class AnswerHead(Struct, frozen=True):
    """The head of a stored answer: `fields` are whole header lines of HTTP, as a synchronous answer has them."""

    status: int
    fields: str
    ended_at: float

    @property
    def state(self) -> Literal["succeeded", "failed"]:
        return "succeeded" if self.status == 200 else "failed"


class Callback(Struct, frozen=True):
    """A message that waits for the callback of a job that ended; the answer can be fetched until `expires_at`."""

    job: Job
    ended: AnswerHead
    expires_at: float
    answer: bytes | None  # where it is short, and JSON


class StoredAnswer(Struct):
    """An ended job's answer."""

    ended: AnswerHead
    body: bytes


class OpenJob(Struct):
    """A job that has not ended."""

    job: Job
    state: Literal["queued", "running"]


def folder_name(project_id: int, job_id: str) -> str:
    """Name the folder of a job: its project is part of it, so nobody finds another project's."""
    return f"{project_id}-{job_id}"


def project_of(name: str) -> int:
    """Read the project from a folder's name."""
    return int(name.partition("-")[0])


class JobStore:
    """The jobs of a home. Its calls reach the disk: make them in a thread."""

    def __init__(self, home: Path, *, sync: bool, keep_seconds: float, seals: bool = False) -> None:
        """Make the folders; with `sync`, what is promised is on the disk, else it survives the process alone.

        With `seals`, what is written can be read with the keys of the home only.
        """
        self.home = home
        self._seals = seals
        self._root = home / JOBS_FOLDER
        self.open = self._root / "open"
        self.ended = self._root / "ended"
        self.callbacks = self._root / "callbacks"
        self._sync = sync
        self._keep_seconds = keep_seconds
        for folder in (self.open, self.ended, self.callbacks):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, job: Job, body: bytes) -> None:
        """Keep a job; it survives from here on."""
        draft = self._root / f".{job.name}"
        draft.mkdir(mode=0o700)
        self.write(draft / REQUEST, msgspec.json.encode(job) + b"\n" + body)
        draft.rename(self.open / job.name)
        if self._sync:
            sync_to_disk(self.open)

    def waiting(self) -> list[str]:
        """Name the jobs that have not ended, the oldest first."""
        return sorted(os.listdir(self.open), key=lambda name: name.partition("-")[2])

    def claim(self, name: str) -> "Claim | None":
        """Take a job to run it; None where another process runs it, or it has ended.

        One that is long past its deadline is given although it is locked: whoever holds it hangs, and will find
        nothing to end. One that cannot be decoded is nobody's any more: it is set aside.
        """
        folder = self.open / name
        try:
            handle = os.open(folder / REQUEST, os.O_RDONLY)
        except FileNotFoundError:
            return None
        claim = Claim(self, folder, handle)
        is_begun = False
        try:
            is_begun = claim.begin()
        except FileNotFoundError:  # deleted at this moment
            pass
        except DAMAGED as error:
            log.error("a job is damaged", extra={"job": name, "error": str(error)})
            set_aside(folder, self._root)
        finally:
            if not is_begun:
                claim.release()
        return claim if is_begun else None

    def find(self, project_id: int, job_id: str) -> OpenJob | StoredAnswer | None:
        """Find a job of a project; it only ever moves from `open` to `ended`, so that is the order to look in."""
        name = folder_name(project_id, job_id)
        try:
            job = msgspec.json.decode(self._read_head(self.open / name / REQUEST), type=Job)
            return OpenJob(job, "running" if (self.open / name / STARTS).exists() else "queued")
        except FileNotFoundError:
            pass
        try:
            return read_answer(self.home, self.ended / name)
        except FileNotFoundError:
            return None

    def _read_head(self, path: Path) -> bytes:
        """Read the first line of a file, and no more of it where it is not sealed."""
        with path.open("rb") as file:
            line = file.readline()
            if not line.startswith(FILE_MAGIC):
                return line
            return open_file(self.home, line + file.read()).partition(b"\n")[0]

    def delete(self, project_id: int, job_id: str) -> Job | StoredAnswer | None:
        """Forget a job and give what it was; whoever runs it finds nothing to end."""
        name = folder_name(project_id, job_id)
        deleted = self.find(project_id, job_id)
        for folder in (self.open, self.ended):
            if self._remove(folder / name):
                return deleted.job if isinstance(deleted, OpenJob) else deleted
        return None

    def _remove(self, folder: Path) -> bool:
        doomed = self._root / f".deleted-{folder.name}"
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return False
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def tidy(self, now: float) -> int:
        """Remove answers that were kept long enough, and what dead processes left behind; count the answers."""
        removed = 0
        for name in os.listdir(self.ended):
            if self._ended_before(self.ended / name, now - self._keep_seconds):
                removed += self._remove(self.ended / name)
        self._remove_leftovers(now - LEFTOVER_SECONDS)
        return removed

    def _remove_leftovers(self, before: float) -> None:
        for leftover in (*self._root.glob(".*"), *self.callbacks.glob(".*")):
            with contextlib.suppress(FileNotFoundError):
                if leftover.stat().st_mtime >= before:
                    continue
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink()

    def _ended_before(self, folder: Path, moment: float) -> bool:
        try:
            return (folder / ANSWER).stat().st_mtime < moment
        except FileNotFoundError:
            return False

    def measure(self) -> Counter[int]:
        """Measure the bytes of each project's jobs; costs some microseconds a job."""
        sizes: Counter[int] = Counter()
        for parent in (self.open, self.ended):
            for name in os.listdir(parent):
                sizes[project_of(name)] += _size(parent / name)
        return sizes

    # What a claim needs

    def describe(self, job: Job, answer: StoredAnswer) -> Callback:
        """Describe an ended job for its callback."""
        is_included = (
            len(answer.body) <= MAX_CALLBACK_ANSWER_BYTES and JSON_FIELDS.decode() in answer.ended.fields
        )
        expires_at = answer.ended.ended_at + self._keep_seconds
        return Callback(job, answer.ended, expires_at, answer.body if is_included else None)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file whole; raises OSError, also where there is no key to seal it."""
        if self._seals:
            content = seal_file(self.home, content)
        write_file(path, content, sync=self._sync)


class Claim:
    """A job that this process runs until it is released; `job`, `body` and `starts` are read when it begins."""

    job: Job
    body: bytes
    starts: int  # how often it was begun, this time included

    def __init__(self, store: JobStore, folder: Path, handle: int) -> None:
        self._store = store
        self._folder = folder
        self._handle = handle

    def begin(self) -> bool:
        """Lock the job, read it and note that it was begun; False where it is another's, or has an answer."""
        is_locked = self._lock()
        path = self._folder / REQUEST
        if not os.path.samestat(os.fstat(self._handle), path.stat()):
            return False
        head, _, self.body = open_file(self._store.home, path.read_bytes()).partition(b"\n")
        self.job = msgspec.json.decode(head, type=Job)
        if not is_locked and time.time() < self.job.deadline_at + HANGS_SECONDS:
            return False
        if (self._folder / ANSWER).exists():  # whoever wrote it died before it could show it
            self._publish(read_answer(self._store.home, self._folder))
            return False
        with (self._folder / STARTS).open("ab") as file:
            file.write(b".")
            self.starts = file.tell()
        return True

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def end(self, status: int, fields: bytes, body: bytes) -> bool:
        """Keep the answer; False where the job was deleted meanwhile."""
        answer = StoredAnswer(AnswerHead(status, fields.decode("latin-1"), time.time()), body)
        try:
            self._store.write(self._folder / ANSWER, msgspec.json.encode(answer.ended) + b"\n" + answer.body)
            self._publish(answer)
        except FileNotFoundError:
            return False
        return True

    def _publish(self, answer: StoredAnswer) -> None:
        """Show the answer instead of the request, and write the message for the callback."""
        callback = self._store.callbacks / self._folder.name
        if self.job.callback is not None:
            self._store.write(callback, msgspec.msgpack.encode(self._store.describe(self.job, answer)))
        ended = self._store.ended / self._folder.name
        try:
            self._folder.rename(ended)
        except FileNotFoundError:
            if not (ended / ANSWER).exists():  # it was deleted; else another ended it, and owes the callback
                callback.unlink(missing_ok=True)
            raise
        for needless in (REQUEST, STARTS):
            (ended / needless).unlink(missing_ok=True)

    def put_back(self) -> None:
        """Make the job wait again, as if it had not been begun."""
        (self._folder / STARTS).unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._handle)


def set_aside(damaged: Path, where: Path) -> None:
    """Take what cannot be decoded out of the way; it is kept for a look, and removed with other leftovers."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(damaged)
        damaged.rename(where / f".damaged-{damaged.name}")


def count_open(home: Path) -> Counter[int]:
    """Count the jobs of each project that have not ended."""
    folder = home / JOBS_FOLDER / "open"
    return Counter(map(project_of, os.listdir(folder))) if folder.is_dir() else Counter()


def waiting_callbacks(home: Path) -> Iterator[tuple[Path, Callback]]:
    """Yield the messages that wait for callbacks, the oldest first; whoever has sent one removes its file.

    One that cannot be read holds no other back: it is set aside where it is damaged, else tried again.
    """
    folder = home / JOBS_FOLDER / "callbacks"
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("[0-9]*"), key=lambda path: path.name.partition("-")[2]):
        if (callback := _read_callback(home, path)) is not None:
            yield path, callback


def _read_callback(home: Path, path: Path) -> Callback | None:
    try:
        return msgspec.msgpack.decode(open_file(home, path.read_bytes()), type=Callback)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("a callback cannot be read", extra={"job": path.name, "error": str(error)})
    except DAMAGED as error:
        log.error("a callback is damaged", extra={"job": path.name, "error": str(error)})
        set_aside(path, path.parent)
    return None


def read_answer(home: Path, folder: Path) -> StoredAnswer:
    """Read the answer in a job's folder; raises FileNotFoundError where there is none."""
    head, _, body = open_file(home, (folder / ANSWER).read_bytes()).partition(b"\n")
    return StoredAnswer(msgspec.json.decode(head, type=AnswerHead), body)


def _size(folder: Path) -> int:
    """Measure what a folder takes on the disk."""
    size = 4096
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            size += entry.stat().st_blocks * BLOCK
    return size
