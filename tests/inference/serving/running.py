"""A real server on a free port, and a client that sees every byte of its answers."""

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from inference.prediction_log.spool.record import LoggedBatch, Record, RequestCounts, feature_columns
from inference.prediction_log.spool.segments import open_spools
from inference.serving.engine.disk_sync import Done
from inference.serving.options import EngineOptions, ServerCertificate
from inference.serving.plan import PLAN_FILE, Plan, PlanCallback, PlanModel, PlanToken, publish_plan
from tests.ports import free_port
from tests.waiting import wait_until

SERVE = """
import sys, pathlib, msgspec
from inference.serving.options import EngineOptions, ServerCertificate
from inference.serving.main import serve_forever
home, port, grpc_port, workers, app, options, certificate = sys.argv[1:]
serve_forever(
    pathlib.Path(home), "127.0.0.1", int(port), grpc_port=int(grpc_port) or None, workers=int(workers),
    asgi_app=app or None,
    options=msgspec.json.decode(options, type=EngineOptions),
    certificate=msgspec.json.decode(certificate, type=ServerCertificate | None),
)
"""


def token(
    text: str, *scopes: str, project_id: int = 1, expires_at: float | None = None, **more: Any
) -> PlanToken:
    """Describe a token for a plan."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return PlanToken(digest, text[:6], project_id, list(scopes) or ["infer"], expires_at, **more)


def publish(
    home: Path,
    models: Sequence[PlanModel],
    tokens: Sequence[PlanToken],
    generation: int = 1,
    callbacks: Sequence[PlanCallback] = (),
    row_quotas: Mapping[int, int] | None = None,
    full_projects: Mapping[int, str] | None = None,
) -> None:
    """Publish a plan for the servers of this home."""
    plan = Plan(
        generation,
        list(models),
        list(tokens),
        list(callbacks),
        dict(row_quotas or {}),
        dict(full_projects or {}),
    )
    publish_plan(plan, home / PLAN_FILE)


class HeldDisk:
    """A disk whose syncs end when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[Done] = []

    def start(self, handle: int, done: Done) -> None:
        self.under_way.append(done)

    def finish(self, code: int = 0) -> None:
        self.under_way.pop()(code)

    def close(self) -> None:
        assert not self.under_way


@dataclass(frozen=True)
class Response:
    """An answer from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._received = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Response:
        """Read one answer; raise ConnectionError if the server closes before it is whole."""
        head = self._read_until(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        if " 100 " in status_line:
            return self.receive()
        body = self._read(int(headers["content-length"]))
        return Response(int(status_line.split()[1]), headers, body)

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._fill()
        head, _, self._received = self._received.partition(end)
        return head

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            self._fill()
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data

    def is_closed_by_server(self) -> bool:
        """Wait for the server to close; False if it sends more instead."""
        return not self._received and not self.socket.recv(1)


def request_bytes(
    path: str,
    body: bytes,
    *,
    token: str = "dl_infer",
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> bytes:
    """Write a request."""
    lines = {
        "host": "test",
        "authorization": f"Bearer {token}",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def rows_body(*rows: Sequence[float], name: str = "X", **more: Any) -> bytes:
    """Write the V2 body for rows of one FP32 tensor."""
    data = [value for row in rows for value in row]
    tensor = {"name": name, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


class Server:
    """A running server."""

    def __init__(self, home: Path, port: int, grpc_port: int, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.port = port
        self.grpc_port = grpc_port
        self.process = process

    def connect(self) -> Connection:
        return Connection(self.port)

    def ask(self, path: str, body: bytes = b"", **options: Any) -> Response:
        """Ask once on a connection of its own."""
        with self.connect() as connection:
            connection.send(request_bytes(path, body, **options))
            return connection.receive()

    def status_files(self) -> list[dict[str, Any]]:
        """Read what each process says of itself; one may end, and take its file along, while they are read."""
        found = []
        for path in sorted((self.home / "serving").glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                found.append(json.loads(path.read_bytes()))
        return found

    def spooled(self, role: str | None = None) -> list[LoggedBatch]:
        """Read all records from the start, without consuming them, each with its features by column."""
        return [
            msgspec.structs.replace(record, features=feature_columns(record.features))
            for record in self.records()
            if isinstance(record, LoggedBatch) and role in (None, record.role)
        ]

    def counted(self) -> Counter[tuple[str, str]]:
        """Add up how requests ended, by version and outcome, as the spool tells it."""
        counts: Counter[tuple[str, str]] = Counter()
        for record in self.records():
            if isinstance(record, RequestCounts):
                for ended in record.ended:
                    counts[ended.version, ended.outcome] += ended.requests
        return counts

    def waited(self) -> Counter[str]:
        """Count by version the requests of which the spool tells how long they waited."""
        counts: Counter[str] = Counter()
        for record in self.records():
            for waited in record.waited if isinstance(record, RequestCounts) else ():
                counts[waited.version] += sum(waited.counts)
        return counts

    def records(self) -> list[Record]:
        """Read all records from the start, without consuming them."""
        return [record for reader in open_spools(self.home) for record in reader.read(0, 0, 1 << 30)[0]]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@contextlib.contextmanager
def running_server(
    home: Path,
    *,
    workers: int = 1,
    app: str = "",
    options: EngineOptions | None = None,
    grpc: bool = False,
    certificate: ServerCertificate | None = None,
) -> Iterator[Server]:
    """Run a server until the block ends, also over gRPC if told to."""
    port, grpc_port = free_port(), free_port() if grpc else 0
    encoded = msgspec.json.encode(options or EngineOptions()).decode()
    ports, files = [str(port), str(grpc_port)], msgspec.json.encode(certificate).decode()
    command = [sys.executable, "-c", SERVE, str(home), *ports, str(workers), app, encoded, files]
    process = subprocess.Popen(command)
    server = Server(home, port, grpc_port, process)
    try:
        wait_until(lambda: is_ready(server, workers))
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def is_ready(server: Server, workers: int) -> bool:
    assert server.process.poll() is None, "the server died"
    files = server.status_files() if (server.home / "serving").is_dir() else []
    return len(files) == workers and all(status["ready"] for status in files)
