"""Where a source reads in a cluster of Kafka, as people set it."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from driftline.base.errors import invalid
from driftline.base.outbound.targets import check_target
from inference.connectors.kafka.settings import KafkaCluster, check_cluster_settings

OWN_GROUP = re.compile("driftline-[0-9a-f]{16}")

type Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class KafkaSettings(KafkaCluster):
    """Where a source reads: topics of a cluster, and the registry of their schemas."""

    kind: Literal["kafka"] = "kafka"
    topics: list[Topic] = Field(min_length=1, max_length=50)
    group: str = Field(
        default="",
        max_length=200,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="of consumers; empty: one of its own, which is made with the source and kept",
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="where a partition is begun that was never read"
    )
    registry_url: str = Field(
        default="",
        max_length=300,
        description="of a schema registry, such as https://registry.example.com, for messages of Avro and Protobuf "
        "in Confluent's wire format; empty: messages are JSON",
    )
    registry_user: str = Field(
        default="",
        max_length=255,
        pattern=r"^[^:\x00-\x1f\x7f]*$",
        description="empty: its secret, if there is one, is a bearer token",
    )

    @property
    def has_own_group(self) -> bool:
        """Whether the group was made with the source, as none was named."""
        return OWN_GROUP.fullmatch(self.group) is not None

    def reads(self, partition: str) -> bool:
        """Return whether a partition is of a topic that is read, not of one that was before."""
        return partition.rpartition("/")[0] in self.topics

    def registry_address(self) -> tuple[Any, ...]:
        """Return what the stored secret of a registry belongs to."""
        return self.registry_url, self.registry_user


def check_kafka(settings: KafkaSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not call."""
    check_cluster_settings(settings)
    _check_registry(settings)


def _check_registry(settings: KafkaSettings) -> None:
    if settings.registry_url:
        target = check_target(settings.registry_url, "/settings/registry_url")
        if "?" in target.url or "#" in target.url:
            detail = "The URL of a registry ends before its paths, such as https://registry.example.com."
            raise invalid("/settings/registry_url", detail)
    elif settings.registry_user:
        raise invalid("/settings/registry_user", "A user of a registry needs registry_url.")
