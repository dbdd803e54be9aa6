"""A real Mosquitto of another process, with a password, TLS and a disk; the machine has to have its program."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish
from paho.mqtt.client import MQTTv5

from tests.certificates import make_certificate
from tests.ports import free_port
from tests.waiting import wait_until

USER, PASSWORD = "reader", "s3cret-of-the-reader"
PROGRAM = shutil.which(
    "mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
)


@dataclass
class MqttBroker:
    """A broker that can be killed: what it keeps for sessions is on the disk when it ends."""

    folder: Path
    certificate: Path
    key: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None
        passwords = self.folder / "passwords"
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", passwords, USER, PASSWORD], check=True, capture_output=True
        )
        (self.folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {passwords}\n"
            f"certfile {self.certificate}\nkeyfile {self.key}\nmax_queued_messages 0\n"
            f"persistence true\npersistence_location {self.folder}/\n"
        )
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [PROGRAM, "-c", str(self.folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, what="the start of Mosquitto")

    def stop(self) -> None:
        """End it; it writes down what it keeps."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def where(self, *topics: str, **others: Any) -> dict[str, Any]:
        """Return settings of a source of topics."""
        plain = {
            "kind": "mqtt",
            "server": f"127.0.0.1:{self.port}",
            "topics": [*topics],
            "user": USER,
            "ca_certificate": self.certificate.read_text(),
        }
        return plain | others

    def send(self, topic: str, payloads: Sequence[bytes], *, retain: bool = False) -> None:
        """Publish messages, and wait until the broker has taken all of them."""
        publish.multiple(
            [{"topic": topic, "payload": one, "qos": 1, "retain": retain} for one in payloads],
            hostname="127.0.0.1",
            port=self.port,
            auth={"username": USER, "password": PASSWORD},
            tls={"ca_certs": str(self.certificate), "tls_version": ssl.PROTOCOL_TLS_CLIENT},
            protocol=MQTTv5,
        )

    def _answers(self) -> bool:
        try:
            self.send("alive", [b"1"])
        except OSError:
            return False
        return True


@contextmanager
def mqtt_broker(folder: Path) -> Iterator[MqttBroker]:
    """Run a broker until the block ends."""
    if PROGRAM is None:
        pytest.skip("There is no Mosquitto; install one, such as 'apt-get install mosquitto'.")
    broker = MqttBroker(folder, *make_certificate(folder))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
