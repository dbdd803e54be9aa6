"""A browser in a project."""

from typing import Any

from django.http import HttpResponse
from django.test import Client

from driftline.base.accounts.access.http_auth import SESSION_PROJECT
from driftline.base.accounts.models import Project, User

OUTSIDE = ("/p/", "/api/", "/accounts/", "/admin/", "/docs/", "/static/", "/healthz", "/readyz", "/metrics")


class PagesClient(Client):
    """Opens `/models/` and every other page below the address of one project, where the links of pages lead.

    It is the first project of the person who signed in.
    """

    _person: User | None = None
    _path = ""

    def force_login(self, user: User, backend: str | None = None) -> None:  # type: ignore[override]
        super().force_login(user, backend)
        self._person, self._path = user, ""
        self._find_project()

    def generic(self, method: str, path: str, *args: Any, **extra: Any) -> HttpResponse:
        """Send a request; what belongs to no project keeps its address."""
        if not path.startswith(OUTSIDE):
            self._find_project()
            path = self._path + path
        return super().generic(method, path, *args, **extra)

    def _find_project(self) -> None:
        if self._path:
            return
        project = Project.objects.filter(members=self._person).order_by("pk").first()
        if project is not None:
            self._path, session = Project.path_of(project.slug), self.session
            session[SESSION_PROJECT] = project.pk  # they were here before
            session.save()
