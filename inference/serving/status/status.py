"""What each serving process tells of itself: DRIFTLINE_HOME/serving/<pid>.json, written every second.

What processes on serving hosts tell is in serving/hosts/<name>.json, a file for each host.

Counts outlive their process: whoever ends, or finds a process that died, adds its last counts to the file `totals`
beside. So the sums over all files never go backwards, which Prometheus would take for a restart.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from driftline.base.durable_files import write_file
from driftline.base.errors import UNREADABLE
from inference.runtime.machine_memory import resident_bytes
from inference.serving.counts.metrics import ROWS, SECONDS, ServingMetrics
from inference.serving.counts.rolling_counts import RollingCounts

if TYPE_CHECKING:
    from inference.serving.engine.engine import Engine

STATUS_FOLDER = "serving"
HOSTS_FOLDER = "hosts"
STATUS_SECONDS = 1.0
HOST_AWAY_SECONDS = 10.0
"""A host that said nothing for so long does not count as one that serves."""
TOTALS_FILE = "totals"
LIMITS = [*SECONDS, *ROWS]
COUNTS = ("series", "refusals", "shadow_drops", "jobs_ended", "upstream_calls", "unlogged_rows")
MAX_SERIES = 5_000  # in the totals; the ones that ended longest ago are forgotten
MAX_ENDED = 1_000  # processes that the totals remember to hold


class StatusFile:
    """The file of this process."""

    def __init__(self, home: Path, engine: "Engine") -> None:
        self._folder = home / STATUS_FOLDER
        self._path = self._folder / f"{os.getpid()}.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._engine = engine
        self._started_at = time.time()
        self._last_minute = RollingCounts(self._started_at)
        self._written = (0.0, -1)
        retire(self._path)  # a process with this id has died before

    def write_if_due(self, now: float) -> None:
        """Write the file every second, and at once when another plan is live."""
        generation = self._engine.table.generation
        if now - self._written[0] >= STATUS_SECONDS or generation != self._written[1]:
            self._written = (now, generation)
            self.write()
            self._engine.spools.log_request_counts()

    def write(self) -> None:
        report = describe_process(self._engine, self._started_at)
        report["last_minute"] = self._last_minute.describe(report["written_at"], report["series"])
        _write(self._path, report)

    def close(self) -> None:
        """Leave the last counts to the totals; nothing more will be counted."""
        self.write()
        retire(self._path)


def describe_process(engine: "Engine", started_at: float) -> dict[str, Any]:
    """Describe this process: identity, live plan, models that could not follow it, spool, load and counts."""
    table = engine.table
    return {
        "pid": os.getpid(),
        "started_at": started_at,
        "written_at": time.time(),
        "ready": engine.is_ready,
        "generation": table.generation,
        "stale_models": {str(model_id): reason for model_id, reason in table.stale_models.items()},
        "failed_versions": {str(version_id): reason for version_id, reason in table.failed.items()},
        "executions": {
            str(version_id): msgspec.to_builtins(version.execution)
            for version_id, version in table.loaded.items()
        },
        "shadows": engine.shadows.states(),
        "upstreams": [
            {
                "model_id": version.model_id,
                "version": version.plan.version,
                "circuit": version.remote.circuit.value,
                "last_failure": version.remote.last_failure,
            }
            for version in table.loaded.values()
            if version.remote is not None
        ],
        "resident_bytes": resident_bytes(),
        "spool": {
            "fsync": engine.options.fsync,
            "written_bytes": engine.spools.written_bytes(),
            "waiting_bytes": engine.spools.waiting_bytes,
            "full": engine.spools.is_full,
        },
        "load": engine.load(),
        "jobs_running": engine.metrics.jobs_running,
        **engine.metrics.snapshot(),
    }


def retire(path: Path) -> None:
    """Add the counts of an ended process to the totals, and remove its file. Safe to repeat, and to break off."""
    if not path.exists():
        return
    with _locked(path.parent):
        report = _read(path)
        if report is None:
            return
        totals = _read_totals(path.parent)
        if _instance(report) not in totals["ended"]:
            totals["ended"] = [*totals["ended"][-MAX_ENDED + 1 :], _instance(report)]
            _add(totals, report)
            totals["series"] = dict(list(totals["series"].items())[-MAX_SERIES:])
            _write(path.parent / TOTALS_FILE, totals)
        path.unlink(missing_ok=True)


def retire_dead(home: Path) -> None:
    """Retire every process that left its file behind."""
    for path in (home / STATUS_FOLDER).glob("*.json"):
        if not Path(f"/proc/{path.stem}").exists():
            retire(path)


def is_ready(home: Path, pid: int) -> bool:
    """Return whether a process says that it answers requests."""
    report = _read(home / STATUS_FOLDER / f"{pid}.json")
    return report is not None and bool(report["ready"])


def total_counts(home: Path) -> dict[str, Any]:
    """Add up what all processes of this home and of its hosts have counted, those included that have ended."""
    folder = home / STATUS_FOLDER
    reports = [report for path in sorted(folder.glob("*.json")) if (report := _read(path)) is not None]
    totals = _read_totals(folder)  # after the files: whoever is missing there is in here
    for report in reports:
        if _instance(report) not in totals["ended"]:
            _add(totals, report)
    for host in _host_files(home):
        if host["counts"]["limits"] == LIMITS:
            _add(totals, host["counts"])
    return {name: totals[name] for name in COUNTS}


def local_reports(home: Path) -> Iterator[dict[str, Any]]:
    """Read what the processes of this machine say that have not ended."""
    for path in sorted((home / STATUS_FOLDER).glob("*.json")):
        report = _read(path)
        if report is not None and _lives(report["pid"]):
            yield report


def live_reports(home: Path) -> Iterator[dict[str, Any]]:
    """Read what all processes say that have not ended; those of a serving host have its name as `host`."""
    yield from local_reports(home)
    for host in _host_files(home):
        if time.time() - host["received_at"] < HOST_AWAY_SECONDS:
            yield from ({**report, "host": host["name"]} for report in host["processes"])


def write_host_status(home: Path, name: str, processes: list[dict[str, Any]], counts: dict[str, Any]) -> None:
    """Keep what a host said of its processes, and what all that ever ran there have counted."""
    folder = home / STATUS_FOLDER / HOSTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    status = {"name": name, "received_at": time.time(), "processes": processes, "counts": counts}
    _write(folder / f"{name}.json", status)


def retire_host(home: Path, name: str) -> None:
    """Add what a host has counted to the totals, and remove its file."""
    path = home / STATUS_FOLDER / HOSTS_FOLDER / f"{name}.json"
    if not path.exists():
        return
    with _locked(home / STATUS_FOLDER):
        host, totals = _read(path), _read_totals(home / STATUS_FOLDER)
        if host is not None and host["counts"]["limits"] == LIMITS:
            _add(totals, host["counts"])
            _write(home / STATUS_FOLDER / TOTALS_FILE, totals)
        path.unlink(missing_ok=True)


def counts_to_send(home: Path) -> dict[str, Any]:
    """Return what a host says of its counts: with the limits of their buckets, as others cannot be added."""
    return {"limits": LIMITS, **total_counts(home)}


def _host_files(home: Path) -> list[dict[str, Any]]:
    paths = (home / STATUS_FOLDER / HOSTS_FOLDER).glob("*.json")
    return [status for path in sorted(paths) if (status := _read(path)) is not None]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, as another user
    return True


def upstream_circuits(home: Path) -> dict[tuple[int, str], dict[str, int]]:
    """Count by model id and version in how many processes the circuit to another server has which state."""
    circuits: dict[tuple[int, str], dict[str, int]] = {}
    for report in live_reports(home):
        for one in report.get("upstreams", []):
            states = circuits.setdefault((one["model_id"], one["version"]), {})
            states[one["circuit"]] = states.get(one["circuit"], 0) + 1
    return circuits


def _instance(report: dict[str, Any]) -> str:
    return f"{report['pid']}:{report['started_at']}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        report: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except (OSError, *UNREADABLE):
        return None  # it has just been removed, or was never whole
    return report


def _read_totals(folder: Path) -> dict[str, Any]:
    totals = _read(folder / TOTALS_FILE)
    if totals is None or totals["limits"] != LIMITS:  # counts in other buckets cannot be added
        totals = {"limits": LIMITS, "ended": []}
    return {**ServingMetrics().snapshot(), **totals}  # an older version may not have counted all of it


def _add(totals: dict[str, Any], report: dict[str, Any]) -> None:
    for name in COUNTS:
        totals[name] = _sum(totals[name], report.get(name, type(totals[name])()))


def _sum(one: Any, other: Any) -> Any:
    """Add two trees of counts; keys of `other` come last."""
    if isinstance(one, dict):
        merged = dict(one)
        for name, value in other.items():
            present = merged.pop(name, None)
            merged[name] = value if present is None else _sum(present, value)
        return merged
    if isinstance(one, list):
        return [count + more for count, more in zip(one, other, strict=True)]
    return one + other


def _write(path: Path, value: object) -> None:
    write_file(path, msgspec.json.encode(value), sync=False)  # it is written again soon


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
