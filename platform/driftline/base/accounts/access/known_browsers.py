"""A signed cookie by which an account knows a browser that was signed in before.

Wrong passwords for an account are counted over all strangers together, so a stranger can use up its tries. Whoever
signs in from a browser that was in before has tries of their own, and is not kept out.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

COOKIE = "driftline_browser"
MAX_AGE_SECONDS = 180 * 86_400
_SALT = "driftline.known_browser"
_ATTRIBUTE = "_browser_to_remember"


@dataclass(frozen=True)
class KnownBrowser:
    """A browser from which the account of `email` was signed in."""

    email: str
    nonce: str


def known_browser(request: HttpRequest, email: str) -> KnownBrowser | None:
    """Return what the request's cookie says of this account; None for a stranger's browser."""
    try:
        kept = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=MAX_AGE_SECONDS)
    except signing.BadSignature:
        return None
    browser = KnownBrowser(*kept)
    return browser if browser.email == email.lower() else None


def remember_browser(request: HttpRequest, email: str) -> None:
    """Make the response to this request carry the cookie; a browser that has it keeps its nonce, and so its tries."""
    browser = known_browser(request, email) or KnownBrowser(email.lower(), secrets.token_urlsafe(16))
    setattr(request, _ATTRIBUTE, browser)


def set_cookie(request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie of the browser that `remember_browser` was called for, if it was."""
    browser: KnownBrowser | None = getattr(request, _ATTRIBUTE, None)
    if browser is None:
        return
    response.set_cookie(
        COOKIE,
        signing.dumps([browser.email, browser.nonce], salt=_SALT),
        max_age=MAX_AGE_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
