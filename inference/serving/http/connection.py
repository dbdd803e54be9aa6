"""The server's HTTP protocol: inference is answered before ASGI, everything else goes to the application.

A subclass of uvicorn 0.54's httptools protocol that uses some of its private attributes: hence the pin. It also
bounds what uvicorn leaves unbounded: bytes of headers, and the time that a request may take to arrive.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from inference.protocol.dialect import JOB_HEADERS, Headers, HttpDialect
from inference.protocol.dialect_list import find_dialect
from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.callers import LACKS_CERTIFICATE, UNKNOWN_CALLER, InferenceCaller
from inference.serving.engine.engine import Engine
from inference.serving.http.compression import in_turn
from inference.serving.http.header_cache import Head, HeaderCache
from inference.serving.http.headers import read_headers
from inference.serving.http.hot_request import HotRequest
from inference.serving.http.incoming_body import TOO_LONG
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer, write_answer

MAX_HEADER_BYTES = 64 * 1024
MAX_PIPELINED = 64
HOT_SECONDS = 30.0  # for a whole inference request to arrive
OTHER_SECONDS = 600.0  # for any other, such as the upload of a model
IDLE_SECONDS = 75.0
LINGER_SECONDS = 1.0
DISCARD_SECONDS = 2.0
VERSIONS = ("1.1", "1.0")
# What RFC 9110 takes in a Host line: a name or an address, and a port.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]+)(?::[0-9]*)?")


_written_pairs: list[tuple[bytes, bytes]] = []
_written_lines = b""


def default_lines(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Write the header lines that uvicorn wants on every answer, such as the date; it lists them anew each second."""
    global _written_pairs, _written_lines
    if pairs is not _written_pairs:
        _written_pairs, _written_lines = pairs, b"".join([b"%b: %b\r\n" % pair for pair in pairs])
    return _written_lines


def write_response(answer: Answer, lines: bytes, *, closing: bool) -> bytes:
    """Write a whole response, with these header lines beside its own."""
    return b"%bcontent-length: %d\r\n%b%b%b\r\n%b" % (
        STATUS_LINE[answer.status],
        len(answer.body),
        answer.fields,
        lines,
        b"connection: close\r\n" if closing else b"",
        answer.body,
    )


