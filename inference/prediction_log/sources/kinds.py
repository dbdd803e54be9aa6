"""The kinds of sources: the settings of each, by which they are distinguished, and how these are checked."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag, TypeAdapter

from driftline.base.extras import KAFKA, MQTT, NATS, SQL, Extra, require
from driftline.base.http.bodies import TAG_MARK
from inference.prediction_log.sources.kafka.settings import KafkaSettings, check_kafka
from inference.prediction_log.sources.mqtt.settings import MqttSettings, check_mqtt
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.objects.settings import ObjectsSettings, check_objects
from inference.prediction_log.sources.servers import check_server
from inference.prediction_log.sources.sql.settings import SqlSettings, check_sql


def _tag_of(settings: Any) -> str:
    """Return the tag of settings; those without a kind are of Kafka, which was the first."""
    kind = settings.get("kind", "kafka") if isinstance(settings, dict) else getattr(settings, "kind", "")
    return f"{TAG_MARK}{kind}"


type SourceSettings = Annotated[
    Annotated[KafkaSettings, Tag(f"{TAG_MARK}kafka")]
    | Annotated[ObjectsSettings, Tag(f"{TAG_MARK}objects")]
    | Annotated[SqlSettings, Tag(f"{TAG_MARK}sql")]
    | Annotated[NatsSettings, Tag(f"{TAG_MARK}nats")]
    | Annotated[MqttSettings, Tag(f"{TAG_MARK}mqtt")],
    Discriminator(
        _tag_of,
        custom_error_type="unknown_kind",
        custom_error_message="The kind of a source is kafka, objects, sql, nats or mqtt",
    ),
]

type _AnySettings = KafkaSettings | ObjectsSettings | SqlSettings | NatsSettings | MqttSettings

_reader: TypeAdapter[_AnySettings] = TypeAdapter(SourceSettings)


def read_settings(document: dict[str, Any]) -> _AnySettings:
    """Return a document as the settings of its kind; raises ValidationError."""
    return _reader.validate_python(document)


def check_settings(settings: SourceSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not read."""
    if isinstance(settings, KafkaSettings):
        check_kafka(settings)
    elif isinstance(settings, ObjectsSettings):
        check_objects(settings)
    elif isinstance(settings, NatsSettings):
        check_server(settings)
    elif isinstance(settings, MqttSettings):
        check_mqtt(settings)
    else:
        check_sql(settings)


def extra_of(settings: SourceSettings) -> Extra | None:
    """Return the extra without which a source of these settings is not read."""
    if isinstance(settings, SqlSettings):
        return SQL if settings.engine == "mysql" else None
    return {"kafka": KAFKA, "nats": NATS, "mqtt": MQTT}.get(settings.kind)


def require_extra(settings: SourceSettings) -> None:
    """Raise ExtraMissing (501) where the packages that read a source are not installed."""
    if extra := extra_of(settings):
        require(extra)


def has_same_registry(settings: SourceSettings, others: SourceSettings) -> bool:
    """Return whether two sources ask one schema registry as one user, so that a stored secret may go there."""
    if isinstance(settings, KafkaSettings) and isinstance(others, KafkaSettings):
        return settings.registry_address() == others.registry_address()
    return False
