"""How the stream of each kind of source is opened.

A library such as Kafka's is imported when a stream is opened, so that only processes that read one load it.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from driftline.base.extras import describe_missing, is_installed
from driftline.base.keys.secrets_at_rest import decrypt_optional
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.kinds import SourceSettings, extra_of, read_settings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.mqtt.settings import MqttSettings
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.messages import Adapter, StreamMessage
from inference.prediction_log.sources.registry.faults import DECODING_CODES, WIRE_MARK

if TYPE_CHECKING:
    from inference.prediction_log.sources.registry.decoding import MessageDecoder

PREVIEW_SECONDS = 10.0


def open_adapter(source: Source) -> Adapter:
    """Open the stream of a source; raises ConnectorFailed and SecretUnreadable."""
    settings, secret = settings_of(source), secret_of(source)
    if reason := missing_packages(settings):
        raise ConnectorFailed(reason)
    if isinstance(settings, KafkaSettings):
        from inference.prediction_log.sources.kafka.adapter import KafkaAdapter

        adapter = KafkaAdapter(source.pk, settings, secret)
        return _decoding(adapter, settings, registry_secret_of(source)) if settings.registry_url else adapter
    if isinstance(settings, ObjectsSettings):
        from inference.prediction_log.sources.objects.adapter import ObjectsAdapter

        return ObjectsAdapter(source.pk, settings, secret)
    if isinstance(settings, NatsSettings):
        from inference.prediction_log.sources.nats.adapter import NatsAdapter

        return NatsAdapter(source.pk, settings, secret)
    if isinstance(settings, MqttSettings):
        from inference.prediction_log.sources.mqtt.adapter import MqttAdapter

        return MqttAdapter(source.pk, settings, secret, session=session_of(source))
    from inference.prediction_log.sources.sql.adapter import SqlAdapter

    return SqlAdapter(source.pk, settings, secret)


def import_adapter(source: Source) -> None:
    """Load what reads a source, so that processes forked from now on have it."""
    settings = settings_of(source)
    if not missing_packages(settings):
        import_module(f"inference.prediction_log.sources.{settings.kind}.adapter")


def missing_packages(settings: SourceSettings) -> str:
    """Return why a source cannot be read for want of packages, and the command that adds them; empty where it can."""
    extra = extra_of(settings)
    return "" if extra is None or is_installed(extra) else describe_missing(extra)


def _decoding(adapter: Adapter, settings: KafkaSettings, registry_secret: str) -> Adapter:
    from inference.prediction_log.sources.registry.decoding import DecodingAdapter

    return DecodingAdapter(adapter, _decoder(settings, registry_secret))


def _decoder(settings: KafkaSettings, registry_secret: str) -> "MessageDecoder":
    from inference.prediction_log.sources.registry.client import SchemaRegistry
    from inference.prediction_log.sources.registry.decoding import MessageDecoder

    return MessageDecoder(SchemaRegistry(settings.registry_url, settings.registry_user, registry_secret))


def decode_again(source: Source, messages: Sequence[StreamMessage]) -> list[StreamMessage]:
    """Decode those of these messages that were not decoded before, by the registry of now.

    Raises ConnectorFailed where it does not answer, and SecretUnreadable.
    """
    settings = settings_of(source)
    if not any(map(_is_undecoded, messages)):
        return [*messages]
    if isinstance(settings, KafkaSettings) and settings.registry_url:
        decode = _decoder(settings, registry_secret_of(source)).decode
    else:  # it has none any more, so they are read as they came
        decode = partial(msgspec.structs.replace, fault=None)
    return [decode(one) if _is_undecoded(one) else one for one in messages]


def _is_undecoded(message: StreamMessage) -> bool:
    """Return whether a message failed to be decoded, or came before its source had a registry: no JSON begins so."""
    has_failed = message.fault is not None and message.fault.code in DECODING_CODES
    return has_failed or (message.value or b"").startswith(WIRE_MARK)


def sample(
    settings: SourceSettings, secret: str, *, messages: int, registry_secret: str = ""
) -> list[StreamMessage]:
    """Read the newest messages of a stream, without taking any from its consumers; raises ConnectorFailed."""
    if isinstance(settings, KafkaSettings):
        from inference.prediction_log.sources.kafka.preview import sample_topics

        found = sample_topics(settings, secret, messages=messages, seconds=PREVIEW_SECONDS)
        if not settings.registry_url:
            return found
        decoder = _decoder(settings, registry_secret)
        return [decoder.decode(one) for one in found]
    if isinstance(settings, ObjectsSettings):
        from inference.prediction_log.sources.objects.preview import sample_objects

        return sample_objects(settings, secret, messages=messages, seconds=PREVIEW_SECONDS)
    if isinstance(settings, NatsSettings):
        from inference.prediction_log.sources.nats.adapter import sample_stream

        return sample_stream(settings, secret, messages=messages, seconds=PREVIEW_SECONDS)
    if isinstance(settings, MqttSettings):
        from inference.prediction_log.sources.mqtt.adapter import sample_topics as listen_to_topics

        return listen_to_topics(settings, secret, messages=messages, seconds=PREVIEW_SECONDS)
    from inference.prediction_log.sources.sql.adapter import sample_rows

    return sample_rows(settings, secret, messages=messages, seconds=PREVIEW_SECONDS)


def session_of(source: Source) -> str:
    """Name the session that a broker of MQTT keeps for a source: another installation's has another name."""
    made = hashlib.sha256(f"{source.pk} {source.created_at.isoformat()}".encode())
    return f"driftline-{made.hexdigest()[:16]}"


def settings_of(source: Source) -> SourceSettings:
    """Return the settings of a source as a typed document."""
    return read_settings(source.settings)


def mapping_of(source: Source) -> SourceMapping:
    """Return the mapping of a source as a typed document."""
    return SourceMapping.model_validate(source.mapping)


def secret_of(source: Source) -> str:
    """Return the secret of a source; empty where none is set. Raises SecretUnreadable."""
    return decrypt_optional(source.secret)


def registry_secret_of(source: Source) -> str:
    """Return the secret of a source's schema registry; empty where none is set. Raises SecretUnreadable."""
    return decrypt_optional(source.registry_secret)
