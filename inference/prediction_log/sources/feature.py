"""What sources add to the product."""

from collections.abc import Iterator

from driftline.base.extras import Extra
from driftline.base.feature import PageLink, ProductFeature
from inference.prediction_log.queries.hooks import find_lag
from inference.prediction_log.sources.api import router
from inference.prediction_log.sources.configuration import SOURCES
from inference.prediction_log.sources.dead_letters import delete_expired
from inference.prediction_log.sources.health import METRICS
from inference.prediction_log.sources.kinds import extra_of
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import settings_of
from inference.prediction_log.sources.reading.beat import delete_dead_consumers
from inference.prediction_log.sources.reading.lag import lag_of
from inference.prediction_log.sources.reading.threads import consumers

find_lag.provide(lag_of)


def _needs() -> Iterator[tuple[Extra, str]]:
    enabled = Source.objects.filter(enabled=True).select_related("project")
    for source in enabled.order_by("project__slug", "name"):
        if extra := extra_of(settings_of(source)):
            yield extra, f"source {source.project.slug}/{source.name}"


FEATURE = ProductFeature(
    "sources",
    routers=[router],
    pages="inference.prediction_log.sources.pages.urls",
    objects=dict.fromkeys(("source", "source_delete", "dead_letters", "letters_discard"), Source),
    settings=[PageLink("sources", "Sources")],
    admin="inference.prediction_log.sources.pages.admin",
    configured_list=SOURCES,
    metrics=METRICS,
    needs=_needs,
    consumers=consumers(),
    tidy=[delete_expired, lambda _: delete_dead_consumers()],
)
