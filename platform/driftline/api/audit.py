"""The audit trail over HTTP, for reading."""

from django.conf import settings
from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF
from driftline.base.accounts.audit.schemas import AuditEntryOut
from driftline.base.accounts.audit.trail import JSON_LINES, AuditFilter, chain_state, export_file
from driftline.base.clock import now
from driftline.base.http.downloads import Download
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time, files

router = Router(tags=["audit"])


class AuditChainOut(ResponseBody, frozen=True):
    """Whether the hash chain holds, checked at most once in five minutes.

    `holds` is null where the chain is too long to check in a request; `manage.py verify_audit` does it then.
    """

    holds: bool | None
    newest_number: int
    checked_at: Time | None


@router.get("/audit", auth=Scoped(SCOPE_OF["audit"]), response=Page[AuditEntryOut])
def list_audit(
    request: HttpRequest,
    search: str = Query("", max_length=200, description="words that stand anywhere in an entry"),
    kind: str = Query(
        "", max_length=60, description="of the object: the first word of an action, such as rule"
    ),
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
    wanted = _filter(search, kind, action, actor, correlation, start, end)
    rows = wanted.entries(caller_of(request).project)
    return page(rows, AuditEntryOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/audit/export", auth=Scoped(SCOPE_OF["audit"]), openapi_extra=files(JSON_LINES))
def export_audit(
    request: HttpRequest,
    search: str = Query("", max_length=200),
    kind: str = Query("", max_length=60),
    action: str = Query("", max_length=60),
    actor: str = Query("", max_length=200),
    correlation: str = Query("", max_length=64),
    start: str = Query("", alias="from"),
    end: str = Query("", alias="to"),
) -> Download:
    """Download the entries that fit as JSON Lines, the oldest first; each time leaves an audit row."""
    caller = caller_of(request)
    wanted = _filter(search, kind, action, actor, correlation, start, end)
    return export_file(request, project=caller.project, wanted=wanted, actor=caller.actor)


@router.get("/audit/chain", auth=Scoped(SCOPE_OF["audit"]), response=AuditChainOut)
def read_chain(request: HttpRequest) -> AuditChainOut:
    """Return whether the hash chain over the installation's entries holds."""
    state = chain_state(settings.HOME, now=now())
    return AuditChainOut(holds=state.holds, newest_number=state.newest, checked_at=state.checked_at)


def _filter(
    search: str, kind: str, action: str, actor: str, correlation: str, start: str, end: str
) -> AuditFilter:
    texts = {
        "search": search, "kind": kind, "action": action, "actor": actor, "correlation": correlation,
        "from": start, "to": end,
    }  # fmt: skip
    return AuditFilter.of(texts, now=now())
