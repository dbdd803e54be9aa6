"""Reads of sinks: which there are, and how each of their streams stands."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.keys.secrets_at_rest import decrypt
from monitors.sinks.models import Sink, SinkStream, StreamKind
from monitors.sinks.settings import SinkSettings

MAX_SINKS_SENT = 20
"""By one process; each takes a thread and a connection to the database."""
RATE_HOLDS = timedelta(seconds=30)
"""Nobody sends any more where the rate was not measured for so long."""


@dataclass(frozen=True)
class StreamStatus:
    """How one stream stands: rows that wait and for how long, and how many a second are sent."""

    kind: StreamKind
    topic: str
    waiting: int
    behind_seconds: float
    rows_per_second: float
    sent: int
    lost: int
    sent_at: datetime | None


def find_sink(*, project: Project) -> Sink | None:
    """Return the sink of a project, or None."""
    return Sink.objects.filter(project=project).select_related("project").first()


def sinks_to_send() -> QuerySet[Sink]:
    """Select the sinks of every project to which no process sends."""
    return Sink.objects.filter(Q(sender=None) | Q(sender_until__lt=Now())).order_by("pk")


def settings_of(sink: Sink) -> SinkSettings:
    """Return the settings of a sink as a typed document."""
    return SinkSettings.model_validate(sink.settings)


def secret_of(sink: Sink) -> str:
    """Return the secret of a sink; empty where none is set. Raises SecretUnreadable."""
    return decrypt(sink.secret) if sink.secret else ""


def streams_of(sink: Sink) -> list[SinkStream]:
    """List the streams of a sink in the order in which they are shown and sent."""
    places = {kind: place for place, kind in enumerate(StreamKind.values)}
    found = SinkStream.objects.filter(sink=sink).select_related("sink__project")
    return sorted(found, key=lambda stream: places[stream.kind])
