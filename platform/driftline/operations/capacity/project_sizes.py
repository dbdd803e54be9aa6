"""What the projects with a quota of storage hold, measured every ten minutes; others are not looked at."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from django.db.models import F, QuerySet, Sum

from driftline.base.accounts.models import Project
from driftline.base.accounts.quotas import note_stored_bytes
from inference.prediction_log.models import PredictionChunk, size_of
from inference.registry.models import Version
from monitors.summaries.models import Summary


def measure_projects() -> None:
    """Note how many bytes each project with a quota of storage holds."""
    bounded = list(Project.objects.exclude(max_bytes=None).order_by("pk"))
    stored = stored_bytes_of([project.pk for project in bounded])
    for project in bounded:
        note_stored_bytes(project=project, stored_bytes=stored[project.pk])


def stored_bytes_of(projects: Collection[int]) -> Counter[int]:
    """Return the bytes of the logs, summaries and artifacts of projects by their ids, as `ModelSize` counts them."""
    logs = _by_project(PredictionChunk.objects.all(), projects, size_of("payload", "id_hashes", "labels"))
    summaries = _by_project(Summary.objects.all(), projects, size_of("payload", "blocks"))
    artifacts = _by_project(Version.objects.all(), projects, F("size"))
    return logs + summaries + artifacts


def _by_project(rows: QuerySet[Any], projects: Collection[int], size: Any) -> Counter[int]:
    of_projects = rows.filter(model__project__in=projects).order_by().values_list("model__project")
    return Counter(dict(of_projects.annotate(bytes=Sum(size))))
