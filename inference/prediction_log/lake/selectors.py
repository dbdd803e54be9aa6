"""Reads of a lake: what is in it and what is still to be written."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Count, Max, Min, Q, Sum
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from inference.prediction_log.lake.models import Lake, LakeFile, LakeFiles
from inference.registry.models import Model


@dataclass(frozen=True)
class LakeContent:
    """What a lake holds, of one model or of all.

    `due` files could be written now; `failed` ones are not tried again.
    """

    files: int = 0
    rows_written: int = 0
    bytes_written: int = 0
    rows_unreadable: int = 0
    newest_day: date | None = None
    last_written_at: datetime | None = None
    waiting: int = 0
    due: int = 0
    oldest_due: date | None = None
    failed: int = 0

    @property
    def later(self) -> int:
        """How many files wait for their time."""
        return self.waiting - self.due


def find_lake(*, project: Project) -> Lake | None:
    """Return the lake of a project, or None."""
    return Lake.objects.filter(project=project).select_related("project").first()


def files_of(project: Project) -> LakeFiles:
    """Select the files of a project's lake, those that are still to be written too."""
    return LakeFile.objects.filter(model__project=project).select_related("model")


def content_of(project: Project) -> LakeContent:
    """Return what the lake of a project holds."""
    return LakeContent(**files_of(project).aggregate(**_TOTALS))


def content_of_models(project: Project) -> list[tuple[Model, LakeContent]]:
    """Return what the lake holds of each of a project's models, by their names."""
    files = files_of(project).order_by().values("model").annotate(**_TOTALS)
    contents = {
        row["model"]: LakeContent(**{name: row[name] for name in _TOTALS})  # type: ignore[literal-required]
        for row in files
    }
    models = Model.objects.filter(project=project).order_by("name")
    return [(model, contents.get(model.pk, LakeContent())) for model in models]


def content_of_model(model: Model) -> LakeContent:
    """Return what the lake holds of one model."""
    return LakeContent(**LakeFile.objects.filter(model=model).aggregate(**_TOTALS))


def count_due_files() -> dict[int, int]:
    """Count the files that could be written now, by the keys of the projects that have some."""
    due = LakeFile.objects.filter(_DUE).order_by().values_list("model__project")
    return dict(due.annotate(Count("pk")))


_WRITTEN = Q(written_at__isnull=False)
_DUE = Q(state=LakeFile.State.WAITING, due_at__lte=Now())
_TOTALS = {
    "files": Count("pk", filter=_WRITTEN),
    "rows_written": Sum("rows", default=0),
    "bytes_written": Sum("size_bytes", default=0),
    "rows_unreadable": Sum("unreadable_rows", default=0),
    "newest_day": Max("day", filter=_WRITTEN),
    "last_written_at": Max("written_at"),
    "waiting": Count("pk", filter=Q(state=LakeFile.State.WAITING)),
    "due": Count("pk", filter=_DUE),
    "oldest_due": Min("day", filter=_DUE),
    "failed": Count("pk", filter=Q(state=LakeFile.State.FAILED)),
}
"""The fields of LakeContent."""
