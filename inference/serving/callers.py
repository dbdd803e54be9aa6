"""Who sends a request, as the wire tells it; nothing of it is looked up or believed yet."""

from collections.abc import Sequence

from msgspec import Struct

from driftline.common.networks import Network, client_address


class InferenceCaller(Struct, frozen=True):
    """The line of a token, the address that the connection comes from, and the value of X-Forwarded-For."""

    authorization: bytes = b""
    peer: str = ""
    forwarded_for: bytes = b""

    def address(self, trusted_proxies: Sequence[Network]) -> str:
        """Return the caller's address, behind the proxies that are trusted."""
        forwarded_for = self.forwarded_for.decode("latin-1")
        return client_address(peer=self.peer, forwarded_for=forwarded_for, trusted_proxies=trusted_proxies)


UNKNOWN_CALLER = InferenceCaller()
