"""What is under way in a project and would change it: runs with their rollouts, and what features do."""

from collections.abc import Iterator

from driftline.base.accounts.models import Project
from driftline.base.feature import features
from monitors.workflows.models import ACTIVE_STATES, Run

MAX_LISTED = 50  # of a kind


def active_work(project: Project) -> list[str]:
    """List in words what is under way; empty where the project changes only by what people do."""
    return list(_active(project))


def _active(project: Project) -> Iterator[str]:
    runs = Run.objects.filter(model__project=project, state__in=ACTIVE_STATES).select_related("model")
    for run in runs.order_by("pk")[:MAX_LISTED]:
        yield str(run)
    for feature in features():
        yield from feature.active_work(project)
