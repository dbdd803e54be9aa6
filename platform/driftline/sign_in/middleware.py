"""What the sign-in does around every request of a page."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from driftline.base.accounts.access.known_browsers import set_cookie
from driftline.base.accounts.access.mfa import lacks_mfa
from driftline.base.accounts.models import User

type Handler = Callable[[HttpRequest], HttpResponse]

_FREE = (  # what a person without their second factor needs to set it up or to sign out
    "/accounts/2fa/",
    "/accounts/reauthenticate/",
    "/accounts/login/",
    "/accounts/logout/",
    "/static/",
)
_OTHER_DOORS = (
    "/api/",
    "/healthz",
    "/readyz",
    "/metrics",
)  # they answer programs; sessions are checked by `http_auth`


class RememberBrowser:
    """Sets the cookie by which an account knows a browser."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        set_cookie(request, response)
        return response


class RequireMfa:
    """Leads who must have a second factor and has none to where it is set up, before anything else."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith((*_FREE, *_OTHER_DOORS)):
            return self.get_response(request)
        if isinstance(request.user, User) and lacks_mfa(request.user):
            return _lead_to_setup(request)
        return self.get_response(request)


def _lead_to_setup(request: HttpRequest) -> HttpResponse:
    address = reverse("mfa_activate_totp")
    if getattr(request, "htmx", False):  # it would put the page that it is led to into a part of this one
        return HttpResponseClientRedirect(address)
    messages.warning(request, "Your role needs two-factor authentication: set it up to go on.")
    return redirect(address)
