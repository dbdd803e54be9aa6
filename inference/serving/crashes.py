"""Which version is to blame for the end of a serving process, and which versions are kept out because of it.

A crash of ONNX Runtime takes the process along, and a kernel that never ends holds its event loop. Each thread
therefore marks the version that it runs in a small mapped file, which outlives the process, beside the beat of the
event loop; faulthandler writes which thread crashed. The parent reads both.
"""

import contextlib
import faulthandler
import fcntl
import mmap
import os
import re
import signal
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.base.durable_files import write_file
from driftline.base.errors import UNREADABLE
from inference.serving.heartbeat import STALL_SECONDS

MAX_CRASHES = 2
CRASH_SECONDS = 600.0
STALLED, STARVED = (
    87,
    88,
)  # exit codes of a serving process whose event loop stood still, that took too much memory
QUARANTINE_FILE = "quarantine.json"
_FOLDER = "serving"
_THREADS = 64
_LOOP, _BEAT, _SUCCESSOR, _HEADER = range(4)  # places before the threads': see RunMarks
_BYTES = 8 * _HEADER + 16 * _THREADS  # a thread's identity and a version's id
_SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
_CRASHED_THREAD = re.compile(r"Current thread 0x([0-9a-f]+)")


class RunMarks:
    """The version that each thread of this process runs or loads; in memory alone until `keep_in` is called.

    Beside them stand the identity of the event loop's thread, its beat (0 while nobody is to watch it), and whether
    this process asks to be replaced.
    """

    def __init__(self) -> None:
        self._view = memoryview(bytearray(_BYTES)).cast("q")
        self._places: dict[int, int] = {}
        self._paths: list[Path] = []

    def keep_in(self, home: Path) -> None:
        """Keep the marks, and the report of a crash, in files that outlive the process."""
        marks, report = _paths(home, os.getpid())
        marks.parent.mkdir(parents=True, exist_ok=True)
        self._paths = [marks, report]
        with marks.open("w+b") as file:
            file.truncate(_BYTES)
            self._view = memoryview(mmap.mmap(file.fileno(), _BYTES)).cast("q")
        self._places = {}
        self._report = report.open("w")
        faulthandler.enable(self._report, all_threads=True)  # alone it would not name the thread

    @property
    def beat(self) -> int:
        """The beat of the event loop; 0 while nobody is to watch it."""
        return self._view[_BEAT]

    def beat_once(self) -> None:
        """Show that the event loop, in whose thread this is called, moves."""
        self._view[_LOOP] = threading.get_ident()
        self._view[_BEAT] += 1

    def stop_beating(self) -> None:
        """Mark the event loop as watched by nobody any more: the process ends."""
        self._view[_BEAT] = 0

    def ask_for_successor(self) -> None:
        """Ask the parent for a process in place of this one, which cannot get rid of a run."""
        self._view[_SUCCESSOR] = 1

    def running_in(self, thread: int) -> int:
        """Return the version that a thread of this process runs; 0 for none."""
        place = self._places.get(thread)
        return self._view[place] if place is not None else 0

    def begin(self, version_id: int) -> int:
        """Mark that this thread runs a version; give the place that `end` wants."""
        place = self._places.get(threading.get_ident())
        if place is None:
            place = self._new_place()
        self._view[place] = version_id
        return place

    def end(self, place: int) -> None:
        """Take the mark back."""
        self._view[place] = 0

    def _new_place(self) -> int:
        """Assign this thread a place of its own; when there are too many, the oldest is taken over."""
        thread = threading.get_ident()
        place = _HEADER + 2 * (len(self._places) % _THREADS) + 1
        self._places[thread] = place
        self._view[place - 1] = thread
        return place

    def remove(self) -> None:
        """Remove the files: the process ends by itself."""
        for path in self._paths:
            path.unlink(missing_ok=True)


MARKS = RunMarks()
"""This process's marks."""


class Crashes(Struct):
    """The times at which a version harmed the serving processes, and what it did last, as a predicate."""

    at: list[float]
    reason: str = "ended a serving process"
    quarantined: bool = False


_decoder = msgspec.json.Decoder(dict[int, Crashes])


class ProcessState(Struct, frozen=True):
    """What a living process shows its parent: the beat of its event loop, and whether it asks to be replaced."""

    beat: int
    wants_successor: bool


