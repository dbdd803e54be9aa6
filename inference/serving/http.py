"""The server's HTTP protocol: inference is answered before ASGI, everything else goes to the application.

A subclass of uvicorn 0.54's httptools protocol that uses some of its private attributes: hence the pin. It also
bounds what uvicorn leaves unbounded: bytes of headers, and the time that a request may take to arrive.
"""

import time
from collections import deque
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from inference.serving.answers import Answer, refusal
from inference.serving.engine import Engine
from inference.serving.routing import Admission

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_PIPELINED = 64
HOT_SECONDS = 30.0  # for a whole inference request to arrive
OTHER_SECONDS = 600.0  # for any other, such as the upload of a model
IDLE_SECONDS = 75.0
LINGER_SECONDS = 1.0
DISCARD_SECONDS = 2.0


class HotRequest:
    """An inference request from its headers to its answer."""

    __slots__ = ("admission", "answer", "authorization", "body", "connection", "keep_alive", "path", "size")

    def __init__(
        self, connection: "HotProtocol", authorization: bytes, path: bytes, keep_alive: bool
    ) -> None:
        self.connection = connection
        self.authorization = authorization
        self.path = path
        self.keep_alive = keep_alive
        self.admission: Admission | Answer | None = None
        self.body: list[bytes] = []
        self.size = 0
        self.answer: Answer | None = None

    def reply(self, answer: Answer) -> None:
        """Take the answer; it leaves when those before it on the connection have left."""
        self.answer = answer
        self.connection.send_answers()


class HotProtocol(HttpToolsProtocol):
    """One connection. Make a subclass with `bind` to give it its engine."""

    engine: ClassVar[Engine]
    max_body_bytes: ClassVar[int] = MAX_BODY_BYTES

    @classmethod
    def bind(cls, engine: Engine, max_body_bytes: int = MAX_BODY_BYTES) -> "type[HotProtocol]":
        """Make the class of the connections that this engine answers."""
        return type("BoundHotProtocol", (cls,), {"engine": engine, "max_body_bytes": max_body_bytes})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hot: HotRequest | None = None  # whose body is arriving
        self.unanswered: deque[HotRequest] = deque()
        self.authorization = b""
        self.special: bytes | None = None  # a header that takes the request off the hot path or refuses it
        self.overhead = 0  # bytes since the last byte of a body: headers, chunk sizes, trailers
        self.arriving_since = 0.0  # 0: no request is arriving
        self.idle_since = time.monotonic()
        self.draining = False
        self.discarding_since = 0.0  # 0: not discarding

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within the bounds that a request has."""
        if self.discarding_since:
            return
        if not self.arriving_since:
            self.arriving_since = time.monotonic()
        self.overhead += len(data)
        super().data_received(data)
        if self.overhead > MAX_HEADER_BYTES:
            self._refuse_long_headers()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.authorization = b""
        self.special = None
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name == b"authorization":
            self.authorization = value
        elif name == b"content-length":
            if len(value) > 12 or not value.isdigit() or int(value) > self.max_body_bytes:
                self.special = name
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name in (b"content-encoding", b"inference-header-content-length"):
            self.special = name

    def on_headers_complete(self) -> None:
        if self.overhead > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._refuse_long_headers()
        elif self._is_hot():
            self._begin_hot()
        else:
            self._begin_other()

    def _begin_other(self) -> None:
        """Hand the request to the application, with the scope that the hot path never needs."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _is_hot(self) -> bool:
        url = self.url
        return (
            url.endswith(b"/infer")
            and url.startswith(b"/v2/models/")
            and self.parser.get_method() == b"POST"
            and b"%" not in url
            and b"?" not in url
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.parser.should_upgrade()
        )

    def _begin_hot(self) -> None:
        if self.special == b"content-length":
            self._refuse_and_close(413, too_long(self.max_body_bytes))
            return
        keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self.hot = HotRequest(self, self.authorization, self.url, keep_alive)
        if self.special is not None:
            self.hot.admission = refuse_special(self.special)
        else:
            self.hot.admission = self.engine.admit(self.authorization, self.url)

    def on_body(self, body: bytes) -> None:
        if self.discarding_since:
            return
        self.overhead = 0
        hot = self.hot
        if hot is None:
            super().on_body(body)
            return
        hot.size += len(body)
        if hot.size > self.max_body_bytes:
            self._refuse_and_close(413, too_long(self.max_body_bytes))
        elif not isinstance(hot.admission, Answer):
            hot.body.append(body)

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
        self.unanswered.append(hot)
        if len(self.unanswered) >= MAX_PIPELINED:
            self.flow.pause_reading()
        body = hot.body[0] if len(hot.body) == 1 else b"".join(hot.body)
        self.engine.submit(hot.admission, hot.authorization, hot.path, body, hot.reply)

    # What leaves

    def send_answers(self) -> None:
        """Send the answers that are ready, in the order of their requests."""
        while self.unanswered and self.unanswered[0].answer is not None:
            hot = self.unanswered.popleft()
            if self.transport.is_closing():
                continue
            closing = not hot.keep_alive or (self.draining and not self.unanswered and self.hot is None)
            assert hot.answer is not None
            self.transport.write(self._head(hot.answer, closing) + hot.answer.body)
            self.server_state.total_requests += 1
            if closing:
                self.unanswered.clear()
                self._close_gently()
                return
        if not self.unanswered:
            self._become_idle()

    def _head(self, answer: Answer, closing: bool) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
        return b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%b%b%b\r\n" % (
            STATUS_LINE[answer.status],
            len(answer.body),
            answer.fields,
            lines,
            b"connection: close\r\n" if closing else b"",
        )

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
        self.hot = None
        hot = HotRequest(self, b"", b"", keep_alive=False)
        self.unanswered.append(hot)
        self.engine.metrics.refusals[status] += 1
        hot.reply(refusal(status, sentence))

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

    def connection_lost(self, exc: Exception | None) -> None:
        self.unanswered.clear()
        self.hot = None
        super().connection_lost(exc)


def too_long(max_body_bytes: int) -> str:
    """Say that a body is too long."""
    return f"The body is longer than {max_body_bytes} bytes; send fewer rows at a time."


def refuse_special(header: bytes) -> Answer:
    """Refuse a request for a header that asks for what inference does not do."""
    if header == b"content-encoding":
        return refusal(415, "The body is compressed, which inference does not take; send it plain.")
    return refusal(400, "Binary tensors are not offered by this server; send the data as JSON.")
