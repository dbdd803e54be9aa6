"""Projects over HTTP: those that one may see, one more, another name, and whether one is archived."""

from typing import Self

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts import projects
from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.accounts.models import ApiToken, Project, User
from driftline.base.accounts.services import was_rotated_by_another
from driftline.base.clock import now
from driftline.base.errors import Problem, not_found
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time

router = Router(tags=["projects"])


class ProjectOut(ResponseBody, frozen=True):
    """A project; `url` is the address of its pages, and `archived_at` is null unless it is hidden and read only.

    An operator sets `max_models`, `max_rows_per_second` of each serving process, and `max_bytes`; null is no limit.
    `stored_bytes` is measured every ten minutes where that is set.
    """

    slug: str
    name: str
    url: str
    created_at: Time
    archived_at: Time | None
    max_models: int | None
    max_rows_per_second: int | None
    max_bytes: int | None
    stored_bytes: int | None

    @classmethod
    def of(cls, project: Project) -> Self:
        return cls(
            slug=project.slug,
            name=project.name,
            url=project.url,
            created_at=project.created_at,
            archived_at=project.archived_at,
            max_models=project.max_models,
            max_rows_per_second=project.max_rows_per_second,
            max_bytes=project.max_bytes,
            stored_bytes=project.stored_bytes if project.max_bytes else None,
        )


class NewProject(Body):
    name: str = Field(max_length=projects.MAX_NAME)
    slug: str = Field(
        "", max_length=50, description="the part after /p/ of its pages' addresses; empty: made of the name"
    )


class ProjectChanges(Body):
    name: str | None = Field(None, max_length=projects.MAX_NAME)
    archived: bool | None = Field(
        None, description="true: hidden and read only, and its models answer no request"
    )


@router.get("/projects", auth=Scoped(Scope.READ), response=Page[ProjectOut])
def list_projects(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[ProjectOut]:
    """List the projects that one may see, with archived ones: a token its own, who is signed in all of theirs."""
    return page(_visible_to(caller_of(request)), ProjectOut.of, by=("slug",), cursor=cursor, limit=limit)


@router.get("/projects/{slug}", auth=Scoped(Scope.READ), response=ProjectOut)
def read_project(request: HttpRequest, slug: str) -> ProjectOut:
    """Return one of them."""
    return ProjectOut.of(_project(request, slug))


@router.post("/projects", auth=Scoped(SCOPE_OF["project"]), response={201: ProjectOut})
def create_project(request: HttpRequest, body: NewProject) -> Status[ProjectOut]:
    """Make a project; who made the token is its admin, and must be an operator or an admin of another one (403).

    Nobody else may have given the token a new secret. Unless an operator makes it, it has the quotas of the token's.
    """
    caller = caller_of(request)
    made = projects.open_project(
        name=body.name,
        slug=body.slug,
        owner=_maker_of_token(caller),
        actor=caller.actor,
        beside=caller.project,
    )
    return Status(201, ProjectOut.of(made))


@router.patch("/projects/{slug}", auth=Scoped(SCOPE_OF["project"], while_archived=True), response=ProjectOut)
def change_project(request: HttpRequest, slug: str, body: ProjectChanges) -> ProjectOut:
    """Rename the token's project, archive or restore it; while it is at work it is not archived (409)."""
    project, actor = _project(request, slug), caller_of(request).actor
    with transaction.atomic():
        if body.archived is False:
            projects.restore_project(project=project, actor=actor)
        if body.name is not None:
            projects.rename_project(project=project, name=body.name, actor=actor)
        if body.archived is True:
            projects.archive_project(project=project, actor=actor, now=now())
    return ProjectOut.of(project)


def _visible_to(caller: Caller) -> QuerySet[Project]:
    if caller.user is None:
        return Project.objects.filter(pk=caller.project.pk)
    return Project.objects.filter(members=caller.user)


def _project(request: HttpRequest, slug: str) -> Project:
    project = _visible_to(caller_of(request)).filter(slug=slug).first()
    if project is None:
        raise not_found("project")
    return project


def _maker_of_token(caller: Caller) -> User:
    """Return who made the caller's token and every secret of it; raises Problem 403 where no person did."""
    pk = caller.token[0] if caller.token else 0
    token = ApiToken.objects.filter(pk=pk).select_related("created_by").first()
    if token is None or token.created_by is None:
        raise Problem(
            403,
            "token_of_nobody",
            "A new project belongs to who made the token, and no person made this one; use a token made on the pages.",
        )
    if was_rotated_by_another(token):
        raise Problem(
            403,
            "token_of_another",
            "A new project belongs to who made the token, and somebody else gave it a new secret; make another token.",
        )
    return token.created_by