def read_state(home: Path, pid: int) -> ProcessState | None:
    """Read what a serving process shows; None before it shows anything."""
    try:
        places = array("q", _paths(home, pid)[0].read_bytes())
    except OSError:
        return None
    return ProcessState(places[_BEAT], bool(places[_SUCCESSOR])) if len(places) > _HEADER else None


def note_death(
    home: Path, pid: int, code: int, now: float, *, stalled: bool = False, starved: bool = False
) -> None:
    """Blame a version for the death of a serving process.

    `stalled` says that the parent killed it because its event loop stood still, `starved` that the kernel killed a
    process for want of memory meanwhile.
    """
    paths = _paths(home, pid)
    version_id, reason = _blamed(*paths, code, stalled=stalled or code == STALLED, starved=starved)
    for path in paths:
        path.unlink(missing_ok=True)
    if version_id is not None:
        blame(home, version_id, reason, now)


def blame(home: Path, version_id: int, reason: str, now: float) -> None:
    """Note what a version did, such as "did not end a run"; the second time in ten minutes it is quarantined."""
    with _locked(home):
        crashes = read_crashes(home)
        known = crashes.get(version_id, Crashes([]))
        recent = [*(moment for moment in known.at if moment > now - CRASH_SECONDS), now]
        crashes[version_id] = Crashes(recent, reason, known.quarantined or len(recent) >= MAX_CRASHES)
        _write(home, crashes)


def quarantined(home: Path) -> dict[int, str]:
    """Return which versions must not be loaded, and why, by version id."""
    return {
        version_id: f"It is quarantined because it harmed the serving processes {len(crashes.at)} times; the last "
        f"time it {crashes.reason}. Upload a mended version, or lift the quarantine to try it again."
        for version_id, crashes in read_crashes(home).items()
        if crashes.quarantined
    }


def lift_quarantine(home: Path, version_id: int) -> None:
    """Allow a version to be loaded again."""
    with _locked(home):
        crashes = read_crashes(home)
        if crashes.pop(version_id, None) is not None:
            _write(home, crashes)


def read_crashes(home: Path) -> dict[int, Crashes]:
    """Read what is known of crashes, by version id."""
    try:
        return _decoder.decode((home / QUARANTINE_FILE).read_bytes())
    except (FileNotFoundError, *UNREADABLE):
        return {}


def forget_dead(home: Path) -> None:
    """Remove the files of processes whose parent died before it could read them."""
    for path in (home / _FOLDER).glob("*.marks"):
        if not Path(f"/proc/{path.stem}").exists():
            for leftover in _paths(home, int(path.stem)):
                leftover.unlink(missing_ok=True)


def _blamed(marks: Path, report: Path, code: int, *, stalled: bool, starved: bool) -> tuple[int | None, str]:
    """Find the version that a death is to be blamed on, and what it did; None where that is not sure."""
    try:
        places = array("q", marks.read_bytes())
    except OSError:
        return None, ""
    running = {places[i]: places[i + 1] for i in range(_HEADER, len(places), 2) if places[i + 1]}
    if stalled:
        return running.get(places[_LOOP]), f"held up a serving process for more than {STALL_SECONDS:.0f} s"
    if code == STARVED:
        return _only(running), "took more memory than a serving process may hold"
    if code == -signal.SIGKILL and starved:
        return _only(running), "used up the machine's memory"
    if -code not in _SIGNALS:
        return None, ""
    reason = f"crashed a serving process ({signal.Signals(-code).name})"
    with contextlib.suppress(OSError):
        crashed = _CRASHED_THREAD.search(report.read_text(errors="replace"))
        if crashed is not None:
            return running.get(int(crashed[1], 16)), reason
    return _only(running), reason


def _only(running: dict[int, int]) -> int | None:
    """Return the one version that threads were running, where there is one alone."""
    versions = set(running.values())
    return versions.pop() if len(versions) == 1 else None


def _paths(home: Path, pid: int) -> tuple[Path, Path]:
    folder = home / _FOLDER
    return folder / f"{pid}.marks", folder / f"{pid}.crash"


def _write(home: Path, crashes: dict[int, Crashes]) -> None:
    write_file(home / QUARANTINE_FILE, msgspec.json.encode(crashes))


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Keep others from writing the file meanwhile: each process of this home may."""
    handle = os.open(home / f".{QUARANTINE_FILE}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
