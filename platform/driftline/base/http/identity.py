"""Leaves with a request who was found to have sent it: callers share the server's threads by that."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

IDENTITY = "driftline.identity"  # key of the ASGI scope
_READER = "_driftline_reader"


def note_identity(request: HttpRequest, name: str, *, is_reader: bool = False) -> None:
    """Note the token or person that a request was authenticated as, and whether it reads what people look at.

    A device or a serving host does not: it acts on what it is answered, which must not be seconds old.
    """
    scope = getattr(request, "scope", None)
    if scope is not None:
        scope[IDENTITY] = name
    if is_reader:
        setattr(request, _READER, name)


def reader_of(request: HttpRequest) -> str | None:
    """Name the person or the token that a request is of; None for others, and before anybody looked."""
    person = getattr(request, "_cached_user", None)  # `request.user` would ask the database
    if person is not None and person.is_authenticated:
        return f"person {person.pk}"
    return getattr(request, _READER, None)


class NotePerson:
    """Middleware that notes the person whose session a request has, where anybody looked."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if (reader := reader_of(request)) is not None:
            note_identity(request, reader)
        return response
