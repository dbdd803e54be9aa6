"""How often a request was forwarded on its way here: servers that name each other would forward it for ever."""

from collections.abc import Mapping

from inference.protocol.header_facts import read_number

HOPS = b"driftline-hops"
MAX_HOPS = 2  # so an edge may ask a centre that asks another product; two that name each other make one round


def read_hops(headers: Mapping[bytes, bytes]) -> int:
    """Read it from the headers of a request; raises InvalidRequest."""
    value = headers.get(HOPS)
    return 0 if value is None else read_number(HOPS, value)
