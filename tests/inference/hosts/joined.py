"""A serving host with a follower that a test moves on by hand."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from inference.hosts.following import PlanFollower
from inference.hosts.main_server import MainServer
from inference.hosts.tokens import HostToken
from inference.serving.plan import PLAN_FILE, Plan, PlanModel, load_plan
from inference.serving.status.host_status import LastMinute, Load, ProcessStatus, SpoolStatus
from tests.waiting import wait_until


class JoinedHost:
    """The home of a host, and its follower; there are no serving processes."""

    def __init__(self, home: Path, url: str, token: str) -> None:
        self.home, self.url, self.token = home, url, token
        self.server = MainServer(url, HostToken.parse(token), home)
        self.follower = PlanFollower(home, self.server)

    @property
    def plan(self) -> Plan:
        return load_plan(self.home / PLAN_FILE)

    @property
    def models(self) -> list[PlanModel]:
        """What it serves."""
        return self.plan.models if self.follower.has_plan else []

    def follow_until(self, condition: Callable[[], bool]) -> None:
        """Follow as its process does, until something is so."""

        def step() -> bool:
            self.follower.follow()
            return condition()

        wait_until(step, what="what the host follows for")

    def close(self) -> None:
        """End its downloads and its connections: a thread that went on would ask the server after the test."""
        self.follower._downloads.want([])
        for thread in threading.enumerate():
            if thread.name == "model files":
                thread.join(30)
        self.server.close()

    def pretend_process(self, *, generation: int) -> None:
        """Write the status file of a process that certainly lives."""
        process = ProcessStatus(
            pid=1, started_at=1.0, written_at=1.0, ready=True, generation=generation, stale_models={},
            failed_versions={}, executions={}, shadows=[], upstreams=[], resident_bytes=1,
            spool=SpoolStatus("interval", 0, 0, False), load=Load(), jobs_running=0,
            last_minute=LastMinute(60.0, {}),
        )  # fmt: skip
        folder = self.home / "serving"
        folder.mkdir(exist_ok=True)
        (folder / "1.json").write_bytes(msgspec.json.encode(process))
