"""How long an installation is away after `kill -9` of each of its processes; printed, not asserted.

`python -m tests.performance.recovery_bench` starts one in a folder of its own and kills the parent of the servers, the
broker, the workers, the scheduler and the database, one after the other.
"""

import os
import signal
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.flows.installation.running import DATABASE, SERVER, TASKS, Installation
from tests.ports import free_port

MAX_SECONDS, CALM_SECONDS = 200.0, 5.0
VICTIMS = {
    "web": SERVER,
    "valkey": "valkey-server",
    "worker": TASKS,
    "scheduler": "celery beat",
    "postgres": DATABASE,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder) / "home", free_port())
        try:
            print(f"ready {installation.start():.1f} s after the command", flush=True)
            _wait_for_tick(installation)
            for name in VICTIMS:
                print(_measure(installation, name), flush=True)
        finally:
            installation.end()


def _measure(installation: Installation, name: str) -> str:
    """Kill one process, and measure when the last request failed, until a worker has consumed a tick sent since."""
    pid = int(min(found.pid for found in installation.running(VICTIMS[name])))
    before = _wait_for_tick(installation)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    failed = tick = 0.0
    while not tick or time.monotonic() < began + max(tick, failed) + CALM_SECONDS:
        if not _answers(installation):
            failed = time.monotonic() - began
        if not tick and _tick(installation) > before:
            tick = time.monotonic() - began
        time.sleep(0.05)
        if time.monotonic() > began + MAX_SECONDS:
            return f"kill -9 of {name}: not back after {MAX_SECONDS:.0f} s"
    return f"kill -9 of {name:<10} last failed request after {failed:6.1f} s, a tick consumed after {tick:6.1f} s"


def _answers(installation: Installation) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{installation.port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tick(installation: Installation) -> float:
    """Return when the newest tick was consumed, in seconds of the epoch; 0 without an answer of the database."""
    try:
        [(at,)] = installation.query("SELECT extract(epoch FROM max(at)) FROM driftline_heartbeat")
    except Exception:  # the database is one of the victims
        return 0.0
    return float(at or 0.0)


def _wait_for_tick(installation: Installation) -> float:
    """Wait until a tick has just been consumed, so that the next one is a whole interval away."""
    before = _tick(installation)
    while (newest := _tick(installation)) <= before:
        time.sleep(0.1)
    return newest


if __name__ == "__main__":
    main()
