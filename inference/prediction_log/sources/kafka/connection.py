"""Opens a connection to brokers that may be called, and reads what comes over it."""

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from driftline.base.outbound.addresses import AddressBlocked
from inference.prediction_log.sources.kafka.settings import (
    KafkaCluster,
    KafkaSettings,
    NameNotResolved,
    check_address,
    is_within_own_networks,
    split_broker,
)
from inference.prediction_log.sources.reading.messages import AdapterFailed, StreamMessage, plausible_time

MAX_BATCH_BYTES = 8 << 20
MAX_POLL_MS = 300_000  # a member that does not poll for so long loses its place in the group
MAX_AHEAD_KIB = 16 << 10  # that librdkafka reads ahead
STATISTICS_MS = 2_000
_PROTOCOLS = {
    "plaintext": "PLAINTEXT",
    "tls": "SSL",
    "sasl_plaintext": "SASL_PLAINTEXT",
    "sasl_tls": "SASL_SSL",
}
_UNREACHED = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
}


def open_consumer(
    settings: KafkaSettings,
    secret: str,
    group: str,
    *,
    on_error: Callable[[KafkaError], None],
    on_statistics: Callable[[str], None],
) -> Consumer:
    configuration: dict[str, Any] = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # a position outside the topic is said, never silently moved
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "allow.auto.create.topics": False,
        "session.timeout.ms": 6_000,  # brokers take no less
        "heartbeat.interval.ms": 2_000,
        "max.poll.interval.ms": MAX_POLL_MS,
        "queued.max.messages.kbytes": MAX_AHEAD_KIB,
        "fetch.max.bytes": MAX_BATCH_BYTES,
        "error_cb": on_error,
        "stats_cb": on_statistics,
    }
    return open_client(Consumer, settings, secret, configuration)


def open_client[Client](
    kind: Callable[[dict[str, Any]], Client],
    settings: KafkaCluster,
    secret: str,
    configuration: dict[str, Any],
) -> Client:
    """Make a client of a cluster that may be called, as far as its settings name the brokers; raises AdapterFailed."""
    _check_brokers([split_broker(broker, "/settings/brokers") for broker in settings.brokers], settings)
    try:
        return kind(_client_configuration(settings, secret) | configuration)
    except (KafkaException, ValueError) as error:
        raise AdapterFailed(describe_failure(error, settings)) from error


def _client_configuration(settings: KafkaCluster, secret: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.brokers),
        "client.id": "driftline",
        "statistics.interval.ms": STATISTICS_MS,
        "reconnect.backoff.max.ms": 5_000,
        "topic.metadata.refresh.interval.ms": 30_000,
        "log_level": 3,
        "security.protocol": _PROTOCOLS[settings.security],
    }
    if settings.has_password:
        found |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.user,
            "sasl.password": secret,
        }
    if settings.is_encrypted and settings.ca_certificate:
        found["ssl.ca.pem"] = settings.ca_certificate
    if settings.client_certificate:
        found |= {"ssl.certificate.pem": settings.client_certificate, "ssl.key.pem": secret}
    return found


def check_cluster(client: Consumer | Producer, settings: KafkaCluster, seconds: float) -> None:
    """Refuse a cluster of which a broker is where this server must not call; raises AdapterFailed."""
    try:
        brokers = client.list_topics(timeout=seconds).brokers.values()
    except KafkaException as error:
        raise AdapterFailed(describe_failure(error, settings)) from error
    _check_brokers([(broker.host, broker.port) for broker in brokers], settings)


def _check_brokers(brokers: Iterable[tuple[str, int]], settings: KafkaCluster) -> None:
    """Raise AdapterFailed where one of these must not be called, or has no address now by which to know."""
    for host, port in brokers:
        try:
            check_address(host, port, settings)
        except AddressBlocked as error:
            raise AdapterFailed(f"The broker {host} must not be reached: {error}.") from error
        except NameNotResolved as error:
            raise AdapterFailed(f"The name of the broker {host} does not resolve.") from error


def find_blocked(names: Iterable[str], settings: KafkaCluster) -> str:
    """Return why one of the brokers that the cluster names must not be called; empty where all may be."""
    for name in sorted(names):
        host, _, port = name.rpartition(":")  # an address of IPv6 comes without brackets here
        if not port.isdecimal():
            return f"The broker {name[:64]!r} has no address that can be read."
        try:
            check_address(host.strip("[]"), int(port), settings)
        except AddressBlocked as error:
            return f"The broker {host} must not be reached: {error}."
        except NameNotResolved:
            continue  # librdkafka cannot call it either, and the next tick asks again
    return ""


def describe_failure(error: Exception, settings: KafkaCluster) -> str:
    """Return what a failure says; of a stranger's network not whether a port is closed or silent."""
    cause = error.args[0] if error.args else error
    if isinstance(cause, KafkaError) and cause.code() in _UNREACHED and not is_within_own_networks(settings):
        return "The brokers do not answer."
    return cause.str() if isinstance(cause, KafkaError) else str(cause)


def message_of(read: KafkaMessage) -> StreamMessage:
    kind, milliseconds = read.timestamp()
    offset, headers = read.offset(), read.headers()
    assert offset is not None  # as of every message without an error
    return StreamMessage(
        partition=f"{read.topic()}/{read.partition()}",
        offset=offset,
        value=read.value(),
        key=read.key(),
        time_us=None if kind == TIMESTAMP_NOT_AVAILABLE else plausible_time(milliseconds * 1000),
        headers=_text_of(headers) if headers else {},
    )


def _text_of(headers: Any) -> dict[str, str]:
    return {name: (value or b"").decode(errors="replace") for name, value in headers}
