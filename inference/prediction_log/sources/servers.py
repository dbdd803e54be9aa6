"""One server that a source reads from, as people set it: where it is, how it is called, and who signs in."""

from collections.abc import Set
from typing import Any, ClassVar, Literal

from pydantic import Field

from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.outbound.addresses import Address, AddressBlocked, resolve
from driftline.base.outbound.targets import PORTS_OF_OTHER_SERVICES, outbound_rules
from inference.connectors.kafka.settings import Pem, split_broker


class ServerSettings(Body):
    """What settings of kinds with one server share."""

    protocol: ClassVar[str]
    """How what it speaks is called in sentences."""
    own_ports: ClassVar[Set[int]] = frozenset({443})
    """Those that it may have although they are system ports, or ports of other services."""
    field: ClassVar[str] = "server"
    """Which setting says where it is."""

    tls: Literal["verify", "none"] = Field(
        default="verify", description="none is for networks of DRIFTLINE_OUTBOUND_ALLOW alone"
    )
    ca_certificate: Pem = Field(default="", description="PEM; empty: the system's authorities")

    @property
    def is_encrypted(self) -> bool:
        return self.tls == "verify"

    def host_and_port(self) -> tuple[str, int]:
        """Return where the server is; raises AddressBlocked, or Problem (422)."""
        raise NotImplementedError

    def partition(self) -> str:
        """Name what a position is of."""
        raise NotImplementedError

    def reads(self, partition: str) -> bool:
        """Return whether a partition is what is read, not what was before the settings changed."""
        return partition == self.partition()

    def find_address(self) -> Address:
        """Return the address to connect to; raises AddressBlocked, or OSError where the name does not resolve."""
        host, port = self.host_and_port()
        if port not in self.own_ports and (port < 1024 or port in PORTS_OF_OTHER_SERVICES):
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


class MessageServer(ServerSettings):
    """What settings of kinds with one server of messages share; what they add names what is read there."""

    server: str = Field(max_length=260, description="host:port")
    user: str = Field(default="", max_length=255)

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to: it is never sent anywhere else."""
        return self.server, self.user, self.tls, self.ca_certificate

    def host_and_port(self) -> tuple[str, int]:
        """Return where the server is; raises Problem (422)."""
        return split_broker(self.server, "/settings/server")


def check_server(settings: ServerSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not call."""
    try:
        settings.find_address()
    except AddressBlocked as error:
        detail = f"{getattr(settings, settings.field)} must not be reached: {error}."
        raise invalid(f"/settings/{settings.field}", detail, "address_not_allowed") from error
    except (OSError, UnicodeError):
        pass  # the name may resolve later, and is checked again before the server is called
    if settings.ca_certificate and not settings.is_encrypted:
        raise invalid("/settings/ca_certificate", "An authority's certificate belongs to TLS.")
