"""Who looks at a page: the current project of a signed-in person, and what their role lets them do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from driftline.accounts.models import Membership, Project, User
from driftline.accounts.rights import check_rights
from driftline.accounts.scopes import SCOPE_OF, SCOPES_OF_ROLE, Scope
from driftline.common.errors import Problem

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SESSION_KEY = "project"


@dataclass(frozen=True)
class Visitor:
    """A person in one of their projects."""

    user: User
    project: Project
    role: str

    @property
    def scopes(self) -> frozenset[Scope]:
        """The scopes of this person's role."""
        return SCOPES_OF_ROLE[self.role]

    def may(self, thing: str) -> bool:
        """Return whether this person may change a thing, a key of `SCOPE_OF`."""
        return SCOPE_OF[thing] in self.scopes

    def check_rights(self, changed: Mapping[str, str]) -> None:
        """Refuse a change of things that need other scopes; see `driftline.accounts.scopes`."""
        check_rights(self.scopes, changed, actor=self.actor)

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
        """The name that audit rows get."""
        return self.user.email


class PageRequest(HttpRequest):
    """A request that `page` let in."""

    visitor: Visitor


type View = Callable[..., HttpResponse | FileResponse]


def page(*methods: str, writes: str = "") -> Callable[[View], View]:
    """Let members in: everybody may read, a POST needs the right to change the thing that it `writes`, a key of
    `SCOPE_OF` without which a view that takes POST cannot be imported. A `Problem` becomes a page or a message.
    """
    if "POST" in methods and writes not in SCOPE_OF:
        raise ValueError(f"{writes!r} is not in the table of rights")

    def decorate(view: View) -> View:
        @require_http_methods([*methods, *(["HEAD"] if "GET" in methods else [])])
        @login_required
        @wraps(view)
        def guarded(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponse | FileResponse:
            visitor = visitor_of(request)
            if visitor is None:
                return render(request, "pages/no_project.html", status=403)
            request.visitor = visitor
            try:
                if request.method not in _SAFE_METHODS and not visitor.may(writes):
                    return _refuse(request, view, args, kwargs)
                return view(request, *args, **kwargs)
            except Problem as problem:
                return _explain(request, problem)

        return guarded

    return decorate


def visitor_of(request: HttpRequest) -> Visitor | None:
    """Find the person's current project: the one they chose, else their first; None without any."""
    if not isinstance(request.user, User):
        return None
    memberships = Membership.objects.filter(user=request.user).select_related("project").order_by("pk")
    chosen = request.session.get(_SESSION_KEY)
    membership = (memberships.filter(project=chosen).first() if chosen else None) or memberships.first()
    return Visitor(request.user, membership.project, membership.role) if membership else None


@require_POST
@login_required
def choose_project(request: HttpRequest) -> HttpResponse:
    """Switch to another of the person's projects; anybody else's looks like none."""
    slug = request.POST.get("project", "")
    membership = Membership.objects.filter(user=request.user, project__slug=slug).first()  # type: ignore[misc]
    if membership is None:
        raise Http404
    request.session[_SESSION_KEY] = membership.project_id
    return redirect("overview")


def _refuse(request: PageRequest, view: View, args: Any, kwargs: Any) -> HttpResponse:
    """A role too low; but what this project does not have looks missing, whoever asks."""
    method, request.method = request.method, "GET"
    try:
        view(request, *args, **kwargs)
    except Problem as problem:
        if problem.status == 404:
            raise
    finally:
        request.method = method
    raise PermissionDenied


def _explain(request: PageRequest, problem: Problem) -> HttpResponse:
    if problem.status == 404:
        raise Http404(problem.detail)
    if request.method in _SAFE_METHODS or problem.status == 403:
        return render(request, "pages/problem.html", {"problem": problem}, status=problem.status)
    messages.error(request, problem.detail)
    return HttpResponseRedirect(request.get_full_path())