class HotProtocol(HttpToolsProtocol):
    """One connection. Make a subclass with `bind` to give it its engine."""

    engine: ClassVar[Engine]
    heads: ClassVar[HeaderCache]
    requires_certificate: ClassVar[bool]

    @classmethod
    def bind(cls, engine: Engine, *, requires_certificate: bool = False) -> "type[HotProtocol]":
        """Make the class of the connections that this engine answers, if need be only to clients with a certificate."""
        members = {"engine": engine, "heads": HeaderCache(), "requires_certificate": requires_certificate}
        return type("BoundHotProtocol", (cls,), members)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self.hot: HotRequest | None = None  # whose body is arriving
        self.unanswered: deque[HotRequest] = deque()
        self.head: Head | None = None  # of the inference request that came last
        self.overhead = 0  # bytes since the last byte of a body: headers, chunk sizes, trailers
        self.arriving_since = 0.0  # 0: no request is arriving
        self.idle_since = time.monotonic()
        self.draining = False
        self.discarding_since = 0.0  # 0: not discarding
        self.lacks_certificate = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.lacks_certificate = self.requires_certificate and not transport.get_extra_info("peercert")

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within the bounds that a request has; a known head needs none."""
        if self.discarding_since:
            return
        if self.arriving_since:
            self._feed(data)
        elif (
            (known := self.heads.split(data)) is not None
            and (self.cycle is None or self._is_free())
            and (
                not self.unanswered or self.unanswered[-1].keep_alive
            )  # else the parser refuses what follows
        ):
            if self.timeout_keep_alive_task is not None:
                self._unset_keepalive_if_required()
            head, body = known
            hot = self._admit(head)
            self._await_answer(hot)
            hot.submit_whole(body)
        else:
            self.head = None
            self.arriving_since = time.monotonic()
            self._feed(data)
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        """Remember the head of an inference request that came whole, and alone."""
        if self.head is not None and not self.arriving_since:
            self.heads.remember(self.head, data)

    def _feed(self, data: bytes) -> None:
        self.overhead += len(data)
        super().data_received(data)
        if self.overhead > MAX_HEADER_BYTES:
            self._refuse_long_headers()

    def _is_free(self) -> bool:
        """Return whether no request of the application's is under way or waits."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def on_message_begin(self) -> None:
        if not self.arriving_since:  # it follows another one in what was received together
            self.arriving_since = time.monotonic()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header line; white space around its value is no part of it."""
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        headers = read_headers(self.headers)
        self.expect_100_continue = headers.expects_continue
        if self.overhead > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._refuse_long_headers()
        elif (fault := self._find_fault(headers.hosts)) is not None:
            self._refuse_and_close(*fault)
        elif (dialect := self._hot_dialect(headers.relevant)) is None:
            self._begin_other()
        elif headers.is_too_long:
            self._refuse_and_close(TOO_LONG.status, TOO_LONG.sentence)
        else:
            self.head = Head(
                dialect,
                self.url,
                headers.authorization,
                headers.relevant,
                self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0",
                headers.content_length,
                headers.forwarded_for,
            )
            self.hot = self._admit(self.head)

    def _find_fault(self, hosts: Sequence[bytes]) -> tuple[int, str] | None:
        """Find what RFC 9112 has a server refuse although the parser takes it; return status and sentence."""
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            return 505, f"HTTP/{version} is not spoken here; send HTTP/1.1."
        if not hosts:
            return (
                None if version == "1.0" else (400, "The request has no Host; send the name of this server.")
            )
        if len(hosts) > 1:
            return 400, "The request has more than one Host; send one."
        if _HOST.fullmatch(hosts[0]) is None:
            return (
                400,
                "The request's Host is not a name or address with an optional port; send one such as localhost:8000.",
            )
        return None

    def _begin_other(self) -> None:
        """Hand the request to the application, with the scope that the hot path never needs."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self.scope[LACKS_CERTIFICATE] = self.lacks_certificate  # type: ignore[literal-required]
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _hot_dialect(self, headers: Headers) -> HttpDialect | None:
        """Find the dialect of a request that can be answered here and now; None for any other."""
        url = self.url
        if (
            self.parser.get_method() == b"POST"
            and b"%" not in url
            and b"?" not in url
            and not self.expect_100_continue
            and JOB_HEADERS.isdisjoint(headers)
            and self._is_free()
            and not self.parser.should_upgrade()
        ):
            return find_dialect(url)
        return None

    def _admit(self, head: Head) -> HotRequest:
        caller = InferenceCaller(
            head.authorization,
            self.client[0] if self.client else "",
            head.forwarded_for,
            self.lacks_certificate,
        )
        return HotRequest(self, head, caller, self.engine.admit(head.dialect, caller, head.path))

    def on_body(self, body: bytes) -> None:
        if self.discarding_since:
            return
        self.overhead = 0
        hot = self.hot
        if hot is None:
            super().on_body(body)
            return
        if hot.receive(body) is TOO_LONG:
            self._refuse_and_close(TOO_LONG.status, TOO_LONG.sentence)

    def on_message_complete(self) -> None:
        if self.discarding_since:
            return
        self.overhead = 0
        self.arriving_since = 0.0
        hot = self.hot
        if hot is None:
            super().on_message_complete()
            return
        self.hot = None
        self._await_answer(hot)
        hot.submit_pieces()

    def _await_answer(self, hot: HotRequest) -> None:
        """Add a request, in its place, to the answers that are owed."""
        self.unanswered.append(hot)
        if len(self.unanswered) >= MAX_PIPELINED:
            self.flow.pause_reading()

    def in_thread[*Given, Result](
        self,
        work: Callable[[*Given], Result],
        given: tuple[*Given],
        take: Callable[[Result], None],
    ) -> None:
        """Work on a long body in a thread, and take the result in the event loop."""
        task = in_turn(work, *given)
        task.add_done_callback(lambda done: self.loop.call_soon_threadsafe(take, done.result()))

    # What leaves

    def send_answers(self) -> None:
        """Send the answers that are ready, in the order of their requests."""
        unanswered = self.unanswered
        while unanswered and (answer := unanswered[0].answer) is not None:
            hot = unanswered.popleft()
            if self.transport.is_closing():
                continue
            closing = not hot.keep_alive or (self.draining and not unanswered and self.hot is None)
            self.transport.write(self._response(answer, closing=closing))
            self.server_state.total_requests += 1
            if closing:
                unanswered.clear()
                self._close_gently()
                return
        if not unanswered:
            self._become_idle()

    def _response(self, answer: Answer, *, closing: bool) -> bytes:
        return write_response(answer, default_lines(self.server_state.default_headers), closing=closing)

    def last_response(self, refusal: Refusal) -> bytes:
        """Write what is still owed on this connection when the process ends: the refusal, to each that waits.

        Empty where nobody waits, or where a response has begun. Another thread may ask while the event loop is stuck.
        """
        if self.transport.get_write_buffer_size():
            return b""
        if self.unanswered:
            last = len(self.unanswered) - 1
            return b"".join(
                self._response(hot.answer or write_answer(hot.head.dialect, refusal), closing=place == last)
                for place, hot in enumerate(self.unanswered)
            )
        waits = self.arriving_since or (self.cycle is not None and not self.cycle.response_complete)
        if not waits or (self.cycle is not None and self.cycle.response_started and not self._is_free()):
            return b""
        dialect = find_dialect(self.url) or OPEN_INFERENCE
        return self._response(write_answer(dialect, refusal), closing=True)

    def _become_idle(self) -> None:
        self.idle_since = time.monotonic()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            super()._start_asgi_task(cycle, app)
        elif self.flow.read_paused and not self.flow.write_paused:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the application's turn, once the inference answers before it have left."""
        if self.unanswered:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.idle_since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.flow.pause_reading()  # a client that does not read its answers sends no more requests

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    # How it ends

    def send_400_response(self, msg: str) -> None:
        self._refuse_and_close(400, f"{msg} Send HTTP/1.1.")

    def _refuse_long_headers(self) -> None:
        self._refuse_and_close(431, f"The headers are longer than {MAX_HEADER_BYTES} bytes; shorten them.")

    def _refuse_and_close(self, status: int, sentence: str) -> None:
        """Answer in turn that the request cannot be read, then read no further."""
        if self.discarding_since or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # the application is in the middle of its own answer
            return
        self.discarding_since = time.monotonic()
        self._forget_arriving()
        hot = HotRequest(self, Head(find_dialect(self.url) or OPEN_INFERENCE), UNKNOWN_CALLER)
        self.unanswered.append(hot)
        self.engine.metrics.refusals[status] += 1
        hot.reply(Refusal(status, sentence))

    def _close_gently(self) -> None:
        """Close after what was written; where the client may still be sending, let it read the answer first."""
        if self.discarding_since or self.arriving_since:
            self.discarding_since = time.monotonic()
            if self.transport.can_write_eof():
                self.transport.write_eof()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Begin to drain: an idle connection may ask once more for a second, and every answer says close."""
        self.draining = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        self.idle_since = time.monotonic()
        self.loop.call_later(LINGER_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _is_idle(self) -> bool:
        return (
            not self.unanswered
            and not self.arriving_since
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
        )

    def close_if_overdue(self, now: float) -> None:
        """Close a connection that has idled too long, or whose request takes too long to arrive."""
        if self.transport.is_closing():
            return
        if self.discarding_since:
            if now - self.discarding_since > DISCARD_SECONDS and not self.unanswered:
                self.transport.close()
        elif self.arriving_since:
            is_other = self.hot is None and self.cycle is not None and not self.cycle.response_complete
            if now - self.arriving_since > (OTHER_SECONDS if is_other else HOT_SECONDS):
                self._refuse_and_close(408, "The request took too long to arrive; send it again.")
        elif self._is_idle() and now - self.idle_since > (LINGER_SECONDS if self.draining else IDLE_SECONDS):
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's always closes
        """Answer what has arrived whole before closing, though the client sends no more."""
        if not self.unanswered:
            return False
        self.unanswered[-1].keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.unanswered.clear()
        self._forget_arriving()
        super().connection_lost(exc)

    def _forget_arriving(self) -> None:
        if self.hot is not None:
            self.hot.release()
            self.hot = None
