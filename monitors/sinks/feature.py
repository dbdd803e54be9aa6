"""What the sink adds to the product."""

from collections.abc import Iterator
from threading import Event
from typing import Any

from driftline.base.accounts.models import Project
from driftline.base.extras import KAFKA, Extra
from driftline.base.feature import ConfiguredPart, FeatureConsumer, PageLink, ProductFeature
from monitors.metrics.hooks import note_stored
from monitors.sinks.api import router
from monitors.sinks.health import METRICS, findings
from monitors.sinks.models import Sink
from monitors.sinks.selectors import MAX_SINKS_SENT, find_sink, sinks_to_send
from monitors.sinks.services import describe_sink, set_sink, stop_sink
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams import points

note_stored.provide(points.note_stored)


def _needs() -> Iterator[tuple[Extra, str]]:
    for sink in Sink.objects.select_related("project").order_by("project__slug"):
        yield KAFKA, f"sink of {sink.project.slug}"


def _send(sink_id: int, stop: Event) -> None:
    from monitors.sinks.sending import SinkSender  # Kafka's library is loaded where it is used

    SinkSender(sink_id, stop).run()


def _describe(project: Project) -> dict[str, Any] | None:
    sink = find_sink(project=project)
    return describe_sink(sink) if sink else None


def _set_up(project: Project, settings: SinkSettings, actor: str) -> None:
    set_sink(project=project, settings=settings, actor=actor)


def _stop(project: Project, actor: str) -> None:
    sink = find_sink(project=project)
    if sink is not None:
        stop_sink(sink=sink, confirm=project.slug, actor=actor)


FEATURE = ProductFeature(
    "sinks",
    routers=[router],
    pages="monitors.sinks.pages.urls",
    settings=[PageLink("sink", "Sink")],
    admin="monitors.sinks.pages.admin",
    consumers=[FeatureConsumer(lambda: sinks_to_send().values_list("pk", flat=True), _send, MAX_SINKS_SENT)],
    configured=ConfiguredPart("sink", SinkSettings, _describe, _set_up, _stop),
    metrics=METRICS,
    needs=_needs,
    findings=findings,
)
