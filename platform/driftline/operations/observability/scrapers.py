"""Who may scrape: a program on this machine, or a token with scope `read`."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

from driftline.base.accounts.access.http_auth import Caller, identify
from driftline.base.accounts.access.scopes import Scope
from driftline.base.clock import now


def scraper_of(request: HttpRequest) -> Caller | None:
    """Return who scrapes; None is a program on this machine, which sees all projects. Raises Problem 401 or 403."""
    if not request.headers.get("Authorization") and not request.GET and _is_local(request):
        return None
    caller = identify(request, now=now())
    caller.require(Scope.READ)
    return caller


def _is_local(request: HttpRequest) -> bool:
    """Return whether a program on this machine asks: directly, for a proxy's own address proves nothing."""
    address = request.META.get("REMOTE_ADDR", "")
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers or settings.BEHIND_TLS:
        return False
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
