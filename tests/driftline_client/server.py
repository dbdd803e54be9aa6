"""A small HTTP server that keeps what arrives and answers as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import PATIENCE_SECONDS

TABLE = {
    "name": "flights",
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [],
}
COLUMNS = {
    "name": "flights",
    "inputs": [
        {"name": "delay", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "hour", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "carrier", "datatype": "BYTES", "shape": [-1, 1]},
    ],
    "outputs": [],
}


@dataclass
class Answer:
    """One answer to give."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Recorder:
    """What arrived, and the answers waiting to be given to the next POSTs (200 when there is none).

    `always` holds those given to every POST to /predictions or /labels.
    """

    url: str = ""
    metadata: Any = field(default_factory=lambda: TABLE)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    always: dict[str, Answer] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Give the logged items of all requests to /predictions or /labels."""
        return [item for path, _, body in self.requests if path.endswith(f"/{kind}") for item in body[kind]]

    def next_answer(self, kind: str) -> Answer:
        """Choose what to answer to a POST of predictions or labels."""
        if kind in self.always:
            return self.always[kind]
        return self.answers.pop(0) if self.answers else Answer()

    def wait_for_items(self, kind: str, count: int) -> None:
        """Wait until so many items have arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.items(kind)) >= count, PATIENCE_SECONDS), (
                self.requests
            )

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, 20), self.requests


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: two wait for each other's acknowledgement
    recorder: Recorder

    def do_GET(self) -> None:
        self._answer(Answer(200, self.recorder.metadata))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.recorder.changed:
            self.recorder.requests.append((self.path, dict(self.headers), body))
            answer = self.recorder.next_answer(self.path.rpartition("/")[2])
            self.recorder.changed.notify_all()
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        content = json.dumps(answer.body if answer.body is not None else {"accepted": 1}).encode()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@contextmanager
def running_server(port: int = 0) -> Iterator[Recorder]:
    """Serve on a free port of this machine."""
    recorder = Recorder()
    handler = type("Handler", (_Handler,), {"recorder": recorder})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
