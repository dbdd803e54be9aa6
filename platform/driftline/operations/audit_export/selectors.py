"""How far each receiver of audit entries is."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from driftline.base.accounts.audit.chain import oldest_unsealed
from driftline.base.accounts.models import AuditEntry, AuditExport
from driftline.operations.audit_export.configured import configured_receivers


@dataclass(frozen=True)
class ExportStatus:
    """How one receiver stands: entries that it does not have yet, and for how long the oldest of them has waited."""

    receiver: str
    address: str
    waiting: int
    behind_seconds: float
    position: int
    sent: int
    sent_at: datetime | None
    error: str
    failing_since: datetime | None


def export_statuses(*, now: datetime) -> list[ExportStatus]:
    """List how each receiver that the settings name stands; entries without a place in the chain yet wait too."""
    stored = {row.receiver: row for row in AuditExport.objects.all()}
    return [
        _status_of(stored.get(kind) or AuditExport(receiver=kind), receiver.address, now)
        for kind, receiver in configured_receivers().items()
    ]


def _status_of(row: AuditExport, address: str, now: datetime) -> ExportStatus:
    newest = AuditEntry.objects.aggregate(number=Max("number"))["number"] or 0
    following = AuditEntry.objects.filter(number__gt=row.position).order_by("number")
    times = [following.values_list("at", flat=True).first(), oldest_unsealed()]
    oldest = min((at for at in times if at is not None), default=None)
    return ExportStatus(
        receiver=row.receiver,
        address=address,
        waiting=max(newest - row.position, 0) + AuditEntry.objects.filter(number=None).count(),
        behind_seconds=max((now - oldest).total_seconds(), 0.0) if oldest else 0.0,
        position=row.position,
        sent=row.sent,
        sent_at=row.sent_at,
        error=row.error,
        failing_since=row.failing_since,
    )
