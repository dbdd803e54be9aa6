"""How tests wait for what another process or thread does: by looking, up to a deadline no busy machine reaches."""

import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 60.0


def wait_until[T](
    condition: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS, what: str = "what was awaited"
) -> T:
    """Poll until `condition` gives something true, and give that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s {what} had not happened"
        time.sleep(0.02)
    return found


def is_running(pid: int) -> bool:
    """Tell whether a process runs; a zombie that waits for its parent has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
