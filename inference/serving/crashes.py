"""Which version a native crash is to be blamed on, and which versions are kept out because they crash.

A crash of ONNX Runtime takes the process along. Each thread therefore marks the version that it runs in a small
mapped file, which outlives the process, and faulthandler writes which thread crashed. The parent reads both.
"""

import contextlib
import faulthandler
import mmap
import os
import re
import signal
import threading
import time
from array import array
from pathlib import Path

import msgspec
from msgspec import Struct

MAX_CRASHES = 3
CRASH_SECONDS = 600.0
QUARANTINE_FILE = "quarantine.json"
_FOLDER = "serving"
_THREADS = 64
_BYTES = 16 * _THREADS  # a thread's identity and a version's id
_SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
_CRASHED_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+)")


class RunMarks:
    """The version that each thread of this process runs or loads; in memory alone until `keep_in` is called."""

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
        faulthandler.enable(self._report, all_threads=False)

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
        """Give this thread a place of its own; when there are too many, the oldest is taken over."""
        thread = threading.get_ident()
        place = 2 * (len(self._places) % _THREADS) + 1
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
    """The times at which a version ended a serving process, and the last signal that did."""

    at: list[float]
    signal: str
    quarantined: bool = False


_decoder = msgspec.json.Decoder(dict[int, Crashes])


def note_death(home: Path, pid: int, code: int, now: float) -> None:
    """Blame a version for a process's death by a native crash; after three in ten minutes it is quarantined."""
    paths = _paths(home, pid)
    version_id = _blamed(*paths) if -code in _SIGNALS else None
    for path in paths:
        path.unlink(missing_ok=True)
    if version_id is None:
        return
    crashes = read_crashes(home)
    found = crashes.get(version_id, Crashes([], ""))
    recent = [*(moment for moment in found.at if moment > now - CRASH_SECONDS), now]
    quarantined = found.quarantined or len(recent) >= MAX_CRASHES
    crashes[version_id] = Crashes(recent, signal.Signals(-code).name, quarantined)
    _write(home, crashes)


def quarantined(home: Path) -> dict[int, str]:
    """Tell which versions must not be loaded, and why, by version id."""
    return {
        version_id: f"It is quarantined because it ended the serving process {len(crashes.at)} times "
        f"({crashes.signal}); upload a mended version, or lift the quarantine to try it again."
        for version_id, crashes in read_crashes(home).items()
        if crashes.quarantined
    }


def lift_quarantine(home: Path, version_id: int) -> None:
    """Let a version be loaded again."""
    crashes = read_crashes(home)
    if crashes.pop(version_id, None) is not None:
        _write(home, crashes)


def read_crashes(home: Path) -> dict[int, Crashes]:
    """Read what is known of crashes, by version id."""
    try:
        return _decoder.decode((home / QUARANTINE_FILE).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def forget_dead(home: Path) -> None:
    """Remove the files of processes whose parent died before it could read them."""
    for path in (home / _FOLDER).glob("*.marks"):
        if not Path(f"/proc/{path.stem}").exists():
            for left in _paths(home, int(path.stem)):
                left.unlink(missing_ok=True)


def _blamed(marks: Path, report: Path) -> int | None:
    """Find the version that the crashed thread had marked; where no thread is named, the only one marked."""
    with contextlib.suppress(OSError):
        places = array("q", marks.read_bytes())
        running = {places[i]: places[i + 1] for i in range(0, len(places), 2) if places[i + 1]}
        crashed = _CRASHED_THREAD.search(report.read_text(errors="replace"))
        if crashed is not None:
            return running.get(int(crashed[1], 16))
        if len(set(running.values())) == 1:
            return next(iter(running.values()))
    return None


def _paths(home: Path, pid: int) -> tuple[Path, Path]:
    folder = home / _FOLDER
    return folder / f"{pid}.marks", folder / f"{pid}.crash"


def _write(home: Path, crashes: dict[int, Crashes]) -> None:
    path = home / QUARANTINE_FILE
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    draft.write_bytes(msgspec.json.encode(crashes))
    draft.replace(path)
