"""Who sends a request, as the wire tells it; nothing of it is looked up or believed yet."""

from collections.abc import Sequence

from msgspec import Struct

from driftline.base.http.networks import Network, client_address


class InferenceCaller(Struct, frozen=True):
    """The line of a token, the address that the connection comes from, and the value of X-Forwarded-For.

    `lacks_certificate` is true where this server wants clients to show a certificate and the connection came without.
    """

    authorization: bytes = b""
    peer: str = ""
    forwarded_for: bytes = b""
    lacks_certificate: bool = False

    def address(self, trusted_proxies: Sequence[Network]) -> str:
        """Return the caller's address, behind the proxies that are trusted."""
        forwarded_for = self.forwarded_for.decode("latin-1")
        return client_address(peer=self.peer, forwarded_for=forwarded_for, trusted_proxies=trusted_proxies)


LACKS_CERTIFICATE = "driftline.lacks_certificate"
"""Where an ASGI scope says it, as a bool."""

UNKNOWN_CALLER = InferenceCaller()
