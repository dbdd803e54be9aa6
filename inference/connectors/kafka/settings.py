"""A cluster of Kafka, as people set it; no Kafka library is needed to check it."""

import re
from typing import Annotated, Any, Literal

from django.db.models import TextChoices
from pydantic import AfterValidator, Field

from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.outbound.addresses import AddressBlocked, resolve
from driftline.base.outbound.targets import PORTS_OF_OTHER_SERVICES, outbound_rules

MAX_PEM_BYTES = 64 << 10
KAFKA_PORT = 9092
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def _plain_lines(text: str) -> str:
    """Return PEM as files and forms alike have it: forms end lines otherwise, and lose the last line break.

    A secret belongs to the certificate by which its server is known, so it may not change by being looked at.
    """
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


type Pem = Annotated[str, Field(max_length=MAX_PEM_BYTES), AfterValidator(_plain_lines)]
type Broker = Annotated[str, Field(max_length=260)]


class NameNotResolved(Exception):
    """The name of a broker has no address at present, so nobody knows whether it may be called."""


class Security(TextChoices):
    """How a connection is protected; the operator's own networks alone may be reached without TLS."""

    PLAINTEXT = "plaintext", "None"
    TLS = "tls", "TLS"
    SASL_PLAINTEXT = "sasl_plaintext", "User and password, without TLS"
    SASL_TLS = "sasl_tls", "TLS, user and password"


class KafkaCluster(Body):
    """Brokers, and how to sign in; the password, or the key of the client's certificate, is the secret."""

    brokers: list[Broker] = Field(min_length=1, max_length=20, description="such as kafka.example.com:9093")
    security: Literal["plaintext", "tls", "sasl_plaintext", "sasl_tls"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str = Field(default="", max_length=255)
    ca_certificate: Pem = Field(default="", description="PEM; empty: the system's authorities")
    client_certificate: Pem = Field(default="", description="PEM, for mutual TLS")

    @property
    def is_encrypted(self) -> bool:
        return self.security in (Security.TLS, Security.SASL_TLS)

    @property
    def has_password(self) -> bool:
        return self.security in (Security.SASL_PLAINTEXT, Security.SASL_TLS)

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to: it is never sent anywhere else."""
        return sorted(self.brokers), self.security, self.user, self.mechanism


def check_cluster_settings(settings: KafkaCluster) -> None:
    """Raise Problem (422) where the brokers of a cluster could never be called as these settings say."""
    for place, broker in enumerate(settings.brokers):
        host, port = split_broker(broker, f"/settings/brokers/{place}")
        try:
            check_address(host, port, settings)
        except AddressBlocked as error:
            detail = f"{host} must not be reached: {error}."
            raise invalid(f"/settings/brokers/{place}", detail, "address_not_allowed") from error
        except NameNotResolved:
            continue  # it may later, and is checked again before the broker is called
    if settings.has_password != bool(settings.user):
        detail = "A user belongs to sasl_plaintext and sasl_tls, which need one."
        raise invalid("/settings/user", detail)
    if settings.client_certificate and (not settings.is_encrypted or settings.has_password):
        detail = "A client's certificate belongs to tls; sign in with it or with a password."
        raise invalid("/settings/client_certificate", detail)


def split_broker(broker: str, pointer: str) -> tuple[str, int]:
    """Return host and port of a broker; raises Problem (422) at `pointer`."""
    match = _BROKER.fullmatch(broker)
    port = int(match[2]) if match else 0
    if match is None or not 0 < port < 65536:
        raise invalid(
            pointer, f"{broker[:64]!r} is no broker; use host:port, such as kafka.example.com:9093."
        )
    return match[1].strip("[]"), port


def check_address(host: str, port: int, settings: KafkaCluster) -> None:
    """Raise AddressBlocked where a broker must not be called, and NameNotResolved where it has no address now."""
    if (port < 1024 and port != 443) or port in PORTS_OF_OTHER_SERVICES - {KAFKA_PORT}:
        raise AddressBlocked(f"port {port} is not one of Kafka")
    try:
        resolve(host, port, encrypted=settings.is_encrypted, rules=outbound_rules())
    except (OSError, UnicodeError) as error:
        raise NameNotResolved(host) from error


def is_within_own_networks(settings: KafkaCluster) -> bool:
    """Return whether every broker is where the operator lets people look, so that they may see why it fails."""
    plain = settings.model_copy(update={"security": Security.PLAINTEXT.value})
    try:
        for broker in settings.brokers:
            check_address(*split_broker(broker, "/settings/brokers"), plain)
    except (AddressBlocked, NameNotResolved):
        return False
    return True
