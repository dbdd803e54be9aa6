"""HTTP to one other server: kept connections to a checked and pinned address, no redirects, an end to every wait."""

import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from driftline.base.outbound.addresses import Address, AddressBlocked, resolve
from driftline.base.outbound.rules import OutboundRules
from inference.runtime.remote.errors import CallEnded, UpstreamFailed, garbage
from inference.runtime.session import RunOptions

CONNECT_SECONDS = 3.0
LOOK_SECONDS = 0.05  # between two looks whether a call that waits has been ended
ADDRESS_SECONDS = 60.0  # until a name is resolved again
IDLE_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_IDLE_CONNECTIONS = 32


class UpstreamReply(Struct, frozen=True):
    """What the other server answered; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Call:
    """The time that one exchange may take: until `seconds` are over, or `options` ends the run that it is for."""

    def __init__(self, seconds: float, options: RunOptions | None = None) -> None:
        self._ends_at = time.monotonic() + seconds
        self._seconds = seconds
        self._options = options

    def check(self) -> None:
        """Raise CallEnded where the run was ended, UpstreamFailed where the other server took too long."""
        if self._options is not None and self._options.terminate:
            raise CallEnded
        if self.remaining_seconds <= 0:
            raise UpstreamFailed(
                "timeout", 504, f"The model's server did not answer within {self._seconds:g} s.", retry_s=1.0
            )

    @property
    def remaining_seconds(self) -> float:
        return self._ends_at - time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait for so many seconds within the call."""
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(rest, LOOK_SECONDS))
        self.check()


class Connections:
    """Exchanges requests with one server; safe for threads."""

    def __init__(self, url: str, rules: OutboundRules) -> None:
        """Make connections to the server of `url`; none is opened yet."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._netloc = parts.netloc
        self._encrypted = parts.scheme == "https"
        self._port = parts.port or (443 if self._encrypted else 80)
        self._address = PinnedAddress(self._host, self._port, self._encrypted, rules)
        self._idle: list[_Connection] = []
        self._tls = _tls_context() if self._encrypted else None
        weakref.finalize(self, _close_all, self._idle)

    def exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], call: Call
    ) -> UpstreamReply:
        """Send a request and read its whole answer.

        Raises UpstreamFailed where there is none, or none that is an answer; a redirect is none.
        """
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange_on(connection, method, path, body, headers, call)
            except _Stale:  # closed by the other side while it was idle: it has read nothing
                pass
        try:
            return self._exchange_on(self._open(call), method, path, body, headers, call)
        except _Stale as error:
            raise _unreachable("it closed the connection") from error

    def _exchange_on(
        self,
        connection: "_Connection",
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        call: Call,
    ) -> UpstreamReply:
        try:
            reply, is_reusable = connection.exchange(
                method, path, body, {"Host": self._netloc, **headers}, call
            )
        except BaseException:
            connection.close()
            raise
        if is_reusable and len(self._idle) < MAX_IDLE_CONNECTIONS:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _take(self) -> "_Connection | None":
        """Take a connection that is still open, the last one used first."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_fit():
                return connection
            connection.close()

    def _open(self, call: Call) -> "_Connection":
        call.check()
        address = self._address.get()
        try:
            connected = socket.create_connection(
                (str(address), self._port), min(CONNECT_SECONDS, call.remaining_seconds)
            )
        except TimeoutError as error:
            call.check()
            raise _unreachable("it does not take connections") from error
        except OSError as error:
            raise _unreachable(error.strerror or str(error)) from error
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_hostname=self._host)
        except OSError as error:
            connected.close()
            raise _unreachable(f"TLS failed, {getattr(error, 'reason', None) or error}") from error
        return _Connection(connected, self._host, self._port)


def _close_all(connections: "list[_Connection]") -> None:
    for connection in connections:
        connection.close()


