"""A real NATS server of another process, with JetStream, a password and TLS; the machine has to have its program."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from tests.certificates import make_certificate
from tests.ports import free_port
from tests.waiting import wait_until

USER, PASSWORD = "reader", "s3cret-of-the-reader"


@dataclass
class NatsServer:
    """A server that can be killed: what its streams hold is on the disk."""

    folder: Path
    certificate: Path
    key: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nats-server", "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.folder / "streams"),
                 "--user", USER, "--pass", PASSWORD, "--tls", f"--tlscert={self.certificate}",
                 f"--tlskey={self.key}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._answers, what="the start of NATS")

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def where(self, stream: str, **others: Any) -> dict[str, Any]:
        """Return settings of a source of a stream."""
        plain = {
            "kind": "nats",
            "server": f"127.0.0.1:{self.port}",
            "stream": stream,
            "user": USER,
            "ca_certificate": self.certificate.read_text(),
        }
        return plain | others

    def ask[Result](self, work: Callable[[JetStreamContext], Awaitable[Result]]) -> Result:
        """Do something with JetStream."""

        async def run() -> Result:
            client = Client()
            try:
                await client.connect(
                    f"tls://127.0.0.1:{self.port}",
                    user=USER,
                    password=PASSWORD,
                    tls=ssl.create_default_context(cafile=str(self.certificate)),
                    allow_reconnect=False,
                )
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())

    def create_stream(self, name: str) -> None:
        """Make a stream of all subjects that begin with its name."""
        self.ask(lambda streams: streams.add_stream(name=name, subjects=[f"{name}.>"]))

    def send(self, subject: str, values: Sequence[bytes]) -> None:
        """Send messages and wait until the stream has all of them."""

        async def publish(streams: JetStreamContext) -> None:
            for start in range(0, len(values), 500):
                await asyncio.gather(*(streams.publish(subject, one) for one in values[start : start + 500]))

        self.ask(publish)

    def _answers(self) -> bool:
        try:
            self.ask(lambda streams: streams.account_info())
        except Exception:
            return False
        return True


@contextmanager
def nats_server(folder: Path) -> Iterator[NatsServer]:
    """Run a server until the block ends."""
    if shutil.which("nats-server") is None:
        pytest.skip("There is no NATS server; install one, such as 'apt-get install nats-server'.")
    server = NatsServer(folder, *make_certificate(folder))
    server.start()
    try:
        yield server
    finally:
        server.kill()
