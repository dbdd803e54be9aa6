"""Programs of their own that use the client: what forks, ends or is killed must not be the test's own process."""

import os
import subprocess
import sys
from pathlib import Path

import driftline_client

DRAWER = Path(driftline_client.__file__).parents[1]
TOKEN = "dl_from_environment"


def environment(url: str = "", token: str = TOKEN) -> dict[str, str]:
    """What tells a program where the client and the server are."""
    return {**os.environ, "PYTHONPATH": str(DRAWER), "DRIFTLINE_URL": url, "DRIFTLINE_TOKEN": token}


def run(
    program: str, *arguments: str, url: str = "", token: str = TOKEN, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which must come with `status`; it finds the server by the environment."""
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(url, token),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == status, ended.stderr
    return ended
