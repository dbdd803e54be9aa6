"""The audit trail over HTTP, for reading."""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query

from driftline.accounts.http_auth import Scoped, caller_of
from driftline.accounts.models import AuditEntry
from driftline.accounts.scopes import SCOPE_OF
from driftline.api.schemas import AuditEntryOut
from driftline.common.clock import now
from driftline.common.paging import PAGE_SIZE, page
from driftline.common.request_values import moment
from driftline.common.responses import Page

router = Router(tags=["audit"])


@router.get("/audit", auth=Scoped(SCOPE_OF["audit"]), response=Page[AuditEntryOut])
def list_audit(
    request: HttpRequest,
    action: str = Query("", max_length=60),
    actor: str = Query("", max_length=200),
    correlation: str = Query("", max_length=64, description="the id of a request, or run-<id>"),
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Page[AuditEntryOut]:
    """List who did what in the project, the newest first; `from` and `to` are RFC 3339 or a distance back such as -7d.

    `number` and `hash` are the entry's place in the hash chain over the whole installation, null until it has one.
    """
    entries = AuditEntry.objects.filter(project=caller_of(request).project)
    for name, value in (("action", action), ("actor", actor), ("correlation", correlation)):
        if value:
            entries = entries.filter(**{name: value})
    if start:
        entries = entries.filter(at__gte=moment("from", start, now=now()))
    if end:
        entries = entries.filter(at__lt=moment("to", end, now=now()))
    return page(entries, AuditEntryOut.of, by=("-pk",), cursor=cursor, limit=limit)
