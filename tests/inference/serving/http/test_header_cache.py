"""Heads that need no parser: whatever arrives, in whatever pieces, is answered as the parser alone would have it."""

import asyncio
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from inference.serving.http.connection import HotProtocol
from inference.serving.http.header_cache import Head, HeaderCache
from inference.serving.refusals import Refusal
from tests.inference.serving.http.wires import BODY, HOST, LINE, PLAIN, Repeating, Wire, request, sized

SMUGGLED = LINE + HOST + b"content-length: 2\r\n\r\n{}"


ODD = [
    PLAIN.replace(b"Bearer a", b"Bearer b"),
    PLAIN.replace(b"authorization", b"Authorization"),
    PLAIN.replace(b"/sums/", b"/other/"),
    PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    PLAIN.replace(b"HTTP/1.1", b"HTTP/2.0"),
    PLAIN.replace(HOST, b""),
    PLAIN.replace(HOST, HOST + b"host: other\r\n"),
    PLAIN.replace(HOST, b"host: not one\r\n"),
    PLAIN.replace(b"\r\n\r\n", b" \r\n\r\n"),
    PLAIN.replace(b"\r\n", b"\n"),
    sized(0, b""),
    sized(2),  # the rest of the body would be the next request
    sized(2, b"{}" + SMUGGLED),
    sized(len(BODY) + len(SMUGGLED), BODY + SMUGGLED),
    sized(len(BODY) + 5),  # takes the first bytes of what follows
    sized(len(BODY), more=b"content-length: 2\r\n"),
    sized(len(BODY), more=b"transfer-encoding: chunked\r\n"),
    sized(len(BODY), more=b"connection: close\r\n"),
    sized(len(BODY), more=b"content-encoding: gzip\r\n"),
    sized(len(BODY), more=b"x-odd : 1\r\n"),
    sized(len(BODY), more=b"x-odd: 1\r\n 2\r\n"),
    sized(17 * 1024 * 1024),
    request(b"transfer-encoding: chunked\r\n", b"d\r\n%b\r\n0\r\n\r\n" % BODY),
    request(b"transfer-encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    b"\r\n" + PLAIN,
    b"nonsense\r\n\r\n",
]


class NoKnownHeads(HeaderCache):
    def split(self, data: bytes) -> tuple[Head, bytes] | None:
        return None


class RepeatingLater(Repeating):
    """Answers the last request first, once all have come."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Any, Refusal]] = []

    def answer(self, reply: Any, refusal: Refusal) -> None:
        self.waiting.append((reply, refusal))

    def end(self) -> None:
        while self.waiting:
            reply, refusal = self.waiting.pop()
            reply(refusal)


async def answers(pieces: list[bytes], engine: Any, *, known: bool) -> tuple[bytes, bool, list[str]]:
    """Feed a connection; return all that it sent, whether it closed, and what the engine was asked."""
    protocol = HotProtocol.bind(engine)
    protocol.heads = HeaderCache() if known else NoKnownHeads()
    config = uvicorn.Config(lambda: None, http=protocol, lifespan="off", log_level="critical", ws="none")
    config.load()
    wire = Wire()
    connection = protocol(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(wire)
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    engine.end()
    assert engine.bodies.bytes == 0 or connection.hot is not None
    return wire.sent, wire.closed, engine.requests


@pytest.mark.slow
@given(
    st.lists(st.sampled_from([PLAIN, PLAIN, PLAIN, *ODD]), min_size=1, max_size=6),
    st.lists(st.integers(0, 1500), max_size=4),
)
@settings(deadline=None)
def test_change_no_answer(requests: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(requests)
    ends = sorted({*cuts, len(stream)})
    in_pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    for pieces in (requests, [PLAIN, *requests], in_pieces, [PLAIN, *in_pieces]):
        for engine in (Repeating, RepeatingLater):
            with_known = asyncio.run(answers(pieces, engine(), known=True))
            assert with_known == asyncio.run(answers(pieces, engine(), known=False))


@pytest.mark.parametrize(
    "last", [sized(len(BODY), more=b"connection: close\r\n"), PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_ask_nothing_behind_the_last_request_of_a_connection(last: bytes) -> None:
    _, _, requests = asyncio.run(answers([PLAIN, last, PLAIN], RepeatingLater(), known=True))

    assert len(requests) == 2
