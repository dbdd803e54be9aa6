"""The address of the client that made a request, also behind proxies."""

from django.conf import settings
from django.http import HttpRequest

from driftline.base.http.networks import client_address, parse_networks


def address_of(request: HttpRequest) -> str:
    """Return the address of the client that made the request, behind the proxies that the settings declare."""
    return client_address(
        peer=request.META.get("REMOTE_ADDR", ""),
        forwarded_for=request.headers.get("X-Forwarded-For", ""),
        trusted_proxies=parse_networks(tuple(settings.TRUSTED_PROXIES)),
    )
