"""An S3 server with one bucket, in the environment of the cluster."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.orchestrators.server import ENVIRONMENTS, PATIENCE_SECONDS
from tests.ports import free_port
from tests.waiting import wait_until

BUCKET = "snapshots"


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run moto with an empty bucket until the block ends; yields the variables by which processes find it."""
    url = f"http://127.0.0.1:{free_port()}"
    program = [ENVIRONMENTS / "dask/bin/python", "-m", "moto.server", "-H", "127.0.0.1"]
    with (folder / "s3.log").open("ab") as log:
        process = subprocess.Popen([*program, "-p", url.rpartition(":")[2]], stdout=log, stderr=log)
    try:
        wait_until(lambda: _made_bucket(url), seconds=PATIENCE_SECONDS, what="the start of the S3 server")
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "driftline",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.kill()
        process.wait()


def _made_bucket(url: str) -> bool:
    try:
        return requests.put(f"{url}/{BUCKET}", timeout=30).ok
    except requests.ConnectionError:
        return False
