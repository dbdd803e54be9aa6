"""Every row and event reaches its topic at least once, whoever is killed while it is sent, and doubles have one key.

`DRIFTLINE_TEST_SINK_ROWS` sets how many predictions.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from monitors.feed.models import FeedEvent
from monitors.feed.services import record_event
from monitors.metrics.store.models import MetricPoint
from monitors.sinks.models import Sink, StreamKind
from monitors.sinks.services import set_sink
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams.readers import statuses_of
from tests.embedded import CHECKOUT, subprocess_environment
from tests.inference.prediction_log.storage.aging import pack_all
from tests.monitors.sinks.topics import Received, TopicReader, received
from tests.streams.broker import Broker
from tests.waiting import wait_until
from tests.worlds.approvals import label, log, make_model, work

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

ROWS = int(os.environ.get("DRIFTLINE_TEST_SINK_ROWS", 60_000))
PARTITIONS, KILLS, COMMIT_ROWS = 6, 5, 500
PATIENCE_SECONDS = 600.0


class Sender:
    """`manage.py consume` as a process that can be killed, on the database of the test."""

    def __init__(self, log_file: Path, environment: dict[str, str]) -> None:
        self._log, self._environment = log_file, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, CHECKOUT / "manage.py", "consume"],
                cwd=CHECKOUT,
                env=self._environment,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def memory_mib(self) -> float:
        """Return what it holds in memory at present."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


type MakeSender = Callable[[], Sender]


@pytest.fixture
def make_sender(tmp_path: Path, settings: Any) -> Iterator[MakeSender]:
    """Start senders, and kill those that still run when the test ends."""
    own = {
        "DRIFTLINE_HOME": str(settings.HOME),
        "DRIFTLINE_SECRET_KEY": settings.SECRET_KEY,
        "DRIFTLINE_OUTBOUND_ALLOW": "127.0.0.1/32",
    }
    started: list[Sender] = []

    def start() -> Sender:
        sender = Sender(tmp_path / f"sender-{len(started)}.log", subprocess_environment() | own)
        started.append(sender)
        sender.start()
        return sender

    yield start
    for sender in started:
        sender.kill()


def set_sink_of(project: Project, broker: Broker, prefix: str) -> Sink:
    settings = SinkSettings(brokers=[broker.address], prefix=prefix)
    for kind in StreamKind.values:
        broker.create_topic(settings.topic(kind), PARTITIONS)
    return set_sink(project=project, settings=settings, actor="ada")


def rows(first: int, count: int) -> list[SentPrediction]:
    """Items of the logging API with ten features."""
    moment = rfc3339(now() - timedelta(hours=1))
    return [
        SentPrediction(
            id=f"row-{number}",
            timestamp=moment,
            version="1",
            features={f"x{column}": (number * 7 + column) % 1000 / 10 for column in range(10)},
            prediction=str(number % 2),
        )
        for number in range(first, first + count)
    ]


def waiting(sink: Sink) -> int:
    return sum(status.waiting for status in statuses_of(sink, now=now()))


def sent(sink: Sink) -> int:
    return sink.streams.aggregate(n=Sum("sent", default=0))["n"]


def distinct(messages: Sequence[Received]) -> set[str]:
    return {message.key for message in messages}


def fill(model: Model, first: int, count: int) -> None:
    """Log predictions with their labels, and an event for each 50 of them."""
    for start in range(first, first + count, COMMIT_ROWS):
        some = rows(start, COMMIT_ROWS)
        log(model, some)
        label(model, [LabelItem(row.id, "1", None) for row in some])
        for n in range(start, start + COMMIT_ROWS, 50):
            record_event(
                project=model.project, kind="run.failed", subject=f"run-{n}", text="Failed.", data={"n": n}
            )


def wait_for_the_end(sink: Sink) -> None:
    wait_until(lambda: not waiting(sink), seconds=PATIENCE_SECONDS, what="the end of all streams")


