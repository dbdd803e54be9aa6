"""What the demo needs from the command `make run` to each of its milestones, in seconds and in processor seconds.

    python -m tests.performance.demo_milestones [--checkout FOLDER] [--port PORT] [--until-seconds 600]

Runs `make run` with an empty home on a port of its own, prints a line for each milestone, and stops it. Processor time
is that of all its processes; two quiet cores have two seconds of it a second.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
POLL_S, REST_S, IDLE_S = 1.0, 60, 120
ROLES = (
    ("postgres", r"postgres"),
    ("valkey", r"valkey"),
    ("worker", r"celery .*worker"),
    ("scheduler", r"celery .*beat"),
    ("serving", r"inference\.serving|manage\.py serve"),
    ("demo", r"manage\.py demo"),
    ("trainer", r"trainers"),
    ("sources", r"manage\.py consume"),
)


class ProcessTree:
    """All processes below one, and what they have used; a child that has ended counts for its parent."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: dict[int, tuple[float, str]] = {}

    def by_role(self) -> Counter[str]:
        """Return the processor seconds used until now, by what the process is for."""
        parents: dict[int, int] = {}
        now: dict[int, tuple[float, str]] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            now[int(folder.name)] = (sum(map(int, fields[11:15])) / TICKS, command)
        below = {self._root}
        grown = True
        while grown:
            more = {one for one, parent in parents.items() if parent in below} - below
            grown = bool(more)
            below |= more
        below |= self._seen.keys() & now.keys()  # a process whose parent has ended stays
        self._seen = {one: now[one] for one in below if one in now}
        used: Counter[str] = Counter()
        for seconds, command in self._seen.values():
            used[_role(command)] += seconds
        return used


def _role(command: str) -> str:
    return next((name for name, pattern in ROLES if re.search(pattern, command)), "start")


class Demo:
    """A running `make run`, asked over its API and by its files."""

    def __init__(self, checkout: Path, home: Path, port: int) -> None:
        self.home = home
        self._log = home.parent / "run.log"
        self._began = time.time()
        environment = {**os.environ, "DRIFTLINE_HOME": str(home), "DRIFTLINE_PORT": str(port)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["make", "run"], cwd=checkout, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.tree = ProcessTree(self.process.pid)
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def elapsed(self) -> float:
        return time.time() - self._began

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(120)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> Any:
        """Return what the API answers, or None where it does not answer yet."""
        token = re.search(r"^Token: (\S+)", self.output(), re.MULTILINE)
        if token is None:
            return None
        request = urllib.request.Request(self._url + path, headers={"Authorization": f"Bearer {token[1]}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (OSError, urllib.error.URLError):
            return None

    # -- milestones ----------------------------------------------------------------------------------------------------
    def shows_login(self) -> bool:
        return "Press Ctrl-C" in self.output()

    def has_story(self, model: str) -> bool:
        return (self.home / "demo" / f"{model}.json").exists()

    def has_found(self, model: str) -> bool:
        """Whether a person was sent a message about the first incident of a model."""
        found = (self.get(f"/incidents?model={model}") or {}).get("items") or []
        if not found:
            return False
        incident = self.get(f"/incidents/{found[-1]['id']}") or {}
        return any(one["state"] == "sent" for one in incident.get("deliveries", []))

    def has_started_run(self) -> bool:
        return bool(self._runs())

    def has_promoted(self) -> bool:
        return any(
            run["state"] == "promoted" or (run["rollout"] or {}).get("state") == "watching"
            for run in self._runs()
        )

    def is_all_played(self) -> bool:
        """Whether each story has come to the present, and no run is under way."""
        texts = [path.read_text() for path in (self.home / "demo").glob("*.json")]
        stories = [json.loads(text) for text in texts]
        flights = [one for one in stories if "phase" in one]
        drawn = [one for one in stories if "until" in one]
        return (
            len(drawn) + len(flights) >= 3
            and all(one["phase"] == "live" for one in flights)
            and all(datetime.fromisoformat(one["until"]).timestamp() > time.time() - 86_400 for one in drawn)
        )

    def _runs(self) -> list[dict[str, Any]]:
        return (self.get("/models/delay-claims/runs?limit=5") or {}).get("items") or []


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkout", type=Path, default=CHECKOUT)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-seconds", type=float, default=900)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftline-demo-") as folder:
        demo = Demo(options.checkout, Path(folder) / "home", options.port or _free_port())
        try:
            _follow(demo, options.until_seconds)
        finally:
            demo.stop()


def _follow(demo: Demo, until_seconds: float) -> None:
    waiting: dict[str, Callable[[], bool]] = {
        "login": demo.shows_login,
        "visits set up": lambda: demo.has_story("doctor-visits"),
        "claims set up": lambda: demo.has_story("delay-claims"),
        "first planted fault found": lambda: demo.has_found("doctor-visits"),
        "second planted fault found": lambda: demo.has_found("delay-claims"),
        "retrain begun": demo.has_started_run,
        "retrain promoted": demo.has_promoted,
        "all played": demo.is_all_played,
    }
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    while waiting and demo.elapsed() < until_seconds and demo.process.poll() is None:
        for name in [name for name, has_come in waiting.items() if has_come()]:
            del waiting[name]
            _report(demo, name)
        demo.tree.by_role()
        time.sleep(POLL_S)
    if waiting:
        _report(demo, "missed: " + ", ".join(waiting))
        if demo.process.poll() is not None:
            sys.exit(demo.output())
    time.sleep(REST_S)
    before = demo.tree.by_role()
    time.sleep(IDLE_S)
    idle = demo.tree.by_role() - before
    print(f"then {sum(idle.values()) / IDLE_S:.3f} cores; by role {_shares(idle)}", flush=True)


def _report(demo: Demo, name: str) -> None:
    used = demo.tree.by_role()
    print(
        f"{name:<28} {demo.elapsed():6.0f} s wall {sum(used.values()):7.1f} s processor"
        f"   load {os.getloadavg()[0]:.1f}   {_shares(used)}",
        flush=True,
    )


def _shares(used: Counter[str]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in used.most_common())


if __name__ == "__main__":
    main()
