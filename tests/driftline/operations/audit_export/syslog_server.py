"""A syslog server on loopback that parses RFC 5424 by its grammar, and RFC 6587's octet counting byte by byte."""

import contextlib
import json
import re
import socket
import ssl
import struct
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Self

_VISIBLE = r"[!-~]"
_MESSAGE = re.compile(
    rf"""<(?P<pri>\d{{1,3}})>(?P<version>[1-9]\d{{0,2}})
    [ ](?P<time>\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{{1,6}})?(Z|[+-]\d\d:\d\d))
    [ ](?P<host>-|{_VISIBLE}{{1,255}})[ ](?P<app>-|{_VISIBLE}{{1,48}})
    [ ](?P<process>-|{_VISIBLE}{{1,128}})[ ](?P<id>-|{_VISIBLE}{{1,32}})
    [ ](?P<data>-|(?:\[(?:[^"\]\\]|"(?:[^"\\\]]|\\.)*")*\])+)
    (?:[ ](?P<text>.*))?""",
    re.VERBOSE | re.DOTALL,
)
_ELEMENT = re.compile(
    r"\[(?P<id>[!#-<>-\\^-~]{1,32})(?P<parameters>(?: [^=]{1,32}=\"(?:[^\"\\\]]|\\.)*\")*)\]", re.DOTALL
)
_PARAMETER = re.compile(r' (?P<name>[!#-<>-\\^-~]{1,32})="(?P<value>(?:[^"\\\]]|\\.)*)"', re.DOTALL)


@dataclass(frozen=True)
class SyslogMessage:
    """One message; `data` holds the parameters of its structured data by element."""

    priority: int
    time: str
    host: str
    app: str
    id: str
    data: dict[str, dict[str, str]]
    text: str

    @property
    def fields(self) -> dict[str, str]:
        return self.data["driftline@32473"]

    @property
    def number(self) -> int:
        return int(self.fields["number"])

    @property
    def document(self) -> Any:
        return json.loads(self.text)


def parse_message(raw: bytes) -> SyslogMessage:
    """Read a message; fails where it is not of the grammar."""
    found = _MESSAGE.fullmatch(raw.decode())
    assert found, raw
    elements = list(_ELEMENT.finditer(found["data"]))
    assert "".join(one.group() for one in elements) == found["data"]
    data = {
        one["id"]: {
            each["name"]: re.sub(r'\\(["\\\]])', r"\1", each["value"])
            for each in _PARAMETER.finditer(one["parameters"])
        }
        for one in elements
    }
    return SyslogMessage(
        int(found["pri"]), found["time"], found["host"], found["app"], found["id"], data, found["text"]
    )


def split_frames(stream: bytes) -> list[bytes]:
    """Split what came over a connection into its frames; an unfinished one is left out."""
    frames = []
    while stream:
        count, space, rest = stream.partition(b" ")
        if not space or len(rest) < int(count):
            break
        assert re.fullmatch(rb"[1-9]\d*", count)
        frames.append(rest[: int(count)])
        stream = rest[int(count) :]
    return frames


class SyslogServer:
    """Listens while its block runs and keeps what came, in the order of coming.

    `reset_after` has the first connections die so many bytes after they began; with `says_farewell` off a TLS
    connection is closed without close_notify.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        reset_after: int = 0,
        says_farewell: bool = True,
    ) -> None:
        self.messages: list[SyslogMessage] = []
        self.connections = 0
        self._tls, self._reset_after, self._says_farewell = tls, reset_after, says_farewell
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._stop = Event()

    @property
    def numbers(self) -> list[int]:
        return [message.number for message in self.messages]

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            connection.settimeout(20)
            with contextlib.suppress(OSError):
                self._read(connection)

    def _read(self, plain: socket.socket) -> None:
        connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
        with connection:
            stream = b""
            while block := connection.recv(1024 if self._reset_after else 65536):
                stream += block
                if self._reset_after and len(stream) >= self._reset_after:
                    self._reset_after = 0
                    self._keep(stream)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
            self._keep(stream)
            if isinstance(connection, ssl.SSLSocket) and self._says_farewell:
                connection.unwrap()

    def _keep(self, stream: bytes) -> None:
        self.messages += [parse_message(frame) for frame in split_frames(stream)]
