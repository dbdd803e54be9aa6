"""An answer is read up to the size that its caller allows, and a refusal up to a small one."""

import gzip
from typing import Any

import pytest

from driftline.base.outbound.transport import READ_CAP, OutboundAnswer, RequestFailed, exchange
from tests.monitors.workflows.remote.service import Service

LONG = b"x" * (3 * READ_CAP)


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


def answer_of(status: int, body: bytes, *, max_bytes: int = len(LONG)) -> OutboundAnswer:
    with Service(lambda asked: (status, body)) as service:
        return exchange("GET", service.url, headers={}, max_bytes=max_bytes)


@pytest.mark.parametrize("most", [1, READ_CAP + 1, len(LONG)])
def test_reads_an_answer_up_to_the_size_that_is_allowed(most: int) -> None:
    assert answer_of(200, LONG, max_bytes=most).body == LONG[:most]


@pytest.mark.parametrize(("allowed", "read"), [(len(LONG), READ_CAP), (9, 9)])
def test_reads_little_of_a_refusal(allowed: int, read: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        answer_of(422, LONG, max_bytes=allowed)

    assert refused.value.content == LONG[:read]


def test_gives_a_refusal_as_it_came() -> None:
    with pytest.raises(RequestFailed) as refused:
        answer_of(422, gzip.compress(b"No such table"))

    assert gzip.decompress(refused.value.content) == b"No such table"
