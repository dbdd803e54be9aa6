"""The pages of a project live under /p/<slug>/, so that a link names the project that it leads into.

A request for /p/<slug>/<page> is answered as one for /<page> that is mounted there: Django's `reverse` and
`{% url %}` put the prefix in front, and no name of a route knows of projects. Sign-in, accounts, admin, documentation
and probes belong to no project and stay outside; the API does too, but a person who is signed in may read it below
the prefix, as a link has no header that names the project.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import get_script_prefix, set_script_prefix

from driftline.base.accounts.models import Project

_PREFIXED = re.compile(r"/p/(?P<slug>[-a-zA-Z0-9_]{1,50})(?P<rest>/.*)?", re.DOTALL)
_OUTSIDE = re.compile(r"/(accounts|admin|docs|healthz|metrics|readyz|scim|static)(/.*)?", re.DOTALL)
_API = "/api/"


class ProjectPrefix:
    """Middleware that mounts the pages of a project; it is the innermost, so the others see whole paths."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        match = _PREFIXED.fullmatch(request.path_info)
        if match is not None and match["rest"] is None:
            return HttpResponseRedirect(f"{request.path}/")
        if match is None or not _is_mounted(request, match["rest"]):
            return self.get_response(request)
        request.project_slug = match["slug"]  # type: ignore[attr-defined]
        request.path_info = match["rest"]
        with links_into(match["slug"]):
            return self.get_response(request)


def slug_in_path(request: HttpRequest) -> str:
    """Return the slug of the project below which a request's path lies; empty where there is none."""
    return getattr(request, "project_slug", "")


@contextmanager
def links_into(slug: str) -> Iterator[None]:
    """Make `reverse` lead to the pages of a project."""
    before = get_script_prefix()
    set_script_prefix(f"{Project.path_of(slug)}/")
    try:
        yield
    finally:
        set_script_prefix(before)


def _is_mounted(request: HttpRequest, rest: str) -> bool:
    if rest.startswith(_API):
        return request.method in ("GET", "HEAD") and "Authorization" not in request.headers
    return not _OUTSIDE.fullmatch(rest)
