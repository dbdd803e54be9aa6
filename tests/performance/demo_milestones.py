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
    ("drain", r"drain_spool"),
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
    """A running `make run`, followed by its files alone: calls of its API would count as its work."""

    def __init__(self, command: str, checkout: Path, home: Path, port: int) -> None:
        self.home = home
        self._log = home.parent / "run.log"
        self._began = time.time()
        environment = {**os.environ, "DRIFTLINE_HOME": str(home), "DRIFTLINE_PORT": str(port)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command.split(), cwd=checkout, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.tree = ProcessTree(self.process.pid)

    def elapsed(self) -> float:
        return time.time() - self._began

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(120)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    # -- milestones ----------------------------------------------------------------------------------------------------
    def shows_login(self) -> bool:
        return "Press Ctrl-C" in self.output()

    def has_story(self, model: str) -> bool:
        return (self.home / "demo" / f"{model}.json").exists()

    def has_mail(self, model: str) -> bool:
        """Whether a person was sent an e-mail about a model."""
        return any(model.encode() in path.read_bytes() for path in (self.home / "mail").glob("*"))

    def has_run(self) -> bool:
        return self._plan("delay-claims")["challengers"][1]["run"] is not None

    def has_promoted(self) -> bool:
        return self._plan("delay-claims")["faults"][0]["end"] is not None

    def _plan(self, model: str) -> Any:
        """Read what the demo planted and noted; it asks about runs before each quarter of a day."""
        return json.loads((self.home / "demo" / "plan" / f"{model}.json").read_text())

    def is_all_played(self) -> bool:
        """Whether each story has come to the present."""
        texts = [path.read_text() for path in (self.home / "demo").glob("*.json")]
        played = [datetime.fromisoformat(json.loads(text)["until"]).timestamp() for text in texts]
        return len(played) == 3 and min(played) > time.time() - 86_400


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkout", type=Path, default=CHECKOUT)
    parser.add_argument("--command", default="make run")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-seconds", type=float, default=900)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftline-demo-") as folder:
        demo = Demo(options.command, options.checkout, Path(folder) / "home", options.port or _free_port())
        try:
            _follow(demo, options.until_seconds)
        finally:
            demo.stop()


def _follow(demo: Demo, until_seconds: float) -> None:
    waiting: dict[str, Callable[[], bool]] = {
        "login": demo.shows_login,
        "visits set up": lambda: demo.has_story("doctor-visits"),
        "claims set up": lambda: demo.has_story("delay-claims"),
        "first planted fault found": lambda: demo.has_mail("doctor-visits"),
        "second planted fault found": lambda: demo.has_mail("delay-claims"),
        "retrain begun": demo.has_run,
        "retrain promoted": demo.has_promoted,
        "all played": demo.is_all_played,
    }
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    while waiting and demo.elapsed() < until_seconds and demo.process.poll() is None:
        for name in [name for name, has_come in waiting.items() if _holds(has_come)]:
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


def _holds(has_come: Callable[[], bool]) -> bool:
    try:
        return has_come()
    except (FileNotFoundError, KeyError, IndexError):  # what it looks at is not there yet
        return False


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
