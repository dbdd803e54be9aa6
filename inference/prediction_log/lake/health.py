"""How lakes do: what `manage.py doctor` and `/metrics` say of them."""

from collections.abc import Iterator

from django.db.models import Max

from driftline.base.accounts.models import Project
from driftline.base.feature import FeatureMetrics, Finding, Sample
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.lake.selectors import count_due_files, files_of
from inference.prediction_log.lake.stores.store import settings_of


def findings() -> Iterator[Finding]:
    """Yield how far each lake is written, or why it is not."""
    for lake in Lake.objects.select_related("project").order_by("project__slug"):
        subject = f"lake of {lake.project.slug}"
        if lake.failing_since is None:
            last = files_of(lake.project).aggregate(at=Max("written_at"))["at"]
            state = f"last written to {last:%Y-%m-%d %H:%M} UTC" if last else "nothing was written to it yet"
            yield Finding(subject, f"{settings_of(lake).location()}: {state}")
        else:
            text = f"not written to since {lake.failing_since:%Y-%m-%d %H:%M:%S} UTC: {lake.error}"
            yield Finding(
                subject, text, "Mend it, or stop it on Settings, Lake: retention keeps rows until then."
            )


def _samples(project: Project | None) -> Iterator[Sample]:
    """Yield what is still to be written to each lake, and since when one cannot be written to."""
    lakes, due = Lake.objects.select_related("project").order_by("pk"), count_due_files()
    for lake in lakes if project is None else lakes.filter(project=project):
        yield "driftline_lake_files_due", [lake.project.slug], due.get(lake.project_id, 0)
        if lake.failing_since is not None:
            since = lake.failing_since.timestamp()
            yield "driftline_lake_failing_since_timestamp_seconds", [lake.project.slug], since


METRICS = FeatureMetrics(
    {
        "driftline_lake_files_due": ("Files of a lake that could be written now.", ("project",)),
        "driftline_lake_failing_since_timestamp_seconds": (
            "Since when a lake cannot be written to; absent while it can. Retention keeps the rows meanwhile.",
            ("project",),
        ),
    },
    _samples,
)
