"""What jobs may take of a serving installation."""

from msgspec import Struct

MAX_OPEN_JOBS = 1000


class JobLimits(Struct, frozen=True):
    """Bounds of the jobs of a home; a project may take half of `max_open`, with 0 there are none, and of `max_bytes`.

    For `deadline_seconds`, `keep_seconds` and `max_bytes` see DRIFTLINE_JOB_DEADLINE_SECONDS,
    DRIFTLINE_JOB_KEEP_SECONDS and DRIFTLINE_JOB_MAX_BYTES. `at_once` is what one process runs at a time, of one
    project half; a job that was begun `max_starts` times without an end has killed its processes, or may have.
    """

    deadline_seconds: float = 3600.0
    keep_seconds: float = 86_400.0
    max_bytes: int = 1 << 30
    max_open: int = MAX_OPEN_JOBS
    max_answer_bytes: int = 64 << 20
    at_once: int = 8
    max_starts: int = 3
