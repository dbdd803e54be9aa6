"""Audit entries as syslog: RFC 5424 with structured data, over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425).

Syslog has no acknowledgement. Over TCP and TLS each batch has a connection of its own, which Driftline ends: a receiver
that then closes its side has read all of it, while one that died, or closes with bytes that it did not read, resets the
connection. UDP says nothing of the kind.
"""

import json
import os
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from driftline.base.periods import rfc3339
from driftline.operations.audit_export.receivers import NotReceived, TlsFiles
from driftline.operations.audit_export.records import AuditRecord
from driftline.operations.audit_export.tls_stream import TlsStream

FACILITY_LOG_AUDIT, SEVERITY_NOTICE = 13, 5
STRUCTURED_DATA_ID = "driftline@32473"
"""With the number that RFC 5612 reserves for those who have none of their own."""
MAX_MESSAGE_ID = 32
MAX_DATAGRAM_BYTES = 60_000
CONNECT_SECONDS = 5.0
SEND_SECONDS = 30.0
_READ_BYTES, _MAX_READS = 4096, 64  # of what a receiver says, which means nothing


# -- the message -------------------------------------------------------------------------------------------------------
def format_message(record: AuditRecord, *, host: str, max_bytes: int | None = None) -> bytes:
    """Write one entry as a message of RFC 5424, in ASCII but for the values of the structured data, which are UTF-8.

    The text is a JSON object of all fields. A message of more than `max_bytes` has no changes, and says so in the
    field `changes_omitted`.
    """
    fields = record.texts()
    header = " ".join(
        (
            f"<{FACILITY_LOG_AUDIT * 8 + SEVERITY_NOTICE}>1",
            rfc3339(record.at),
            _header_field(host, 255),
            "driftline",
            "-",
            _header_field(record.action, MAX_MESSAGE_ID),
        )
    )
    data = " ".join(f'{name}="{_parameter(text)}"' for name, text in fields.items() if name != "at")
    start = f"{header} [{STRUCTURED_DATA_ID} {data}] ".encode()
    message = start + json.dumps({**fields, "changes": json.loads(record.changes)}).encode()
    if max_bytes is None or len(message) <= max_bytes:
        return message
    return start + json.dumps({**fields, "changes_omitted": True}).encode()


def _header_field(text: str, length: int) -> str:
    """Return text as a field of the header: visible ASCII without spaces, `-` for nothing."""
    return "".join(character if "!" <= character <= "~" else "?" for character in text)[:length] or "-"


def _parameter(text: str) -> str:
    """Return text as a value of the structured data; what is no printable character would forge lines elsewhere."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


# -- the receiver ------------------------------------------------------------------------------------------------------
class SyslogReceiver:
    """A receiver at udp://host:port, tcp://host:port or tls://host:port."""

    def __init__(self, address: str, files: TlsFiles) -> None:
        parts = urlsplit(address)
        self.address = address
        self._scheme, self._files = parts.scheme, files
        self._host, self._port = parts.hostname or "", parts.port or 0

    def send(self, records: Sequence[AuditRecord]) -> None:
        """Send these, and wait until the receiver has read them, which UDP does not say; raises NotReceived."""
        try:
            if self._scheme == "udp":
                self._send_datagrams(records)
            else:
                self._send_stream(records)
        except OSError as error:  # of the network, of TLS, and of files
            raise NotReceived(f"{self.address}: {_reason(error)}") from error

    def _send_datagrams(self, records: Sequence[AuditRecord]) -> None:
        host = socket.gethostname()
        family, kind, protocol, _, target = socket.getaddrinfo(
            self._host, self._port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as sender:
            sender.settimeout(SEND_SECONDS)
            sender.connect(target)
            for record in records:
                sender.send(format_message(record, host=host, max_bytes=MAX_DATAGRAM_BYTES))

    def _send_stream(self, records: Sequence[AuditRecord]) -> None:
        host = socket.gethostname()
        messages = (format_message(record, host=host) for record in records)
        framed = b"".join(b"%d %s" % (len(message), message) for message in messages)
        with socket.create_connection((self._host, self._port), CONNECT_SECONDS) as plain:
            plain.settimeout(SEND_SECONDS)
            if self._scheme == "tcp":
                plain.sendall(framed)
                plain.shutdown(socket.SHUT_WR)
                _await_end(plain)
                return
            secure = TlsStream(plain, self._context(), self._host)
            secure.send(framed)
            secure.end()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._files.authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._files.certificate:
            context.load_cert_chain(self._files.certificate)
        return context


def _await_end(connection: socket.socket) -> None:
    """Wait until the other side has closed the connection in order; raises OSError where it resets it or is silent."""
    for _ in range(_MAX_READS):
        if not connection.recv(_READ_BYTES):
            return
    raise OSError("it sends data instead of ending the connection")


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return error.strerror or str(error) or os.strerror(error.errno or 0)
