"""A file is downloaded whole, or not at all, and never more of it than is asked for."""

from io import BytesIO
from typing import Any

import pytest

from driftline.base.outbound.transport import READ_CAP, RequestFailed, download
from tests.monitors.workflows.remote.service import Cut, Service

CONTENT = bytes(range(256)) * (READ_CAP // 100)  # some blocks and a part of one


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


def fetch(status: int, answer: Any, *, max_bytes: int = 1 << 20) -> bytes:
    target = BytesIO()
    with Service(lambda asked: (status, answer)) as service:
        download(f"{service.url}/file", target, headers={}, max_bytes=max_bytes, deadline=30)
    return target.getvalue()


def test_gives_the_whole_file() -> None:
    assert fetch(200, CONTENT) == CONTENT


@pytest.mark.parametrize("most", [1, READ_CAP, READ_CAP + 1, len(CONTENT) - 1])
def test_stops_at_the_largest_size(most: int) -> None:
    assert fetch(200, CONTENT, max_bytes=most) == CONTENT[:most]


def test_fails_where_the_server_vanishes_in_between() -> None:
    with pytest.raises(RequestFailed, match="connection_error"):
        fetch(200, Cut(CONTENT))


def test_fails_with_what_the_server_refuses() -> None:
    with pytest.raises(RequestFailed, match="No such artifact") as failure:
        fetch(404, {"message": "No such artifact"})

    assert failure.value.status == 404


def test_follows_no_redirect() -> None:
    with pytest.raises(RequestFailed, match="redirect_refused"):
        fetch(302, None)


def test_fails_where_the_deadline_passes(settings: Any) -> None:
    target = BytesIO()
    with (
        Service(lambda asked: (0, None)) as service,
        pytest.raises(RequestFailed, match=r"within 0\.1 s"),
    ):
        download(f"{service.url}/file", target, headers={}, max_bytes=9, deadline=0.1)
