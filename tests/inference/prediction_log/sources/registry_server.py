"""A schema registry by the API that Confluent publishes: what it has not got it refuses as the real one does.

It has what a real one shows only now and then too: `answers` instead of what a path would get.
"""

import base64
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
from fastavro import parse_schema, schemaless_writer
from google.protobuf.descriptor_pb2 import FileDescriptorProto

FIRST_ID = 100_001


@dataclass(frozen=True)
class Registered:
    """A version of a subject; of Protobuf `text` is the descriptor."""

    subject: str
    version: int
    type: str
    text: str
    references: list[dict[str, Any]]


@dataclass
class RegistryServer:
    """The schemas of a registry by their numbers, and what was asked."""

    address: str = ""
    authorization: str = ""  # that it asks for; empty: none
    schemas: dict[int, Registered] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def register(self, text: str, *, type_: str = "AVRO", subject: str = "", **imports: int) -> int:
        """Register a schema and return its number; `imports` are numbers of schemas by how it names them."""
        number = FIRST_ID + len(self.schemas)
        subject = subject or f"subject {number}/value"
        version = 1 + sum(one.subject == subject for one in self.schemas.values())
        references = [
            {
                "name": name.replace("__", "."),
                "subject": self.schemas[imported].subject,
                "version": self.schemas[imported].version,
            }
            for name, imported in imports.items()
        ]
        self.schemas[number] = Registered(subject, version, type_, text, references)
        return number

    def avro(self, schema: Any, **imports: int) -> int:
        """Register a schema of Avro."""
        return self.register(orjson.dumps(schema).decode(), **imports)

    def protobuf(self, file: FileDescriptorProto, **imports: int) -> int:
        """Register a file of Protobuf."""
        text = base64.b64encode(file.SerializeToString()).decode()
        return self.register(text, type_="PROTOBUF", **imports)

    def answer(self, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body of a GET."""
        self.requests.append(target)
        self.headers.append(headers)
        parts = urlsplit(target)
        if parts.path in self.answers:
            return self.answers[parts.path]
        if self.authorization and headers.get("Authorization") != self.authorization:
            return _error(401, 401, "Unauthorized")
        match [unquote(part) for part in parts.path.split("/")[1:]]:
            case ["schemas", "ids", number] if number.isdecimal():
                found = self.schemas.get(int(number))
                missing = _error(404, 40403, f"Schema {number} not found")
            case ["subjects", subject, "versions", version] if version.isdecimal():
                of_subject = [one for one in self.schemas.values() if one.subject == subject]
                found = next((one for one in of_subject if one.version == int(version)), None)
                missing = _error(404, 40402 if of_subject else 40401, "not found")
            case _:
                return _error(404, 404, "HTTP 404 Not Found")
        return (200, _document(found, parse_qs(parts.query))) if found else missing


def _error(status: int, code: int, text: str) -> tuple[int, bytes]:
    return status, orjson.dumps({"error_code": code, "message": text})


def _document(found: Registered, query: Mapping[str, list[str]]) -> bytes:
    is_serialized = query.get("format") == ["serialized"]
    document: dict[str, Any] = {"schema": found.text}
    if found.type == "PROTOBUF" and not is_serialized:
        document["schema"] = 'syntax = "proto3"; message Text { string of_the_file = 1; }'
    if found.type != "AVRO":
        document["schemaType"] = found.type
    if found.references:
        document["references"] = found.references
    return orjson.dumps(document)


@contextmanager
def registry_server() -> Iterator[RegistryServer]:
    """Serve a registry until the block ends."""
    registry = RegistryServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = registry.answer(self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        registry.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


def wire(number: int, payload: bytes) -> bytes:
    """Write a message in Confluent's wire format."""
    return b"\0" + number.to_bytes(4) + payload


def avro_payload(schema: Any, value: Any) -> bytes:
    """Write a value of Avro."""
    stream = BytesIO()
    schemaless_writer(stream, parse_schema(schema), value)
    return stream.getvalue()
