"""Where a source of MQTT reads, as people set it; no client of MQTT is needed to check it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from driftline.base.errors import invalid
from inference.prediction_log.sources.servers import MessageServer, check_server

MAX_TOPICS_LENGTH = 280  # as one text, which names the position

type TopicFilter = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


class MqttSettings(MessageServer):
    """A broker, topics of it, and how to sign in; the secret is a password."""

    protocol: ClassVar[str] = "MQTT"

    kind: Literal["mqtt"] = "mqtt"
    server: str = Field(max_length=260, description="such as mqtt.example.com:8883")
    topics: list[TopicFilter] = Field(
        min_length=1, max_length=20, description="such as scores/+/loans or scores/#"
    )

    def partition(self) -> str:
        """Name what a position is of: other topics begin anew."""
        return " ".join(sorted(self.topics))


def check_mqtt(settings: MqttSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not call."""
    check_server(settings)
    for place, topic in enumerate(settings.topics):
        if not _is_filter(topic):
            detail = f"{topic!r} is no topic; + stands for one level, and # for all that follow, at the end."
            raise invalid(f"/settings/topics/{place}", detail)
    if len(settings.partition()) > MAX_TOPICS_LENGTH:
        detail = (
            f"The topics have more than {MAX_TOPICS_LENGTH} characters; use wildcards, or several sources."
        )
        raise invalid("/settings/topics", detail)


def _is_filter(topic: str) -> bool:
    *levels, last = topic.split("/")
    return all(level == "+" or not {*"+#"} & {*level} for level in levels) and (
        last in ("+", "#") or not {*"+#"} & {*last}
    )
