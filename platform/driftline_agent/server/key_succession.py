"""Statements by which a key of the server names the next one: from that of its enrolment a device follows by itself.

A statement counts when the key that the device trusts has signed it, and its number is above that of the one before: so
nobody leads the device to a key that the server has not named, or back to an earlier one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from driftline_agent.server.identity import Identity
from driftline_agent.server.signatures import is_signed

HEADER = "Driftline-Signing-Key"
_STATEMENT = re.compile(r"driftline key succession ([1-9]\d{0,8}) ([A-Za-z0-9+/]{43}=)")


@dataclass(frozen=True)
class Statement:
    """One line of text, and its signature (base64)."""

    text: str
    signature: str


def follow(identity: Identity, statements: Iterable[Statement]) -> Identity:
    """Return the identity with the key to which statements lead; it is the same where they lead nowhere."""
    for one in statements:
        parts = _STATEMENT.fullmatch(one.text)
        if parts is None or int(parts[1]) <= identity.key_number:
            continue
        if is_signed(one.text, one.signature, identity.public_key):
            identity = replace(
                identity,
                public_key=parts[2],
                key_number=int(parts[1]),
                former_keys=(*identity.former_keys, identity.public_key),
            )
    return identity
