"""A server of the test's own, and a model that talks to it."""

from collections.abc import Iterator

import pytest

import driftline_client
from driftline_client import Delivery, ModelHandle
from tests.driftline_client.server import Recorder, running_server

HASTY = Delivery(first_retry_s=0.02, longest_retry_s=0.05, wait_s=0.05)


@pytest.fixture
def server() -> Iterator[Recorder]:
    with running_server() as recorder:
        yield recorder


@pytest.fixture
def flights(server: Recorder) -> Iterator[ModelHandle]:
    handle = driftline_client.model("flights", server.url, "dl_test", "7", delivery=HASTY)
    yield handle
    handle.close(0)
