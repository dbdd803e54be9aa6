"""An inference request over HTTP, from its headers to its answer."""

from collections.abc import Callable
from typing import Protocol

from inference.protocol.dialect import HttpBody
from inference.serving.callers import InferenceCaller
from inference.serving.engine.engine import Engine
from inference.serving.engine.inbound import Inbound
from inference.serving.http.compression import (
    QUICK_ANSWER_BYTES,
    choose_coding,
    pack,
    unpack,
    unpack_quickly,
)
from inference.serving.http.header_cache import Head
from inference.serving.http.incoming_body import IncomingBody
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer, Prediction, write_answer
from inference.serving.routing import Admission, project_id_of


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


class HotRequest(IncomingBody):
    """A request that was not answered yet; it holds the room for its own body."""

    __slots__ = ("admission", "answer", "caller", "coding", "connection", "head", "keep_alive")

    def __init__(
        self,
        connection: Connection,
        head: Head,
        caller: InferenceCaller,
        admission: Admission | Refusal | None = None,
    ) -> None:
        super().__init__(connection.engine.bodies, project_id_of(admission))
        headers = head.relevant_headers
        self.connection = connection
        self.head = head
        self.caller = caller
        self.keep_alive = head.keep_alive
        self.admission = admission
        self.coding = headers.get(b"content-encoding") if headers else None  # None once the body is unpacked
        self.answer: Answer | None = None

    def receive(self, piece: bytes) -> Refusal | None:
        """Take a piece of the body; return why the body is refused."""
        refusal = self.add(piece, is_kept=not isinstance(self.admission, Refusal))
        if refusal is not None:
            self.admission = refusal
        return refusal

    def submit_pieces(self) -> None:
        """Hand the request to the engine, after its body arrived in pieces."""
        self.submit(self.join())

    def submit_whole(self, body: bytes) -> None:
        """Hand the request to the engine, after its body arrived at once."""
        if not isinstance(self.admission, Refusal):
            refusal = self.take(len(body))
            if refusal is not None:
                self.admission, body = refusal, b""
        self.submit(body)

    def submit(self, body: bytes) -> None:
        """Hand the request to the engine as soon as its body is unpacked."""
        if self.coding is not None and not isinstance(self.admission, Refusal):
            self._unpack(self.coding, body)
            return
        head = self.head
        inbound = Inbound(head.dialect, self.caller, head.path, body, head.relevant_headers)
        self.connection.engine.submit(self.admission, inbound, self.reply)

    def _unpack(self, coding: bytes, body: bytes) -> None:
        if (unpacked := unpack_quickly(coding, body)) is not None:
            self._submit_unpacked(unpacked)
        else:
            self.connection.in_thread(unpack, (coding, body), self._submit_unpacked)

    def _submit_unpacked(self, unpacked: bytes | Refusal) -> None:
        self.coding = None
        body = self.check_unpacked(unpacked)
        if isinstance(body, Refusal):
            self.admission, body = body, b""
        self.submit(body)

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
            self._send(pack(answer, coding))
        else:
            self.connection.in_thread(pack, (answer, coding), self._send)

    def _send(self, answer: Answer) -> None:
        self.answer = answer
        self.connection.send_answers()
