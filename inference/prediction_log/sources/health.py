"""How sources do: what `manage.py doctor` and `/metrics` say of them."""

from collections.abc import Iterator

from driftline.base.accounts.models import Project
from driftline.base.feature import FeatureMetrics, Sample
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.selectors import statuses_of


def _samples(project: Project | None) -> Iterator[Sample]:
    """Yield how far behind each source is, and what of it could not be stored."""
    sources = Source.objects.select_related("project", "model").order_by("pk")
    found = list(sources if project is None else sources.filter(project=project))
    statuses = statuses_of(found)
    for source in found:
        names, status = [source.project.slug, source.name], statuses[source.pk]
        if status.lag_messages is not None:
            yield "driftline_source_lag_messages", names, status.lag_messages
        if status.lag_objects is not None:
            yield "driftline_source_lag_objects", names, status.lag_objects
        yield "driftline_source_dead_letters", names, status.dead_letters
        yield "driftline_source_consumers", names, status.consumers


METRICS = FeatureMetrics(
    {
        "driftline_source_lag_messages": (
            "Messages of a source behind those that are stored, as its broker last said.",
            ("project", "source"),
        ),
        "driftline_source_lag_objects": (
            "Objects of a source that are not read yet, as its last pass over the listing found.",
            ("project", "source"),
        ),
        "driftline_source_dead_letters": (
            "Messages of a source that could not be stored.",
            ("project", "source"),
        ),
        "driftline_source_consumers": ("Processes that read a source at present.", ("project", "source")),
    },
    _samples,
)
