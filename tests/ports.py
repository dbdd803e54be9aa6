"""Ports of the loopback for servers that tests start."""

import secrets
import socket
from contextlib import suppress

# Those of RabbitMQ, Redis and MongoDB, which Driftline calls for nobody (`driftline.base.outbound.targets`).
_OF_OTHER_SERVICES = frozenset({25672, 26379, 27017, 27018})
PORTS = [port for port in range(20_000, 32_000) if port not in _OF_OTHER_SERVICES]


def free_port() -> int:
    """Find a port that nobody listens on, below those that systems hand out by themselves.

    One of those could be another test's outgoing connection by the time that the server wants it. The choice is
    no matter of the seed, which the workers of a run share.
    """
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
