"""One server that keeps messages, as people set it: where it is, how it is called, and who signs in."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from driftline.common.bodies import Body
from driftline.common.errors import invalid
from driftline.common.outbound.addresses import Address, AddressBlocked, resolve
from driftline.common.outbound.targets import PORTS_OF_OTHER_SERVICES, outbound_rules
from inference.prediction_log.sources.kafka.settings import MAX_PEM_BYTES, split_broker


class MessageServer(Body):
    """What settings of kinds with one server share; what they add names what is read there."""

    protocol: ClassVar[str]
    """How the protocol is called in sentences."""

    server: str = Field(max_length=260, description="host:port")
    tls: Literal["verify", "none"] = Field(
        default="verify", description="none is for networks of DRIFTLINE_OUTBOUND_ALLOW alone"
    )
    user: str = Field(default="", max_length=255)
    ca_certificate: str = Field(
        default="", max_length=MAX_PEM_BYTES, description="PEM; empty: the system's authorities"
    )

    @property
    def is_encrypted(self) -> bool:
        return self.tls == "verify"

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to: it is never sent anywhere else."""
        return self.server, self.user, self.tls, self.ca_certificate

    def host_and_port(self) -> tuple[str, int]:
        """Return where the server is; raises Problem (422)."""
        return split_broker(self.server, "/settings/server")

    def find_address(self) -> Address:
        """Return the address to connect to; raises AddressBlocked, or OSError where the name does not resolve."""
        host, port = self.host_and_port()
        if (port < 1024 and port != 443) or port in PORTS_OF_OTHER_SERVICES:
            raise AddressBlocked(f"port {port} is not one of {self.protocol}")
        return resolve(host, port, encrypted=self.is_encrypted, rules=outbound_rules())

    @property
    def is_within_own_networks(self) -> bool:
        """Whether the server is where the operator lets people look, so that they may see why it fails."""
        try:
            self.model_copy(update={"tls": "none"}).find_address()
        except (AddressBlocked, OSError, UnicodeError):
            return False
        return True


def check_server(settings: MessageServer) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not call."""
    host, _ = settings.host_and_port()
    try:
        settings.find_address()
    except AddressBlocked as error:
        raise invalid(
            "/settings/server", f"{host} must not be reached: {error}.", "address_not_allowed"
        ) from error
    except (OSError, UnicodeError):
        pass  # the name may resolve later, and is checked again before the server is called
    if settings.ca_certificate and not settings.is_encrypted:
        raise invalid("/settings/ca_certificate", "An authority's certificate belongs to TLS.")
