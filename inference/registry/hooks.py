"""What later stages provide to the registry."""

from driftline.common.hooks import Hook
from inference.serving.plan import PlanCallback


def _no_callbacks() -> list[PlanCallback]:
    return []


list_callbacks = Hook(_no_callbacks)
"""Lists the callbacks of all projects; `monitors.alerts` provides it, because the registry does not know channels."""
