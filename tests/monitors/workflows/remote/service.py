"""A service on loopback that answers JSON as a test wants it to, and keeps what it was asked."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.loopback import LoopbackHandler, LoopbackServer


@dataclass(frozen=True)
class Asked:
    """One request; `json` is its body where it had one."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Cut:
    """A file of which a part is sent, before the service vanishes."""

    content: bytes


type Rules = Callable[[Asked], tuple[int, Any]]
"""What a service answers to a request: status and JSON, or a file. A status of 0 is no answer at all."""


class Service(LoopbackServer):
    """Runs while its block does; `rules` may be changed at any time."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.asked: list[Asked] = []
        super().__init__(self._handler())

    def requests(self, method: str, ending: str) -> list[Asked]:
        """List the requests of a method to a path that ends so, without its query."""
        return [
            one for one in self.asked if one.method == method and one.path.partition("?")[0].endswith(ending)
        ]

    def _handler(self) -> type[LoopbackHandler]:
        service = self

        class Handler(LoopbackHandler):
            def answer(self) -> None:
                asked = Asked(self.command, self.path, self.read_headers(), self.read_body())
                service.asked.append(asked)
                status, answer = service.rules(asked)
                if not status:
                    service.stopped.wait()
                    return
                text, announced = encode(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        return Handler


def encode(answer: Any) -> tuple[bytes, int]:
    """Return what is sent, and the length that is announced."""
    match answer:
        case None:
            return b"", 0
        case bytes():
            return answer, len(answer)
        case Cut(content):
            return content[: len(content) // 2], len(content)
    text = json.dumps(answer).encode()
    return text, len(text)
