"""Ports of the loopback for servers that tests start."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """Find a port that nobody listens on, below those that systems hand out by themselves.

    One of those could be another test's outgoing connection by the time that the server wants it. The choice is
    no matter of the seed, which the workers of a run share.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
