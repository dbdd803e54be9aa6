"""A task, sent through whichever broker this session uses and run by a real worker in its own process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from driftline.base.work.task_queue import Task
from driftline.celery import app
from driftline.operations.models import Heartbeat
from tests.embedded import subprocess_environment
from tests.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def queue(services: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A queue for this test alone: the session's broker is shared."""
    name = f"test-{os.getpid()}-{request.node.name[:40]}"
    yield name
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(name)


@pytest.fixture
def start_worker(queue: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "driftline.celery", "worker", "-Q", queue]
        command += ["--pool", "solo", "--without-mingle", "--without-gossip", "--loglevel", "WARNING"]
        started.append(subprocess.Popen(command, env=subprocess_environment()))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def send(queue: str) -> None:
    app.send_task(Task.HEARTBEAT, queue=queue)


def wait_for_heartbeat(*, after: datetime | None = None) -> datetime:
    heartbeats = Heartbeat.objects.filter(**({} if after is None else {"at__gt": after}))
    return wait_until(lambda: heartbeats.values_list("at", flat=True).first(), what="the next heartbeat")


class TestWorker:
    def test_runs_a_task_and_the_next_worker_runs_what_was_sent_while_none_lived(
        self, queue: str, start_worker: Callable[[], subprocess.Popen[bytes]]
    ) -> None:
        worker = start_worker()
        send(queue)
        first = wait_for_heartbeat()

        worker.send_signal(signal.SIGKILL)
        worker.wait()
        send(queue)
        start_worker()

        assert wait_for_heartbeat(after=first) > first
