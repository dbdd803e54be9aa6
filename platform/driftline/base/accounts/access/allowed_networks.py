"""From where a token may be used: networks in CIDR notation, parsed once.

This module imports no Django, because serving processes import it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from driftline.base.errors import FieldFault, Problem, invalid
from driftline.base.http.networks import Network, is_within, parse_address, parse_network, parse_networks

MAX_NETWORKS = 100


@dataclass(frozen=True)
class AllowedNetworks:
    """The networks of a token that is named by its prefix; there is at least one."""

    prefix: str
    networks: tuple[Network, ...]
    remedy: str = "an admin sets its allowed addresses on the tokens page"

    @classmethod
    def of(cls, prefix: str, stored: Iterable[str], **remedy: str) -> Self | None:
        """Parse what a token stores; None where it may be used from anywhere."""
        networks = parse_networks(tuple(stored))
        return cls(prefix, networks, **remedy) if networks else None

    def refuse(self, address: str) -> str | None:
        """Return why the token may not be used from an address; None where it may."""
        if is_within(parse_address(address), self.networks):
            return None
        return (
            f"The token {self.prefix}… may not be used from {address or 'an unknown address'}; {self.remedy}."
        )


def check_networks(texts: Iterable[str]) -> list[str]:
    """Return networks as they are stored, each once; raises Problem 422 that points to each wrong one."""
    networks, faults = list[str](), list[FieldFault]()
    for place, text in enumerate(texts):
        try:
            networks.append(str(parse_network(text)))
        except ValueError as error:
            faults.append(FieldFault(f"/allowed_networks/{place}", "invalid_parameter", str(error)))
    if faults:
        raise Problem(422, "invalid_parameter", " ".join(fault.detail for fault in faults), faults)
    unique = list(dict.fromkeys(networks))
    if len(unique) > MAX_NETWORKS:
        raise invalid(
            "/allowed_networks", f"{len(unique)} networks are too many; use at most {MAX_NETWORKS}."
        )
    return unique