def check_all_is_there(model: Model, topics: dict[str, list[Received]], count: int) -> None:
    expected = {f"p/approvals/row-{number}" for number in range(count)}
    assert distinct(topics["predictions"]) == expected
    assert distinct(topics["labels"]) == {f"{key}/1" for key in expected}
    events = FeedEvent.objects.filter(project=model.project, kind="run.failed")
    assert events.count() == count // 50
    assert distinct(topics["events"]) >= {f"p/{one}" for one in events.values_list("event_id", flat=True)}
    points = MetricPoint.objects.filter(model=model).values_list("metric", "span")
    assert {(one.value["metric"], one.value["span"]) for one in topics["metrics"]} == set(points)
    assert {one.value["project"] for messages in topics.values() for one in messages} == {"p"}


def test_two_senders_of_which_one_after_the_other_is_killed(
    model: Model, broker: Broker, make_sender: MakeSender, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = set_sink_of(model.project, broker, "killed.")
    other = make_model(Project.objects.create(slug="other", name="Other"), "others")
    log(other, rows(0, 10))
    fill(model, 0, ROWS)
    work(model)
    senders = [make_sender(), make_sender()]

    with TopicReader(broker.address, "killed.predictions") as reader:
        for kill in range(KILLS):
            goal = int(ROWS * (kill + random.random()) / (KILLS + 1))
            wait_until(
                lambda goal=goal: reader.read() > goal, seconds=PATIENCE_SECONDS, what=f"message {goal}"
            )
            for sender in senders:  # one of them sends, in the midst of a batch
                sender.kill()
                sender.start()
            pack_all()
    wait_for_the_end(sink)
    assert [sender.stop() for sender in senders] == [0, 0]

    topics = {kind: received(broker.address, f"killed.{kind}") for kind in StreamKind.values}
    check_all_is_there(model, topics, ROWS)
    doubles = {kind: len(messages) - len(distinct(messages)) for kind, messages in topics.items()}
    assert doubles["predictions"] > 0, "no sender was killed in the midst of a batch"
    with capsys.disabled():
        print(f"\n  {ROWS:,} rows, {KILLS} kills: doubles {doubles} ", end="", flush=True)


def test_a_broker_that_is_away_for_a_while(
    model: Model, broker: Broker, make_sender: MakeSender, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = set_sink_of(model.project, broker, "away.")
    sender = make_sender()
    fill(model, 0, ROWS // 4)
    wait_for_the_end(sink)
    before = sender.memory_mib()

    broker.pause()
    fill(model, ROWS // 4, ROWS // 4)
    wait_until(
        lambda: Sink.objects.get().failing_since is not None, seconds=PATIENCE_SECONDS, what="the failure"
    )
    fill(model, ROWS // 2, ROWS // 2)
    work(model)
    pack_all()
    away = sender.memory_mib()
    reason = Sink.objects.get().error
    broker.resume()
    wait_for_the_end(sink)
    assert sender.stop() == 0

    topics = {kind: received(broker.address, f"away.{kind}") for kind in StreamKind.values}
    check_all_is_there(model, topics, ROWS)
    assert reason
    assert away - before < 64
    sink.refresh_from_db()
    assert (sink.error, sink.failing_since) == ("", None)
    with capsys.disabled():
        print(f"\n  broker away: {before:.0f} MiB before, {away:.0f} MiB meanwhile ", end="", flush=True)


def test_one_sender_alone(
    model: Model, broker: Broker, make_sender: MakeSender, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = set_sink_of(model.project, broker, "alone.")
    for start in range(0, ROWS, 5_000):
        log(model, rows(start, 5_000))
    sender = make_sender()
    predictions = sink.streams.get(kind="predictions")

    def count() -> int:
        predictions.refresh_from_db()
        return predictions.sent

    first = wait_until(count, seconds=PATIENCE_SECONDS, what="the first rows")
    began = time.monotonic()
    wait_until(lambda: count() >= ROWS, seconds=PATIENCE_SECONDS, what="the end")
    seconds, memory = time.monotonic() - began, sender.memory_mib()
    assert sender.stop() == 0

    assert len(distinct(received(broker.address, "alone.predictions"))) == ROWS
    rate = (ROWS - first) / max(seconds, 1e-3)
    with capsys.disabled():
        print(f"\n  one sender: {rate:,.0f} rows/s, {memory:.0f} MiB ", end="", flush=True)
