"""A real server of Azure's protocol, of another process, which checks signatures: Azurite."""

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from inference.prediction_log.sources.objects.azure import AzureContainer
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
PROGRAM = SOURCES.parents[1] / ".streams/azurite/node_modules/.bin/azurite-blob"
CONTAINER, ACCOUNT = "scores", "driftlinetests"
KEY = base64.b64encode(b"of the tests alone, and of no account anywhere").decode()


@dataclass(frozen=True)
class AzureServer:
    """Where it answers."""

    url: str

    def settings(self, **more: object) -> ObjectsSettings:
        """Describe its container for a source."""
        where = {"service": "azure", "bucket": CONTAINER, "endpoint": self.url, "access_key_id": ACCOUNT}
        return ObjectsSettings.model_validate(where | more)

    def create_container(self) -> None:
        assert self._send("", {"restype": "container"}, b"") == 201

    def put(self, name: str, content: bytes) -> None:
        assert self._send(name, {}, content) == 201

    def fill(self, folder: Path) -> None:
        """Upload the files of a folder."""
        for path in sorted(folder.iterdir()):
            self.put(path.name, path.read_bytes())

    def _send(self, name: str, query: dict[str, str], content: bytes) -> int:
        store = AzureContainer(self.settings(), KEY)
        try:
            headers = {"x-ms-blob-type": "BlockBlob"} if name else {}
            return store.exchange("PUT", name, query=query, headers=headers, body=content).status
        finally:
            store.close()


@contextmanager
def azure_server(folder: Path) -> Iterator[AzureServer]:
    """Run a server with an empty container until the block ends; its environment is made where it is missing."""
    subprocess.run([SOURCES / "install", "azurite"], check=True)
    port = free_port()
    command = [
        PROGRAM, "--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--location", folder,
    ]  # fmt: skip
    with (folder / "azure.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        )
    server = AzureServer(f"http://127.0.0.1:{port}/{ACCOUNT}")
    try:
        wait_until(lambda: _answers(server.url), seconds=60, what="the start of the Azure server")
        server.create_container()
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/{CONTAINER}?restype=container", timeout=30).status_code > 0
    except requests.ConnectionError:
        return False
