"""Where a sink sends, as people set it; no Kafka library is needed to check it."""

from typing import Annotated, Literal

from pydantic import Field

from driftline.base.errors import invalid
from inference.connectors.kafka.settings import KafkaCluster, check_cluster_settings
from monitors.sinks.models import StreamKind

type StreamName = Literal["predictions", "labels", "metrics", "events"]


class SinkSettings(KafkaCluster):
    """Brokers, how to sign in, what is sent, and how the names of the topics begin."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = Field(
        default="driftline.",
        description="of the topics: `driftline.` makes driftline.predictions, driftline.labels, driftline.metrics and "
        "driftline.events",
    )
    streams: list[StreamName] = Field(
        default=["predictions", "labels", "metrics", "events"],
        min_length=1,
        max_length=len(StreamKind),
        description="what is sent",
    )

    def topic(self, kind: str) -> str:
        """Return the topic of a stream."""
        return f"{self.prefix}{kind}"


def check_sink(settings: SinkSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not call."""
    check_cluster_settings(settings)
    if len(set(settings.streams)) < len(settings.streams):
        raise invalid("/settings/streams", "A stream is named twice; name each once.")
