"""Projects take turns where background work of all of them waits: one with much to do delays nobody's little."""

from collections.abc import Mapping
from datetime import UTC, datetime

from django.db.models.functions import Now

from driftline.base.accounts.models import ProjectTurn

_NEVER = datetime.min.replace(tzinfo=UTC)


def in_turn(lane: str, waiting: Mapping[int, datetime], running: Mapping[int, int]) -> list[int]:
    """Order the projects of which work waits in a lane, the next one first.

    First come those of which the least is being worked on (`running`), then those that had no turn for longest, then
    those that have waited longest (`waiting`).
    """
    turns = dict(ProjectTurn.objects.filter(lane=lane, project__in=waiting).values_list("project_id", "at"))
    return sorted(
        waiting,
        key=lambda project: (
            running.get(project, 0), turns.get(project, _NEVER), waiting[project], project,
        ),
    )  # fmt: skip


def take_turn(lane: str, project_id: int) -> None:
    """Note that a project has its turn in a lane now."""
    ProjectTurn.objects.bulk_create(
        [ProjectTurn(project_id=project_id, lane=lane, at=Now())],
        update_conflicts=True,
        unique_fields=["project", "lane"],
        update_fields=["at"],
    )
