"""Requests that take too long to arrive, and connections that wait for none, or for the end of the server."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from inference.serving.http.connection import (
    DISCARD_SECONDS,
    HOT_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    OTHER_SECONDS,
    HotProtocol,
)
from tests.inference.serving.http.wires import BODY, PLAIN, Repeating, Wire

UPLOAD = b"POST /api/v1/models/sums/versions HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nPK"

type Story = Callable[[HotProtocol, Wire], None]


async def read_all(_scope: Any, receive: Any, _send: Any) -> None:
    """Stand for the application, which reads an upload to its end."""
    while (await receive()).get("more_body"):
        pass


def tell(story: Story) -> None:
    """Run a story with a connection."""

    async def live() -> None:
        bound = HotProtocol.bind(Repeating())  # type: ignore[arg-type]
        config = uvicorn.Config(read_all, http=bound, lifespan="off", log_level="critical", ws="none")
        config.load()
        connection, wire = bound(config=config, server_state=ServerState(), app_state={}), Wire()
        connection.connection_made(wire)
        story(connection, wire)
        connection.connection_lost(None)

    asyncio.run(live())


@pytest.mark.parametrize(
    "arrived", [PLAIN[:20], PLAIN[: -len(BODY)], PLAIN[:-1]], ids=["line", "head", "body"]
)
def test_a_request_that_does_not_end_is_refused_and_its_connection_closed(
    arrived: bytes,
) -> None:
    def story(connection: HotProtocol, wire: Wire) -> None:
        for place in range(len(arrived)):
            connection.data_received(arrived[place : place + 1])  # however steadily it drips
        began = time.monotonic()
        connection.close_if_overdue(began + HOT_SECONDS - 1)
        assert wire.sent == b""

        connection.close_if_overdue(began + HOT_SECONDS + 1)

        assert wire.sent.startswith(b"HTTP/1.1 408 ")
        assert b"took too long to arrive; send it again" in wire.sent
        assert not wire.closed  # so that the caller can read why
        connection.close_if_overdue(time.monotonic() + DISCARD_SECONDS + 1)
        assert wire.closed

    tell(story)


def test_an_upload_has_longer() -> None:
    def story(connection: HotProtocol, wire: Wire) -> None:
        connection.data_received(UPLOAD)
        began = time.monotonic()
        connection.close_if_overdue(began + OTHER_SECONDS - 1)
        assert not wire.closed

        connection.close_if_overdue(began + OTHER_SECONDS + 1)

        assert wire.closed

    tell(story)


def test_a_connection_that_asks_nothing_is_closed_without_a_word() -> None:
    def story(connection: HotProtocol, wire: Wire) -> None:
        connection.data_received(PLAIN)
        answered, began = wire.sent, time.monotonic()
        connection.close_if_overdue(began + IDLE_SECONDS - 1)
        assert not wire.closed

        connection.close_if_overdue(began + IDLE_SECONDS + 1)

        assert wire.closed
        assert wire.sent == answered

    tell(story)


def test_a_connection_that_idles_as_the_server_ends_is_answered_once_more() -> None:
    def story(connection: HotProtocol, wire: Wire) -> None:
        connection.data_received(PLAIN)
        kept_open = wire.sent
        connection.shutdown()
        connection.close_if_overdue(time.monotonic())
        assert not wire.closed

        connection.data_received(PLAIN)

        and_close = kept_open.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
        assert wire.sent == kept_open + and_close
        assert wire.closed

    tell(story)


def test_a_connection_that_asks_nothing_as_the_server_ends_is_closed() -> None:
    def story(connection: HotProtocol, wire: Wire) -> None:
        connection.data_received(PLAIN)
        answered = wire.sent
        connection.shutdown()

        connection.close_if_overdue(time.monotonic() + LINGER_SECONDS + 1)

        assert wire.closed
        assert wire.sent == answered

    tell(story)
