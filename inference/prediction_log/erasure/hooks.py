"""What later stages provide to erasures."""

from driftline.common.hooks import Hook
from inference.prediction_log.erasure.work import Step


def _no_steps() -> dict[str, Step]:
    return {}


list_later_steps = Hook(_no_steps)
"""Lists what is erased once the log is clean, by the names of the steps; `monitors.erasure` provides it."""
