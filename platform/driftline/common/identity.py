"""Leaves with a request who was found to have sent it: callers share the server's threads by that."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

IDENTITY = "driftline.identity"  # key of the ASGI scope


def note_identity(request: HttpRequest, name: str) -> None:
    """Note the token or person that a request was authenticated as."""
    scope = getattr(request, "scope", None)
    if scope is not None:
        scope[IDENTITY] = name


class NotePerson:
    """Middleware that notes the person whose session a request has, where anybody looked."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        person = getattr(request, "_cached_user", None)  # `request.user` would ask the database
        if person is not None and person.is_authenticated:
            note_identity(request, f"person {person.pk}")
        return response
