"""What jobs may take of a serving installation."""

from msgspec import Struct


class JobLimits(Struct, frozen=True):
    """Bounds of the jobs of a home; a project may take half of `most_open` and of `most_bytes`.

    For `deadline_seconds`, `keep_seconds` and `most_bytes` see DRIFTLINE_JOB_DEADLINE_SECONDS,
    DRIFTLINE_JOB_KEEP_SECONDS and DRIFTLINE_JOB_MAX_BYTES. `at_once` is what one process runs at a time, of one
    project half; a job that was begun `most_starts` times without an end has killed its processes, or may have.
    """

    deadline_seconds: float = 3600.0
    keep_seconds: float = 86_400.0
    most_bytes: int = 1 << 30
    most_open: int = 1000
    most_answer_bytes: int = 64 << 20
    at_once: int = 8
    most_starts: int = 3
