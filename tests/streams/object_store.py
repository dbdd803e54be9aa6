"""A real S3 server of another process, which checks signatures and policies: moto."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
PYTHON = SOURCES.parents[1] / ".streams/objects/bin/python"
BUCKET = "scores"


@dataclass(frozen=True)
class ObjectServer:
    """Where it answers."""

    url: str

    def fill(self, folder: Path, *actions: str) -> tuple[str, str]:
        """Upload the files of a folder, and return the key and the secret of a user who may read them.

        `actions` are what else the user may do, as policies name it.
        """
        command = [PYTHON, SOURCES / "fill_bucket.py", self.url, BUCKET, folder, *actions]
        key_id, secret = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return key_id, secret


@contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    """Run a server without a bucket until the block ends; its environment is made where it is missing."""
    subprocess.run([SOURCES / "install", "objects"], check=True)
    url = f"http://127.0.0.1:{free_port()}"
    command = [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    with (folder / "s3.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(url), seconds=60, what="the start of the S3 server")
        yield ObjectServer(url)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/moto-api/", timeout=30).ok
    except requests.ConnectionError:
        return False