class PinnedAddress:
    """A checked address to connect to; the name is looked up again once a minute, by one thread for all."""

    def __init__(self, host: str, port: int, encrypted: bool, rules: OutboundRules) -> None:
        self._host = host
        self._port = port
        self._encrypted = encrypted
        self._rules = rules
        self._lock = threading.Lock()
        self._known: Address | None = None
        self._resolved_at = 0.0

    def get(self) -> Address:
        """Return the address; raises UpstreamFailed where it must not be called, or is not known."""
        if self._known is not None and time.monotonic() - self._resolved_at < ADDRESS_SECONDS:
            return self._known
        if not self._lock.acquire(timeout=0 if self._known else CONNECT_SECONDS):
            if self._known is not None:
                return self._known
            raise _unreachable("its name is still being looked up")
        try:
            self._known = resolve(self._host, self._port, encrypted=self._encrypted, rules=self._rules)
            self._resolved_at = time.monotonic()
        except AddressBlocked as error:
            self._known = None
            raise UpstreamFailed(
                "blocked", 502, "The model's server is at an address that this server may not call."
            ) from error
        except (OSError, UnicodeError) as error:
            if self._known is None:
                raise _unreachable("its name does not resolve") from error
        finally:
            self._lock.release()
        return self._known


class _Stale(Exception):
    """A connection was closed before it brought anything of an answer."""


class _Connection:
    """One connection, for one call at a time."""

    def __init__(self, connected: socket.socket, host: str, port: int) -> None:
        self.idle_since = 0.0
        self._socket = _WatchedSocket(connected)
        self._http = http.client.HTTPConnection(host, port)
        self._http.auto_open = 0
        self._http.sock = self._socket

    def is_fit(self) -> bool:
        """Return whether it can be used again: what has become readable since was not asked for, or is the end."""
        return time.monotonic() - self.idle_since < IDLE_SECONDS and not self._socket.is_readable()

    def exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], call: Call
    ) -> tuple[UpstreamReply, bool]:
        """Return the answer, and whether the connection can be used again."""
        self._socket.begin(call)
        try:
            self._http.request(method, path, body or None, dict(headers))
            response = self._http.getresponse()
            reply = UpstreamReply(response.status, _lower(response.headers), _read(response))
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            if self._socket.has_received:
                raise _unreachable("the connection broke before its answer was whole") from error
            raise _Stale from error
        except http.client.IncompleteRead as error:
            raise _unreachable("the connection broke before its answer was whole") from error
        except (http.client.HTTPException, ValueError) as error:
            raise garbage("it is not HTTP") from error
        except OSError as error:
            raise _unreachable(error.strerror or str(error)) from error
        return reply, not response.will_close

    def close(self) -> None:
        self._http.close()


class _WatchedSocket:
    """As much of a socket as `http.client` uses; no wait in it outlasts the call that it serves."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(LOOK_SECONDS)
        self._call = Call(0.0)
        self.has_received = False

    def begin(self, call: Call) -> None:
        self._call = call
        self.has_received = False

    def is_readable(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._call.check()
            with suppress(TimeoutError):
                rest = rest[self._socket.send(rest) :]

    def receive_into(self, buffer: Any) -> int:
        while True:
            self._call.check()
            with suppress(TimeoutError):
                count = self._socket.recv_into(buffer)
                self.has_received = self.has_received or count > 0
                return count

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    """Reads a watched socket; to close it leaves the connection open for the next answer."""

    def __init__(self, source: _WatchedSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.receive_into(buffer)


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a body up to the cap; what exceeds it is no answer."""
    if (response.length or 0) <= MAX_ANSWER_BYTES:
        body = response.read(MAX_ANSWER_BYTES + 1)
        if len(body) <= MAX_ANSWER_BYTES:
            if response.length:  # a body that has a length is read without a word where it ends too early
                raise http.client.IncompleteRead(body, response.length)
            return body
    raise garbage(f"it has more than {MAX_ANSWER_BYTES >> 20} MiB")


def _lower(headers: http.client.HTTPMessage) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or None)


def _unreachable(why: str) -> UpstreamFailed:
    return UpstreamFailed(
        "unreachable", 502, f"The model's server cannot be reached: {why[:200].lower()}.", may_pass=True
    )
