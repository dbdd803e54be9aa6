"""What a machine does first to become a serving host."""

import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from inference.hosts.following import PlanFollower
from inference.hosts.main_server import MainServer
from inference.hosts.tokens import HostToken

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 10.0


def main_server(home: Path, url: str) -> MainServer:
    """Return the main server by the settings; raises ValueError for a wrong address or token."""
    ca = settings.HOST_CA
    return MainServer(url, HostToken.parse(settings.HOST_TOKEN), home, ca=None if ca is None else str(ca))


def join(home: Path, url: str, report: Callable[[str], object]) -> None:
    """Return once this home has a plan, with the keys and the files of what is deployed, but for those that fail.

    A plan of an earlier run lets a host start without the main server. `report` gets each new reason to wait.
    Raises ValueError for a wrong address or token.
    """
    follower = PlanFollower(home, main_server(home, url))
    pause, reported = FIRST_PAUSE_SECONDS, ""
    follower.follow()
    while not follower.has_plan or follower.awaits_first_files:
        if follower.failure != reported:
            reported = follower.failure
            report(f"This host cannot serve yet: {reported}")
        time.sleep(pause)
        pause = FIRST_PAUSE_SECONDS if follower.has_plan else min(2 * pause, MAX_PAUSE_SECONDS)
        follower.follow()
