"""The sign-in at a SAML provider, the way back, the end of a session on either side, and Driftline's metadata.

The provider's page posts its response from another site, where browsers send no cookie of the session. So the response
is checked first, without a session, and its claims are kept under a random ticket; then a redirect within Driftline
brings the ticket and the session, which must have made the request that the response answers. Whoever made that request
knows its ID, so that the ID must not be enough: they could have another person's browser bring the response.
"""

import hashlib
import secrets
import time
from typing import Any

import msgspec
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import complete_social_login, render_authentication_error
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe

from driftline.sign_in.single_sign_on.adapter import render_refusal
from driftline.sign_in.single_sign_on.claims import MAX_AGE_SECONDS, PersonClaims
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.refusals import SignInRefused, record_refusal
from driftline.sign_in.single_sign_on.sessions import end_sessions_at_logout
from driftline.sign_in.single_sign_on.views import find_provider

_FINISH_SECONDS = 120
"""How long a browser may take from the response to the redirect that follows it."""


@require_GET
@never_cache
def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Lead to the provider."""
    provider = find_provider(provider_id, speaks_saml=True)
    return _allauth_provider(request, provider).redirect_from_request(request)


@csrf_exempt
@require_POST
@never_cache
def receive_response(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Check what the provider says of who comes from there, and keep it until the session is known."""
    from driftline.sign_in.single_sign_on.saml.response import read_response

    provider = find_provider(provider_id, speaks_saml=True)
    try:
        claims = read_response(provider, request.POST.get("SAMLResponse", ""), now=time.time())
        digest = hashlib.sha256(claims.assertion_id.encode()).hexdigest()
        if not cache.add(f"sso:{provider.id}:assertion:{digest}", True, 2 * MAX_AGE_SECONDS):
            raise SignInRefused(
                "token_used", f"This answer of {provider.name} was used already; start again."
            )
    except SignInRefused as refusal:
        return render_authentication_error(request, _allauth_provider(request, provider), exception=refusal)
    ticket = secrets.token_urlsafe(32)
    cache.set(_cache_key(provider, ticket), msgspec.to_builtins(claims), _FINISH_SECONDS)
    finish_address = reverse("saml_finish", kwargs={"provider_id": provider.id})
    return HttpResponseRedirect(f"{finish_address}?{urlencode({'ticket': ticket})}")


@require_GET
@never_cache
def finish(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Sign in the person of a ticket, which counts once, if the session started the sign-in."""
    provider = find_provider(provider_id, speaks_saml=True)
    cache_key = _cache_key(provider, request.GET.get("ticket", ""))
    allauth_provider = _allauth_provider(request, provider)
    try:
        stored = cache.get(cache_key)
        if stored is None or not cache.delete(cache_key):
            raise SignInRefused(
                "expired_token", "This sign-in took too long, or was finished before; start again."
            )
        state = allauth_provider.unstash_redirect_state(request, stored["request_id"])
        claims = msgspec.convert(stored["claims"], PersonClaims)
        social_login = allauth_provider.sociallogin_from_response(request, claims)
        social_login.claims, social_login.state = claims, state
        social_login.logout_hint = {"name_id": stored["name_id"]}
        return complete_social_login(request, social_login)
    except (SignInRefused, PermissionDenied) as refusal:
        return render_authentication_error(request, allauth_provider, exception=refusal)


@require_GET
@never_cache
def logout(request: HttpRequest, provider_id: str) -> HttpResponse:
    """End the session of somebody who left at the provider, or see them back from there after they left here."""
    from driftline.sign_in.single_sign_on.saml.logout import read_logout_request
    from driftline.sign_in.single_sign_on.saml.messages import logout_response_address

    provider = find_provider(provider_id, speaks_saml=True)
    if "SAMLResponse" in request.GET:
        return redirect("account_login")
    try:
        ended, relay_state = read_logout_request(provider, request.META["QUERY_STRING"], now=time.time())
        end_sessions_at_logout(provider, ended)
        address = logout_response_address(provider, ended.token_id, relay_state)
    except SignInRefused as refusal:
        record_refusal(provider.id, refusal)
        return render_refusal(request, provider.name, refusal)
    return HttpResponseRedirect(address or reverse("account_login"))


@require_safe
@never_cache
def metadata(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Return what the administrator of the provider enters there."""
    from driftline.sign_in.single_sign_on.saml.messages import own_metadata

    return HttpResponse(
        own_metadata(find_provider(provider_id, speaks_saml=True)),
        content_type="application/samlmetadata+xml",
    )


def _cache_key(provider: ProviderSettings, ticket: str) -> str:
    return f"sso:{provider.id}:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"


def _allauth_provider(request: HttpRequest, provider: ProviderSettings) -> Any:
    return get_adapter().get_provider(request, provider.id)
