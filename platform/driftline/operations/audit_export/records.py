"""Audit entries as they are sent: plain values, and what each changed."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from driftline.base.accounts.audit.trail import all_changes_of
from driftline.base.accounts.models import AuditEntry
from driftline.base.periods import rfc3339


@dataclass(frozen=True)
class AuditRecord:
    """One entry of the chain; `hash` is SHA-256 of the hash before, the number and the digest."""

    id: int
    number: int
    hash: str
    digest: str
    at: datetime
    project: str
    actor: str
    action: str
    subject: str
    address: str
    token_id: int | None
    token: str
    correlation: str
    redacted: bool
    changes: str
    """A JSON list of objects with `field`, `before` and `after`, in ASCII."""

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Read an entry that is in the chain."""
        return cls(
            id=entry.pk,
            number=entry.number or 0,
            hash=entry.hash,
            digest=entry.digest,
            at=entry.at,
            project=entry.project_slug,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            address=entry.address,
            token_id=entry.token_id,
            token=entry.token_name,
            correlation=entry.correlation,
            redacted=entry.redaction_id is not None,
            changes=json.dumps([asdict(change) for change in all_changes_of(entry)]),
        )

    def texts(self) -> dict[str, str]:
        """Return what is not empty, except the changes, as text by name."""
        values: dict[str, Any] = {name: value for name, value in vars(self).items() if name != "changes"}
        values |= {"at": rfc3339(self.at), "redacted": "true" if self.redacted else ""}
        return {name: str(value) for name, value in values.items() if value not in ("", None)}
