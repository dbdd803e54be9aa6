"""Keeps what a signed-in person sees out of every cache: the browser's after a logout, and a proxy's."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class NoStore:
    """Marks the answer to whoever has a session, or gets one, as not to be stored; static files come before this."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        session = settings.SESSION_COOKIE_NAME
        if session in request.COOKIES or session in response.cookies:
            response["Cache-Control"] = "private, no-store"
        return response
