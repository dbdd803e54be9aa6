"""A real HTTP server on the loopback that behaves as each test scripts it, and a few flights."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.demo.flights_timeline import NUMBERS, STRINGS, Timeline


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        read: dict[str, object] = orjson.loads(self.body)
        return read


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    """Close the connection instead of answering."""


Script = Callable[[Received], Reply]


class QuietServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class ScriptedServer:
    """Answers each request as `script` says and remembers it, in order of arrival."""

    def __init__(self) -> None:
        self.script: Script = lambda request: Reply()
        self.received: list[Received] = []
        self._lock = threading.Lock()
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    method, path, _ = line.decode().split(" ", 2)
                    headers = {}
                    while (header := self.rfile.readline().decode().strip()) != "":
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    body = self.rfile.read(int(headers.get("content-length", 0)))
                    reply = server.answer(Received(method, path, headers, body))
                    if reply.hang_up:
                        return
                    content = orjson.dumps(reply.body)
                    told = {"Content-Type": "application/json", "Content-Length": str(len(content))}
                    head = "".join(f"{name}: {value}\r\n" for name, value in (told | reply.headers).items())
                    self.wfile.write(f"HTTP/1.1 {reply.status} x\r\n{head}\r\n".encode() + content)
                    if reply.headers.get("Connection") == "close":
                        return

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request: Received) -> Reply:
        with self._lock:
            self.received.append(request)
            return self.script(request)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture
def timeline(tmp_path: Path) -> Timeline:
    """Four flights of 4 and 5 March: one lands the next day, one never."""
    first, second = datetime(2013, 3, 4, tzinfo=UTC), datetime(2013, 3, 5, tzinfo=UTC)
    return write_timeline(
        tmp_path / "flights.parquet",
        departures=[
            first.replace(hour=1),
            first.replace(hour=12),
            first.replace(hour=23),
            second.replace(hour=10),
        ],
        landings=[first.replace(hour=4), None, second.replace(hour=3), second.replace(hour=13)],
        ids=["flight-0", "flight-1", "flight-2", "flight-3"],
    )


def write_timeline(
    path: Path, *, departures: list[datetime], landings: list[datetime | None], ids: list[str]
) -> Timeline:
    """Flights as the cache holds them; labels alternate from late on, and numbers are missing where they are odd."""
    rows = len(ids)
    labels = [landing and ("on_time" if row % 2 else "late") for row, landing in enumerate(landings)]
    table = pa.table(
        {
            **{name: ["x"] * rows for name in STRINGS},
            **{
                name: pa.array([None if r % 2 else r + 0.5 for r in range(rows)], pa.float32())
                for name in NUMBERS
            },
            "event_time": pa.array(departures, pa.timestamp("ns", "UTC")),
            "label_time": pa.array(landings, pa.timestamp("ns", "UTC")),
            "label": pa.array(labels, pa.string()),
            "id": ids,
        }
    )
    pq.write_table(table, path)
    return Timeline.read(path)
