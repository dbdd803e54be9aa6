"""Over HTTP: versions that are pulled from an address."""

from typing import Any

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Header
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from driftline.base.outbound.redirected import MAX_URL_LETTERS
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.workflows.pulls import services
from monitors.workflows.pulls.addresses import Address, hub_address, web_address
from monitors.workflows.pulls.models import Pull
from monitors.workflows.pulls.schemas import PullOut
from monitors.workflows.pulls.selectors import pulls_of

router = Router(tags=["registry"])
_CHANGES = Scoped(SCOPE_OF["version"])


class HubFile(Body):
    """A file of a repository of Hugging Face; `revision` is a branch, a tag or a commit."""

    repository: str = Field(max_length=200)
    revision: str = Field("main", max_length=100)
    file: str = Field("model.onnx", max_length=200)


class PullIn(Body):
    """Where the file is, one of `url` and `hugging_face`. `metadata` is that of an upload; empty: the champion's.

    `token` is sent as a bearer token, to the server of the address alone.
    """

    url: str | None = Field(None, max_length=MAX_URL_LETTERS)
    hugging_face: HubFile | None = None
    token: str = Field("", max_length=4096)
    sha256: str = Field("", max_length=80)
    version: str = Field("", max_length=64, description="its name; the next number without one")
    metadata: dict[str, Any] = Field(default={}, max_length=20)
    start_run: bool = Field(
        False, description="compare it with the champion, in a run that begins at the shadow"
    )


@router.post("/models/{name}/pulls", auth=_CHANGES, response={202: PullOut})
def pull_version(
    request: HttpRequest,
    name: str,
    body: PullIn,
    key: str = Header("", alias="Idempotency-Key", max_length=255),
) -> Status[PullOut]:
    """Pull an ONNX file from a URL, or from a repository of Hugging Face, as a version of the model.

    A worker downloads it, and the same sandboxed child opens it as an uploaded one; the first accepted version becomes
    champion. Ask with GET how far it is. A request that is sent again with the same `Idempotency-Key` pulls nothing
    and is answered with the first one's pull.
    """
    pull = services.request_pull(
        model=_model(request, name),
        address=_address(body),
        actor=caller_of(request).actor,
        token=body.token,
        sha256=body.sha256,
        name=body.version,
        metadata=body.metadata,
        starts_run=body.start_run,
        request_key=key,
    )
    return Status(202, PullOut.of(pull))


@router.get("/models/{name}/pulls", auth=Scoped(Scope.READ), response=Page[PullOut])
def list_pulls(request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE) -> Page[PullOut]:
    """List a model's pulls, newest first, with what became of each."""
    return page(pulls_of(_model(request, name)), PullOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/pulls/{int:pull_id}", auth=Scoped(Scope.READ), response=PullOut)
def read_pull(request: HttpRequest, name: str, pull_id: int) -> PullOut:
    """Read how far a pull is, and the version and the run that came of it."""
    return PullOut.of(_pull(request, name, pull_id))


@router.post("/models/{name}/pulls/{int:pull_id}/retry", auth=_CHANGES, response=PullOut)
def retry_pull(request: HttpRequest, name: str, pull_id: int) -> PullOut:
    """Try a pull again that failed."""
    pull = _pull(request, name, pull_id)
    return PullOut.of(services.retry(pull=pull, actor=caller_of(request).actor))


@router.post("/models/{name}/pulls/{int:pull_id}/cancel", auth=_CHANGES, response=PullOut)
def cancel_pull(request: HttpRequest, name: str, pull_id: int) -> PullOut:
    """End a pull that waits or is under way; a version that it registered stays."""
    pull = _pull(request, name, pull_id)
    return PullOut.of(services.cancel(pull=pull, actor=caller_of(request).actor))


def _address(body: PullIn) -> Address:
    if (body.url is None) == (body.hugging_face is None):
        raise invalid("/url", "Name either a url or a file of hugging_face.", "missing_field")
    if body.hugging_face is not None:
        return hub_address(**body.hugging_face.model_dump())
    return web_address(body.url or "")


def _pull(request: HttpRequest, name: str, pull_id: int) -> Pull:
    return services.get_pull(model=_model(request, name), pull_id=pull_id)


def _model(request: HttpRequest, name: str) -> Model:
    return get_model(project=caller_of(request).project, name=name)
