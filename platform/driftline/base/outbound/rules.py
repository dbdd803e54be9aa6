"""What the operator says of calls to other servers."""

from msgspec import Struct


class OutboundRules(Struct, frozen=True):
    """`allowed` are networks that may be called although private, and without TLS.

    `own_ports` are those on which this server answers on loopback: it must not call itself.
    """

    allowed: list[str] = []
    own_ports: list[int] = []


NO_RULES = OutboundRules()
