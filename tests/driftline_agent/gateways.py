"""Gateways of devices over NATS as processes, which tests kill and start again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.embedded import CHECKOUT
from tests.streams.nats_server import PASSWORD, USER, NatsServer
from tests.waiting import wait_until


@dataclass
class GatewayProcess:
    """`manage.py device_gateway` between a server of NATS and the web server at `url`."""

    folder: Path
    nats: NatsServer
    url: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        password = self.folder / "password"
        password.write_text(f"{PASSWORD}\n")
        own = {
            "DRIFTLINE_HOME": str(self.folder / "gateway"),
            "DRIFTLINE_DEVICE_NATS": f"tls://127.0.0.1:{self.nats.port}",
            "DRIFTLINE_DEVICE_NATS_USER": USER,
            "DRIFTLINE_DEVICE_NATS_PASSWORD_FILE": str(password),
            "DRIFTLINE_DEVICE_NATS_CA": str(self.nats.certificate),
        }
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, CHECKOUT / "manage.py", "device_gateway", "--to", self.url],
                env=os.environ | own,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Send SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it as its supervisor does."""
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(60) == 0
            self.process = None


@contextmanager
def running_gateways(folder: Path, nats: NatsServer, url: str, count: int) -> Iterator[list[GatewayProcess]]:
    """Run so many gateways to the web server at `url`."""
    with ExitStack() as stack:
        gateways = [GatewayProcess(folder, nats, url) for _ in range(count)]
        for gateway in gateways:
            stack.callback(gateway.stop)
            gateway.start()
        log = folder / "gateway.log"
        wait_until(
            lambda: log.read_text().count("devices are heard over NATS") == count,
            what="the start of all gateways",
        )
        yield gateways
