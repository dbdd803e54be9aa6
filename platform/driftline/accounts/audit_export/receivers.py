"""Where audit entries are sent: the receivers that the settings name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from django.conf import settings

from driftline.accounts.audit_export.records import AuditRecord
from driftline.accounts.models import AuditReceiver


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


def configured_receivers() -> dict[AuditReceiver, SendsRecords]:
    """Return what speaks to each receiver that the settings name."""
    from driftline.accounts.audit_export.otlp import OtlpReceiver  # loads Protocol Buffers
    from driftline.accounts.audit_export.syslog import SyslogReceiver

    authorities, certificate = settings.AUDIT_EXPORT_CA, settings.AUDIT_EXPORT_CERTIFICATE
    files = TlsFiles(*(str(one) if one else None for one in (authorities, certificate)))
    receivers: dict[AuditReceiver, SendsRecords] = {}
    if settings.AUDIT_SYSLOG:
        receivers[AuditReceiver.SYSLOG] = SyslogReceiver(settings.AUDIT_SYSLOG, files)
    if settings.AUDIT_OTLP:
        receivers[AuditReceiver.OTLP] = OtlpReceiver(
            settings.AUDIT_OTLP, files, headers_file=settings.AUDIT_OTLP_HEADERS_FILE
        )
    return receivers
