"""Erasures over HTTP."""

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from inference.prediction_log.erasure.schemas import ErasureOut
from inference.prediction_log.erasure.selectors import erasures_of, get_erasure
from inference.prediction_log.erasure.services import request_erasure

router = Router(tags=["privacy"])


@router.delete("/subjects/{path:key}", auth=Scoped(SCOPE_OF["subject"]), response={202: ErasureOut})
def erase_subject(request: HttpRequest, key: str) -> Status[ErasureOut]:
    """Erase a person from everywhere: 202 with a receipt to follow.

    The key is the `subject` of their predictions, percent-encoded. Their rows, labels, jobs, bad rows of imports and
    what was made of them go in all of the project's models, and the hours that they were in are summarised again.
    Asking again while it is being done gives the same receipt; later predictions of the same subject are kept.
    """
    caller = caller_of(request)
    erasure = request_erasure(project=caller.project, key=key, actor=caller.actor)
    return Status(202, ErasureOut.of(erasure))


@router.get("/erasures", auth=Scoped(Scope.READ), response=Page[ErasureOut])
def list_erasures(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[ErasureOut]:
    """List the receipts of erasures, newest first."""
    return page(
        erasures_of(caller_of(request).project), ErasureOut.of, by=("-pk",), cursor=cursor, limit=limit
    )


@router.get("/erasures/{int:erasure_id}", auth=Scoped(Scope.READ), response=ErasureOut)
def read_erasure(request: HttpRequest, erasure_id: int) -> ErasureOut:
    """Return how far an erasure is and what it erased, by place; the key is in it as a keyed hash only.

    `remains` names the models that dropped rows or values once they were summarised: nobody can say who is counted in
    these summaries, or take them out.
    """
    return ErasureOut.of(get_erasure(project=caller_of(request).project, erasure_id=erasure_id))
