"""Opens a connection to brokers that may be called."""

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from driftline.base.outbound.addresses import AddressBlocked
from inference.connectors.failure import ConnectorFailed
from inference.connectors.kafka.settings import (
    KafkaCluster,
    NameNotResolved,
    check_address,
    is_within_own_networks,
    split_broker,
)

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


def open_client[Client](
    kind: Callable[[dict[str, Any]], Client],
    settings: KafkaCluster,
    secret: str,
    configuration: dict[str, Any],
) -> Client:
    """Open a client of a cluster whose brokers, as its settings name them, may be called; raises ConnectorFailed."""
    _check_brokers([split_broker(broker, "/settings/brokers") for broker in settings.brokers], settings)
    try:
        return kind(_client_configuration(settings, secret) | configuration)
    except (KafkaException, ValueError) as error:
        raise ConnectorFailed(describe_failure(error, settings)) from error


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
    """Refuse a cluster of which a broker is where this server must not call; raises ConnectorFailed."""
    try:
        brokers = client.list_topics(timeout=seconds).brokers.values()
    except KafkaException as error:
        raise ConnectorFailed(describe_failure(error, settings)) from error
    _check_brokers([(broker.host, broker.port) for broker in brokers], settings)


def _check_brokers(brokers: Iterable[tuple[str, int]], settings: KafkaCluster) -> None:
    """Raise ConnectorFailed where one of these must not be called, or has no address now by which to know."""
    for host, port in brokers:
        try:
            check_address(host, port, settings)
        except AddressBlocked as error:
            raise ConnectorFailed(f"The broker {host} must not be reached: {error}.") from error
        except NameNotResolved as error:
            raise ConnectorFailed(f"The name of the broker {host} does not resolve.") from error


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
