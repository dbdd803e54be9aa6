"""What others provide to the alerts."""

from driftline.base.hooks import Hook
from monitors.rules.models import Transition


def _nothing(transition: Transition) -> list[str]:
    return []


describe_ongoing = Hook(_nothing)
"""Describes what is being done about a transition, a line each. `driftline.apps` provides it from `monitors.workflows`,
because alerts do not know workflows.
"""
