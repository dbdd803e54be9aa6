"""What the API answers about the audit trail; an export writes the same, one entry a line."""

from typing import Any, Self

from driftline.base.accounts.models import AuditEntry
from driftline.base.http.responses import ResponseBody, Time


class NamedTokenOut(ResponseBody, frozen=True):
    """The token with which something was done."""

    id: int
    name: str


class AuditEntryOut(ResponseBody, frozen=True):
    """Who did what; `number` and `hash` are its place in the hash chain, null until it has one."""

    id: int
    at: Time
    actor: str
    action: str
    subject: str
    before: Any
    after: Any
    address: str | None
    token: NamedTokenOut | None
    correlation: str | None
    number: int | None
    hash: str | None
    redacted: bool

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        return cls(
            id=entry.pk,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            before=entry.before,
            after=entry.after,
            address=entry.address or None,
            token=None if entry.token_id is None else NamedTokenOut(id=entry.token_id, name=entry.token_name),
            correlation=entry.correlation or None,
            number=entry.number,
            hash=entry.hash or None,
            redacted=entry.redaction_id is not None,
        )
