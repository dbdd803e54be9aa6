"""The theme of the admin, unfold, evaluates expressions in its markup (Alpine) and sets styles; nothing else may."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override

PREFIX = "/admin/"


class AdminPolicy:
    """Loosens the content security policy below /admin/, and only there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        policy: dict[str, list[str]] = {
            **settings.SECURE_CSP,  # type: ignore[dict-item]
            "script-src": [CSP.SELF, CSP.UNSAFE_EVAL],
            "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
        }
        self.get_response_of_admin = csp_override(policy)(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(PREFIX):
            return self.get_response_of_admin(request)
        return self.get_response(request)
