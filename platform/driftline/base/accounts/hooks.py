"""What later stages provide to accounts."""

from typing import TYPE_CHECKING

from driftline.base.hooks import Hook

if TYPE_CHECKING:
    from driftline.base.accounts.models import Project


def _nothing(project: "Project") -> list[str]:
    return []


list_active_work = Hook(_nothing)
"""Lists in words what changes a project by itself right now, such as a run; the monitors provide it."""
