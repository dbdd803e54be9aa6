"""How long anything waits for the broker: a broker that stands still must not stop those who only enqueue tasks."""

from typing import Any

QUICK_SECONDS = 1.0  # for a message that enqueues a task, which may get lost
PATIENT_SECONDS = 30.0  # for a worker, which has nothing to do without its broker


def transport_options(url: str, *, seconds: float) -> dict[str, Any]:
    """Give kombu's transport options for a broker, with an end to every wait on its socket."""
    if url.startswith("redis"):
        return {
            "visibility_timeout": 900,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry_on_timeout": False,
        }
    reads = {"read_timeout": seconds} if seconds == QUICK_SECONDS else {}  # consumers have AMQP's heartbeats
    return {"confirm_publish": True, "write_timeout": seconds, **reads}
