"""A connection that a test writes to."""

import asyncio
from typing import Any

from inference.serving.body_budget import BodyBudget
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.engine.inbound import Inbound
from inference.serving.refusals import Refusal

LINE = b"POST /v2/models/sums/infer HTTP/1.1\r\n"
BODY = b'{"inputs":[]}'
HOST = b"host: test\r\n"


def request(lines: bytes, content: bytes, line: bytes = LINE) -> bytes:
    return line + HOST + lines + b"\r\n" + content


def sized(size: int, content: bytes = BODY, more: bytes = b"") -> bytes:
    return request(b"authorization: Bearer a\r\n%bcontent-length: %d\r\n" % (more, size), content)


PLAIN = sized(len(BODY))


class Repeating:
    """Stands for the engine: refuses each request and quotes all of it."""

    def __init__(self) -> None:
        self.bodies = BodyBudget()
        self.metrics = ServingMetrics()
        self.requests: list[str] = []

    def admit(self, *_: object) -> None:
        return None

    def submit(self, admission: object, inbound: Inbound[bytes, Any], reply: Any) -> None:
        received = repr((inbound.path, inbound.caller.authorization, inbound.headers, inbound.body))
        self.requests.append(received)
        self.answer(reply, admission if isinstance(admission, Refusal) else Refusal(404, received))

    def answer(self, reply: Any, refusal: Refusal) -> None:
        reply(refusal)

    def end(self) -> None:
        """Answer what is not answered yet."""


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.sent += b"<eof>"

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
