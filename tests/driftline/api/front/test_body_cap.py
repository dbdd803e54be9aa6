"""Bodies that are too large end before anything of them is stored."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest

from driftline.api.front.body_cap import PLAIN_CAP, UPLOAD_CAP, cap_bodies

BLOCK = 1 << 20


def send(path: str, *, announced: int | None = None, streamed: int = 0) -> tuple[list[Any], int]:
    """Send a body through the cap into an application that reads all of it; give what came back and was read."""
    sent: list[MutableMapping[str, Any]] = []
    left, read = streamed, 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal left
        size = min(BLOCK, left)
        left -= size
        return {"type": "http.request", "body": b" " * size, "more_body": left > 0}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal read
        while True:
            message = await receive()
            read += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def keep(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(cap_bodies(application)(scope, receive, keep))
    return sent, read


@pytest.mark.parametrize("path", ["/api/v1/models", "/api/v1/models/a/predictions", "/accounts/login/"])
def test_an_announced_body_is_refused_unread(path: str) -> None:
    sent, read = send(path, announced=PLAIN_CAP + 1)

    assert (sent[0]["status"], read) == (413, 0)
    assert (b"connection", b"close") in sent[0]["headers"]
    assert orjson.loads(sent[1]["body"])["code"] == "body_too_large"


def test_a_streamed_body_is_refused_at_the_cap() -> None:
    sent, read = send("/api/v1/models/a/labels", streamed=2 * PLAIN_CAP)

    assert sent[0]["status"] == 413
    assert PLAIN_CAP - BLOCK <= read <= PLAIN_CAP


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/models/a/versions",
        "/api/v1/models/a/reference",
        "/api/v1/models/a/imports/predictions",
        "/api/v1/models/a/imports/labels",
        "/api/v1/runs/7/artifact",
    ],
)
def test_uploads_may_be_larger(path: str) -> None:
    assert send(path, announced=UPLOAD_CAP)[0][0]["status"] == 200
    assert send(path, announced=UPLOAD_CAP + 1)[0][0]["status"] == 413


def test_a_body_that_fits_passes() -> None:
    sent, read = send("/api/v1/models", announced=BLOCK, streamed=BLOCK)

    assert (sent[0]["status"], read) == (200, BLOCK)
