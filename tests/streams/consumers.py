"""`manage.py consume` as processes that can be killed, on the database of the test."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db.models import Sum

from inference.prediction_log.models import PredictionChunk, PredictionRow
from inference.prediction_log.sources.models import Source, SourceConsumer
from inference.registry.models import Model
from tests.embedded import CHECKOUT, subprocess_environment
from tests.waiting import wait_until

ROWS = int(os.environ.get("DRIFTLINE_TEST_STREAM_ROWS", 100_000))
"""Messages of a test that counts them."""
PATIENCE_SECONDS = 900.0


@dataclass
class Consumers:
    """Consumers of one source, by number."""

    source: str
    folder: Path
    environment: dict[str, str]
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, number: int, *, processes: int = 1) -> None:
        """Start one, which joins the group of the source, or one that keeps so many processes which do."""
        with (self.folder / f"consumer-{number}.log").open("ab") as log:
            self._running[number] = subprocess.Popen(
                [
                    sys.executable,
                    CHECKOUT / "manage.py",
                    "consume",
                    "--source",
                    self.source,
                    "--processes",
                    str(processes),
                ],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def check(self) -> None:
        """Fail where one has ended by itself."""
        for number, process in self._running.items():
            assert process.poll() is None, (
                f"consumer {number} ended with {process.returncode}: {self.log()[-2000:]}"
            )

    def kill(self, number: int) -> None:
        """Send SIGKILL."""
        process = self._running.pop(number)
        process.kill()
        process.wait()

    def kill_process(self, number: int) -> None:
        """Send SIGKILL to one of the processes that a consumer keeps."""
        os.kill(random.choice(self._processes_of(number)), signal.SIGKILL)

    def _processes_of(self, number: int) -> list[int]:
        pid = self._running[number].pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int) -> int:
        """Send SIGTERM, and return the exit code."""
        wait_until(lambda: self._reads(number), what=f"the start of consumer {number}")
        process = self._running.pop(number)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def _reads(self, number: int) -> bool:
        """Return whether one of its processes reads by now; they are listed anew, since killed ones are replaced."""
        pids = self._processes_of(number) or [self._running[number].pid]
        hosts = SourceConsumer.objects.values_list("host", flat=True)
        return any(host.endswith(f" {pid}") for host in hosts for pid in pids)

    def memory_mib(self, number: int) -> float:
        """Return what a consumer holds in memory at present."""
        status = Path(f"/proc/{self._running[number].pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("consumer-*.log")))


@contextmanager
def consumers_of(source: str, folder: Path, **others: str) -> Iterator[Consumers]:
    """Give what starts consumers of a source, and kill those that still run when the block ends.

    `others` are variables of their environment.
    """
    same = {
        "DRIFTLINE_HOME": str(settings.HOME),
        "DRIFTLINE_SECRET_KEY": settings.SECRET_KEY,
        "DRIFTLINE_OUTBOUND_ALLOW": "127.0.0.1/32",
    }
    started = Consumers(source, folder, subprocess_environment() | same | others)
    try:
        yield started
    finally:
        for number in list(started._running):
            started.kill(number)


def wait_for_messages(source: Source, count: float, consumers: Consumers) -> None:
    """Wait until so many messages are stored, while no consumer ends by itself."""

    def is_stored() -> bool:
        consumers.check()
        return stored(source) >= count

    wait_until(is_stored, seconds=PATIENCE_SECONDS, what=f"{count:,.0f} messages")


def stored(source: Source) -> int:
    """How many messages are stored."""
    return source.positions.aggregate(n=Sum("messages", default=0))["n"]


def assert_each_row_once(model: Model, count: int) -> None:
    ids = PredictionRow.objects.filter(model=model).values_list("prediction_id", flat=True)
    assert (ids.count(), ids.distinct().count()) == (count, count)
    assert PredictionChunk.objects.filter(model=model).aggregate(n=Sum("rows"))["n"] == count


def states(source: Source) -> list[str]:
    return list(source.consumers.values_list("state", flat=True))
