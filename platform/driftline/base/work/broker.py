"""How long anything waits for the broker, and which of its queues a worker reads first.

A broker that stands still must not stop those who only enqueue tasks.
"""

from collections.abc import Iterable
from typing import Any

QUICK_SECONDS = 1.0  # for a message that enqueues a task, which may get lost
PATIENT_SECONDS = 30.0  # for a worker, which has nothing to do without its broker


def transport_options(url: str, *, seconds: float) -> dict[str, Any]:
    """Return kombu's transport options for a broker, with an end to every wait on its socket."""
    if url.startswith("redis"):
        return {
            "visibility_timeout": 900,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry_on_timeout": False,
            "queue_order_strategy": f"{__name__}:ShortFirst",
        }
    reads = {"read_timeout": seconds} if seconds == QUICK_SECONDS else {}  # consumers have AMQP's heartbeats
    return {"confirm_publish": True, "write_timeout": seconds, **reads}


class ShortFirst:
    """The order in which a worker asks Valkey or Redis for messages: queues of short work first, the others in turn.

    Kombu calls it. RabbitMQ needs none: it sends each queue's next message in turn.
    """

    def __init__(self) -> None:
        self._names: list[str] = []

    def update(self, names: Iterable[str]) -> None:
        """Read these queues from now on."""
        self._names = list(names)

    def consume(self, n: int) -> list[str]:
        """Return the names of `n` queues, the one that is asked first at the start."""
        return sorted(self._names, key=lambda name: not name.endswith("-short"))[:n]

    def rotate(self, last_used: str) -> None:
        """Put the queue whose message was read behind the others."""
        self._names.sort(key=lambda name: name == last_used)
