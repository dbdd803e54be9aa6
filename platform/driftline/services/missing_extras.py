"""Which extras are missing that something stored in this installation needs."""

from collections.abc import Iterator

from driftline.common.extras import APPRISE, KAFKA, Extra, is_installed
from inference.prediction_log.sources.adapters import settings_of
from inference.prediction_log.sources.kinds import extra_of
from inference.prediction_log.sources.models import Source
from monitors.alerts.models import Channel
from monitors.sinks.models import Sink


def missing_extras() -> dict[Extra, list[str]]:
    """Return the extras that are needed and not installed, each with what needs it."""
    missing: dict[Extra, list[str]] = {}
    for extra, user in _needs():
        if not is_installed(extra):
            missing.setdefault(extra, []).append(user)
    return missing


def _needs() -> Iterator[tuple[Extra, str]]:
    for source in (
        Source.objects.filter(enabled=True).select_related("project").order_by("project__slug", "name")
    ):
        if extra := extra_of(settings_of(source)):
            yield extra, f"source {source.project.slug}/{source.name}"
    for sink in Sink.objects.select_related("project").order_by("project__slug"):
        yield KAFKA, f"sink of {sink.project.slug}"
    channels = Channel.objects.filter(kind="apprise", enabled=True, deleted_at=None).select_related("project")
    for channel in channels.order_by("project__slug", "name"):
        yield APPRISE, f"channel {channel.project.slug}/{channel.name}"
