"""A TLS connection that ends in order, or with an error: after an alert or a reset nothing counts as received.

`SSLSocket.unwrap` returns also where the other side ended otherwise than by close_notify, such as by an alert. With TLS
1.3 that is how a receiver refuses this side's certificate, after the handshake succeeded here. So TLS runs over buffers
in memory, where the result of every step is seen.
"""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

_READ_BYTES, _MAX_READS = 16_384, 64


class TlsStream:
    """Speaks TLS as a client over a connected socket; its timeout holds for every step. Errors are OSErrors."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._plain, self._received, self._to_send = plain, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        self._do(self._tls.do_handshake)

    def send(self, content: bytes) -> None:
        """Send all of this."""
        self._do(lambda: self._tls.write(content))

    def end(self) -> None:
        """Send that nothing follows, and wait until the other side says the same, as RFC 5425 (4.4) wants it to.

        Some receivers, such as rsyslog with GnuTLS, close TCP in order without close_notify. That says as much as it
        does over plain TCP. What the other side sends before means nothing, and is dropped.
        """
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        try:
            for _ in range(_MAX_READS):
                self._do(lambda: self._tls.read(_READ_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # its close_notify, or the end of TCP without one
            return
        raise ConnectionAbortedError("it sends data instead of ending the connection")

    def _do[T](self, step: Callable[[], T]) -> T:
        """Take a step, receiving and sending whatever TLS needs for it."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
                continue
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            self._flush()
            return result

    def _flush(self) -> None:
        if self._to_send.pending:
            self._plain.sendall(self._to_send.read())

    def _receive(self) -> None:
        if block := self._plain.recv(_READ_BYTES):
            self._received.write(block)
        else:
            self._received.write_eof()
