"""What the process of one version may take."""

from msgspec import Struct


class IsolationLimits(Struct, frozen=True):
    """Bounds of the processes that run isolated versions.

    `memory_bytes` is what one may allocate beyond four times its model's file. A run still at work a second after
    `run_seconds` costs the process its life, and so does a load after `load_seconds` and one more for each 4 MiB. A
    process that ran nothing for `idle_seconds` is stopped until it is needed again, and so is the one unused for
    longest where there are more than `max_processes`, or where those of one serving process together hold more than
    `total_bytes`, which by default is half of the machine's memory, at least 4 GiB: then none is started either.
    """

    memory_bytes: int = 3 * 1024**3
    run_seconds: float = 30.0
    load_seconds: float = 30.0
    idle_seconds: float = 600.0
    max_processes: int = 64
    total_bytes: int | None = None
