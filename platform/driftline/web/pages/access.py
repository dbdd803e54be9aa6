"""Who looks at a page: the current project of a signed-in person, and what their role lets them do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, QuerySet, When
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from driftline.base.accounts.access.http_auth import SESSION_PROJECT
from driftline.base.accounts.access.project_prefix import slug_in_path
from driftline.base.accounts.access.rights import check_rights
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.accounts.members import note_seen
from driftline.base.accounts.models import ApiToken, CustomRole, Membership, Project, Team, User
from driftline.base.accounts.projects import refuse_archived
from driftline.base.accounts.services import MAX_NAME_CHARACTERS
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.feature import features
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from inference.registry.models import Model
from monitors.alerts.models import Channel, Incident, Silence

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_MODEL_OF_ROUTE: dict[str, Any] = {
    "incident": Incident,
    "token": ApiToken,
    "token_revoke": ApiToken,
    "role": CustomRole,
    "role_remove": CustomRole,
    "team": Team,
    "team_remove": Team,
    "member": Membership,
    "member_remove": Membership,
    "silence_end": Silence,
    "channel": Channel,
    "channel_delete": Channel,
}
"""The model of the object that a route names by its number alone; features say those of their own routes."""


_WHILE_ARCHIVED = frozenset({"project", "audit"})
"""What an admin may do in an archived project too: restore it, and read its trail."""


@dataclass(frozen=True)
class Visitor:
    """A person in one of their projects."""

    user: User
    project: Project
    role: str
    role_scopes: frozenset[Scope]

    @property
    def scopes(self) -> frozenset[Scope]:
        """The scopes of this person's role; of an archived project they are to read."""
        return self.role_scopes if self.project.archived_at is None else self.role_scopes & {Scope.READ}

    def may(self, thing: str) -> bool:
        """Return whether this person may change a thing, a key of `SCOPE_OF`."""
        return SCOPE_OF[thing] in self._scopes_for([thing])

    def check_rights(self, changed: Mapping[str, str]) -> None:
        """Refuse a change of things that need other scopes; see `driftline.base.accounts.access.scopes`."""
        check_rights(self._scopes_for(changed.values()), changed, actor=self.actor)

    def check_not_archived(self, thing: str) -> None:
        """Refuse what the role allows and an archived project does not."""
        if SCOPE_OF[thing] in self.role_scopes and thing not in _WHILE_ARCHIVED:
            refuse_archived(self.project)

    def _scopes_for(self, things: Iterable[str]) -> frozenset[Scope]:
        return self.role_scopes if _WHILE_ARCHIVED.issuperset(things) else self.scopes

    @property
    def may_edit(self) -> bool:
        return Scope.WRITE in self.scopes

    @property
    def may_deploy(self) -> bool:
        return Scope.DEPLOY in self.scopes

    @property
    def may_administer(self) -> bool:
        return Scope.ADMIN in self.scopes

    @property
    def actor(self) -> str:
        """The name that audit rows get, and columns that say who made something; as long as those are."""
        return self.user.email[:MAX_NAME_CHARACTERS]

    @property
    def may_read_trail(self) -> bool:
        return self.may("audit")

    @property
    def may_restore(self) -> bool:
        """Whether this person may bring the project back while it is archived."""
        return self.may("project")


class PageRequest(HttpRequest):
    """A request that `page` let in."""

    visitor: Visitor


type View = Callable[..., HttpResponse | StreamingHttpResponse]


