"""An inference request over HTTP, from its headers to its answer."""

from collections.abc import Callable
from typing import Protocol

from inference.protocol.dialect import HttpBody
from inference.serving.body_budget import Hold
from inference.serving.engine.engine import Engine, Inbound, project_of
from inference.serving.http.compression import (
    QUICK_ANSWER_BYTES,
    choose_coding,
    pack,
    unpack,
    unpack_quickly,
)
from inference.serving.http.header_cache import Head
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer, Prediction, write_answer
from inference.serving.routing import Admission

MAX_BODY_BYTES = 16 * 1024 * 1024


class Connection(Protocol):
    """What a request needs of the connection that it came on."""

    @property
    def engine(self) -> Engine:
        """The engine that answers."""
        ...

    def send_answers(self) -> None:
        """Send the answers that are ready, in the order of their requests."""
        ...

    def in_thread[*Given, Result](
        self, work: Callable[[*Given], Result], given: tuple[*Given], take: Callable[[Result], None]
    ) -> None:
        """Work in a thread, and take the result in the event loop."""
        ...


class HotRequest(Hold):
    """A request that was not answered yet; it holds the room for its own body."""

    __slots__ = ("admission", "answer", "body", "connection", "head", "keep_alive", "size")

    def __init__(
        self, connection: Connection, head: Head, admission: Admission | Refusal | None = None
    ) -> None:
        super().__init__(connection.engine.bodies, project_of(admission))
        self.connection = connection
        self.head = head
        self.keep_alive = head.keep_alive
        self.admission = admission
        self.body: list[bytes] = []
        self.size = 0
        self.answer: Answer | None = None

    def take_body(self, body: bytes) -> None:
        """Keep a piece of the body, or refuse the request where there is no room for it."""
        if self._has_room(len(body)):
            self.body.append(body)
        else:
            self.body = []

    def _has_room(self, size: int) -> bool:
        reason = self.take(size)
        if reason is not None:
            self.admission = reason
        return reason is None

    def reply(self, result: Prediction[HttpBody] | Refusal) -> None:
        """Take the answer; it leaves when those before it on the connection have left."""
        self.release()
        answer = write_answer(self.head.dialect, result)
        headers = self.head.relevant_headers
        coding = choose_coding(answer, headers.get(b"accept-encoding")) if headers else None
        if coding is None:
            self.answer = answer
            self.connection.send_answers()
        elif len(answer.body) <= QUICK_ANSWER_BYTES:
            self.send(pack(answer, coding))
        else:
            self.connection.in_thread(pack, (answer, coding), self.send)

    def send(self, answer: Answer) -> None:
        """Take the answer as it is to leave."""
        self.answer = answer
        self.connection.send_answers()

    def end(self) -> None:
        """Hand the request on, whose body is whole now."""
        body = b"".join(self.body)
        self.body = []
        self._unpack(body)

    def take_whole(self, body: bytes) -> None:
        """Do at once what `take_body` and `end` do for a body that comes in pieces."""
        if not isinstance(self.admission, Refusal):
            reason = self.take(len(body))
            if reason is not None:
                self.admission, body = reason, b""
        self._unpack(body)

    def _unpack(self, body: bytes) -> None:
        """Submit a body as soon as it is unpacked."""
        headers = self.head.relevant_headers
        coding = headers.get(b"content-encoding") if headers else None
        if coding is None or isinstance(self.admission, Refusal):
            self.submit(body)
        elif (unpacked := unpack_quickly(coding, body)) is not None:
            self.submit_unpacked(unpacked)
        else:
            self.connection.in_thread(unpack, (coding, body, MAX_BODY_BYTES), self.submit_unpacked)

    def submit_unpacked(self, body: bytes | Refusal) -> None:
        """Hand the request to the engine where there is room for its body as it was before it was compressed."""
        self.submit(b"" if isinstance(body, bytes) and not self._has_room(len(body)) else body)

    def submit(self, body: bytes | Refusal) -> None:
        """Hand the request to the engine, or the reason why its body cannot be read."""
        if isinstance(body, Refusal):
            self.admission, body = body, b""
        head = self.head
        inbound = Inbound(head.dialect, head.authorization, head.path, body, head.relevant_headers)
        self.connection.engine.submit(self.admission, inbound, self.reply)
