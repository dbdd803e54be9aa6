"""The answers that a serving process owes when it ends at once, sent from another thread than its event loop's."""

import logging
import os
import socket
import stat
import time
from collections.abc import Iterable

from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.http.connection import HotProtocol, write_response
from inference.serving.refusals import overloaded
from inference.serving.responses import write_answer

UNREAD_BYTES = 1 << 20
_RESTARTING = overloaded("A model held up the server, which starts anew; ask again.", retry_s=2.0)
log = logging.getLogger(__name__)


def answer_all(connections: Iterable[object], plain_port: int | None) -> None:
    """Refuse all requests that wait: on these connections, and on others to the port, which is None under TLS."""
    known = {_answer(connection) for connection in connections if isinstance(connection, HotProtocol)}
    if plain_port is not None:
        for handle in set(map(int, os.listdir("/proc/self/fd"))) - known:
            _refuse(handle, plain_port)


def _answer(connection: HotProtocol) -> int:
    """Send what is owed on a connection, also to a request that has come and was not read yet; return its handle."""
    handle = -1
    try:
        handle = connection.transport.get_extra_info("socket").fileno()
        is_plain = connection.transport.get_extra_info("ssl_object") is None
        if is_plain:  # to others only their transport can write
            with socket.socket(fileno=os.dup(handle)) as client:
                if _read_all(client):
                    connection.arriving_since = connection.arriving_since or time.monotonic()
                client.send(connection.last_response(_RESTARTING), socket.MSG_DONTWAIT)
    except (OSError, ValueError, AttributeError, RuntimeError):  # it may close while this thread looks at it
        log.warning("a request that waited got no answer", exc_info=True)
    return handle


def _refuse(handle: int, port: int) -> None:
    """Answer what was accepted at the port in the turn in which the loop got stuck, and has no protocol yet."""
    try:
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            return
        with socket.socket(fileno=os.dup(handle)) as client:
            if _has_come_to(port, client) and _read_all(client):
                refusal = write_answer(OPEN_INFERENCE, _RESTARTING)
                client.send(write_response(refusal, b"", closing=True), socket.MSG_DONTWAIT)
    except OSError:  # of one that listens, or was closed meanwhile
        return


def _has_come_to(port: int, client: socket.socket) -> bool:
    """Return whether a socket is a connection to a port. Raises OSError for one that listens."""
    is_ip = client.family in (socket.AF_INET, socket.AF_INET6)
    return is_ip and bool(client.getpeername()) and client.getsockname()[1] == port


def _read_all(client: socket.socket) -> int:
    """Read what has come, so that closing the connection does not reset it; return the number of bytes."""
    size = 0
    try:
        while size < UNREAD_BYTES and (data := client.recv(65536, socket.MSG_DONTWAIT)):
            size += len(data)
    except BlockingIOError:
        pass
    return size