def page(*methods: str, writes: str = "") -> Callable[[View], View]:
    """Admit members: everybody may read, a POST needs the right to change the thing that it `writes`, a key of
    `SCOPE_OF` without which a view that takes POST cannot be imported. A `Problem` becomes a page or a message.
    """
    if "POST" in methods and writes not in SCOPE_OF:
        raise ValueError(f"{writes!r} is not in the table of rights")

    def decorate(view: View) -> View:
        @require_http_methods([*methods, *(["HEAD"] if "GET" in methods else [])])
        @login_required
        @wraps(view)
        def guarded(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponse | StreamingHttpResponse:
            visitor = visitor_of(request)
            if visitor is None:
                return _explain_no_project(request)
            if not slug_in_path(request):
                return _lead_into_project(request, visitor)
            request.visitor = visitor
            _remember_project(request)
            try:
                if request.method not in _SAFE_METHODS and not visitor.may(writes):
                    visitor.check_not_archived(writes)
                    return _refuse(request, view, args, kwargs)
                return view(request, *args, **kwargs)
            except Problem as problem:
                return _explain(request, problem)
            except SecretUnreadable as error:
                return _explain(request, Problem(503, "secret_unreadable", str(error)))
            except ValueError:
                if "%00" not in request.get_full_path():
                    raise
                # PostgreSQL takes NUL in no text, so nothing is called so
                return _explain(
                    request, Problem(400, "invalid_address", "The address has a NUL; leave it out.")
                )

        return guarded

    return decorate


def visitor_of(request: HttpRequest) -> Visitor | None:
    """Find the person in the project that the path names; else in the one that they looked at last, or their first.

    None where the person is in no project, or not in the one that the path names.
    """
    if not isinstance(request.user, User):
        return None
    archived_last = F("project__archived_at").asc(nulls_first=True)
    memberships = Membership.objects.filter(user=request.user).select_related("project")
    memberships = memberships.order_by(archived_last, "pk")
    if slug := slug_in_path(request):
        membership = memberships.filter(project__slug=slug).first()
    else:
        seen = request.session.get(SESSION_PROJECT)
        membership = (memberships.filter(project=seen).first() if seen else None) or memberships.first()
    if membership is None:
        return None
    note_seen(membership, now=now())
    return Visitor(request.user, membership.project, membership.role, membership.scopes)


def _explain_no_project(request: HttpRequest) -> HttpResponse:
    """Answer who is in no project at all; a project that one is not in looks as if there were none."""
    if slug_in_path(request):
        raise Http404
    return render(request, "pages/no_project.html", status=403)


def _remember_project(request: PageRequest) -> None:
    """Make addresses without a project lead to this one from now on; parts of pages load by themselves, and do not."""
    is_part = getattr(request, "htmx", False)
    if not is_part and request.session.get(SESSION_PROJECT) != request.visitor.project.pk:
        request.session[SESSION_PROJECT] = request.visitor.project.pk


def _lead_into_project(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Redirect an address of before projects had one of their own; its object decides the project where it can.

    A form that is sent to one is sent again to where it belongs.
    """
    project = _project_of_object(request, visitor) or visitor.project
    address = Project.path_of(project.slug) + request.get_full_path()
    return HttpResponseRedirect(address, preserve_request=request.method not in _SAFE_METHODS)


def _project_of_object(request: HttpRequest, visitor: Visitor) -> Project | None:
    """Find which of the person's projects has the object that a path names; the current one where several have it."""
    match = request.resolver_match
    assert match is not None
    named: QuerySet[Any]
    if name := match.kwargs.get("name"):
        named = Model.objects.filter(name=name)
    elif table := _table_of(match.url_name or ""):
        named = table.objects.filter(pk=match.kwargs["pk"])
    else:
        return None
    found = Project.objects.filter(members=visitor.user, pk__in=named.values("project"))  # type: ignore[misc]
    return found.order_by(Case(When(pk=visitor.project.pk, then=0), default=1), "pk").first()


def _table_of(route: str) -> Any:
    """Return the model of the object that a route names by its number alone; None where it names none."""
    objects = [_MODEL_OF_ROUTE, *(feature.objects for feature in features())]
    return next((one[route] for one in objects if route in one), None)


def _refuse(request: PageRequest, view: View, args: Any, kwargs: Any) -> HttpResponse:
    """A role too low; but what this project does not have looks missing, whoever asks.

    The view is asked for the page as if nothing had been sent: it must find no form that it could act on.
    """
    method, sent = request.method, request.POST
    request.method, request.POST = "GET", QueryDict()
    try:
        view(request, *args, **kwargs)
    except Problem as problem:
        if problem.status == 404:
            raise
    finally:
        request.method, request.POST = method, sent
    raise PermissionDenied


def _explain(request: PageRequest, problem: Problem) -> HttpResponse:
    if problem.status == 404:
        raise Http404(problem.detail)
    if request.method in _SAFE_METHODS or problem.status == 403:
        return render(request, "pages/problem.html", {"problem": problem}, status=problem.status)
    messages.error(request, problem.detail)
    return HttpResponseRedirect(request.get_full_path())
