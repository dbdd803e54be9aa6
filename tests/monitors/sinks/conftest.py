"""A project with a sink on librdkafka's mock cluster, and what sends everything that waits."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.sinks.models import Sink
from monitors.sinks.sending import SinkSender
from monitors.sinks.services import set_sink
from monitors.sinks.settings import SinkSettings
from tests.monitors.sinks.topics import Received, received
from tests.waiting import wait_until
from tests.worlds.approvals import make_model

type Read = Callable[[str], list[Received]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A mock cluster of one broker; it lives in a producer."""
    holder = Producer({"bootstrap.servers": "x:1", "test.mock.num.brokers": 1, "log_level": 0})
    yield wait_until(lambda: address_of(holder), what="the mock cluster")
    holder.flush()


def address_of(holder: Producer) -> str:
    brokers = holder.list_topics(timeout=5).brokers.values()
    return next((f"{broker.host}:{broker.port}" for broker in brokers), "")


@pytest.fixture
def project(db: None, settings: Any) -> Project:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    return Project.objects.create(slug="p", name="P")


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


@pytest.fixture
def kafka(cluster: str, request: pytest.FixtureRequest) -> SinkSettings:
    """Settings with topics of the test's own."""
    name = "".join(c for c in request.node.name if c.isalnum() or c == "_")[:150]
    return SinkSettings(brokers=[cluster], prefix=f"{name}.")


@pytest.fixture
def sink(project: Project, kafka: SinkSettings) -> Sink:
    return set_sink(project=project, settings=kafka, actor="ada")


@pytest.fixture
def read(kafka: SinkSettings) -> Read:
    """Read a topic of the sink."""
    return lambda kind: received(kafka.brokers[0], kafka.topic(kind))


class _UntilIdle(threading.Event):
    """Stops the loop where it would wait, as nothing is to be sent, or it failed."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def send_all(sink: Sink, **options: Any) -> None:
    """Send what waits, as `manage.py consume` does."""
    SinkSender(sink.pk, _UntilIdle(), **options).run()


def sent(sink: Sink) -> dict[str, int]:
    """How many messages of each stream were acknowledged, without streams of which none was."""
    return {one.kind: one.sent for one in sink.streams.order_by("pk") if one.sent}
