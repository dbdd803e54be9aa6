"""Over HTTP: the lake of a project, and the files that are in it."""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from inference.prediction_log.lake import services
from inference.prediction_log.lake.schemas import LakeFileOut, LakeOut
from inference.prediction_log.lake.selectors import content_of, files_of, find_lake
from inference.prediction_log.lake.settings import LakeSettings

router = Router(tags=["lake"])
_CHANGES = Scoped(SCOPE_OF["lake"])
_CONFIRM = Query("", max_length=1_200)


class LakeIn(Body):
    """Where the lake is; a secret left out stays while server and access key do."""

    settings: LakeSettings
    secret: str | None = Field(
        None, max_length=services.MAX_SECRET_LENGTH, description="the secret access key; empty removes it"
    )


@router.get("/lake", auth=Scoped(Scope.READ), response=LakeOut)
def read_lake(request: HttpRequest) -> LakeOut:
    """Return the lake of the project with what is in it and what is still to be written."""
    project = caller_of(request).project
    return LakeOut.of(find_lake(project=project), content_of(project))


@router.put("/lake", auth=_CHANGES, response=LakeOut)
def put_lake(request: HttpRequest, body: LakeIn) -> LakeOut:
    """Set the project's lake, or change how it is reached: every finished day that the log holds is written to it.

    It stays where its files are: 409 for another place while there are any.
    """
    caller = caller_of(request)
    lake = services.set_lake(
        project=caller.project, settings=body.settings, actor=caller.actor, secret=body.secret
    )
    return LakeOut.of(lake, content_of(caller.project))


@router.delete("/lake", auth=_CHANGES, response={204: None})
def stop_lake(request: HttpRequest, confirm: str = _CONFIRM) -> Status[None]:
    """Stop writing to the lake and forget it with its secret: its files stay, and erasures do not reach them.

    `confirm` is its location.
    """
    caller = caller_of(request)
    lake = find_lake(project=caller.project)
    if lake is not None:
        services.stop_lake(lake=lake, confirm=confirm, actor=caller.actor)
    return Status(204, None)


@router.get("/lake/files", auth=Scoped(Scope.READ), response=Page[LakeFileOut])
def list_lake_files(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[LakeFileOut]:
    """List the files of the lake, the newest first, with those that are still to be written."""
    rows = files_of(caller_of(request).project)
    return page(rows, LakeFileOut.of, by=("-day", "-pk"), cursor=cursor, limit=limit)
