"""What is asked of a receiver of audit entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from driftline.operations.audit_export.records import AuditRecord


class NotReceived(Exception):
    """Nobody knows whether a receiver has all of what was sent; the text says why, for the operator."""


class Rejected(NotReceived):
    """A receiver answered that it does not take some of what was sent, or not so much at once."""


class SendsRecords(Protocol):
    """What speaks to one receiver."""

    address: str

    def send(self, records: Sequence[AuditRecord]) -> None:
        """Send these in their order, and return once the receiver has them; raises NotReceived, Rejected."""


@dataclass(frozen=True)
class TlsFiles:
    """The files by which a receiver and this installation know each other; they are read at every connection."""

    authorities: str | None
    """A PEM file; None: those that the system trusts."""
    certificate: str | None
    """A PEM file with this installation's certificate and its key; None: it shows none."""
