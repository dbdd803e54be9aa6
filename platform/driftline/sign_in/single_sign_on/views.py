"""The sign-in at a provider, the way back, and the end of a session on either side."""

import time
from typing import Any

from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe

from driftline.sign_in.single_sign_on.claims import MAX_TOKEN_LENGTH, read_logout_token
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.discovery import discover
from driftline.sign_in.single_sign_on.provider import Conversation
from driftline.sign_in.single_sign_on.refusals import SignInRefused, record_refusal
from driftline.sign_in.single_sign_on.sessions import SIGNED_OUT_OF, end_sessions_at_logout


class _Callback(OAuth2CallbackView):
    """The way back from the provider, with the nonce of the sign-in that was started."""

    def _get_state(self, request: HttpRequest, provider: Any) -> Any:
        state, response = super()._get_state(request, provider)
        self.adapter.nonce = (state or {}).get("nonce", "")
        return state, response


@require_GET
@never_cache
def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Lead to the provider."""
    return _view(OAuth2LoginView, request, provider_id)


@require_GET
@never_cache
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Sign in who comes back from the provider."""
    return _view(_Callback, request, provider_id)


def _view(kind: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    find_provider(provider_id)
    response: HttpResponse = kind.adapter_view(Conversation(request, provider_id))(request)
    return response


@csrf_exempt
@require_POST
@never_cache
def back_channel_logout(request: HttpRequest, provider_id: str) -> HttpResponse:
    """End the sessions of somebody who left at the provider, which sends a signed token by itself."""
    provider = find_provider(provider_id)
    text = request.POST.get("logout_token", "")[: MAX_TOKEN_LENGTH + 1]
    try:
        ended = read_logout_token(provider, text, now=time.time())
        end_sessions_at_logout(provider, ended)
    except SignInRefused as refusal:
        record_refusal(provider.id, refusal)
        return JsonResponse({"error": "invalid_request", "error_description": refusal.detail}, status=400)
    return HttpResponse()


@require_safe
@never_cache
def signed_out(request: HttpRequest) -> HttpResponse:
    """Show that the session here is over, and lead to the end of the one at the provider."""
    note = request.session.pop(SIGNED_OUT_OF, {})
    provider = settings.SIGN_IN.provider(str(note.get("provider", "")))
    context = {"name": provider.name, "address": _end_of_session(provider, note)} if provider else {}
    return render(request, "account/signed_out.html", context)


def _end_of_session(provider: ProviderSettings, note: dict[str, Any]) -> str:
    """Return the address at which the provider ends its session; empty where it has none or does not answer."""
    try:
        if provider.saml:
            from driftline.sign_in.single_sign_on.saml.messages import logout_address

            return logout_address(provider, note)
        endpoint = discover(provider).end_session_endpoint
    except SignInRefused:
        return ""
    if not endpoint:
        return ""
    hint = {"id_token_hint": note["id_token"]} if note.get("id_token") else {}
    parameters = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": f"{settings.PUBLIC_URL}/accounts/login/",
        **hint,
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def find_provider(provider_id: str, *, speaks_saml: bool = False) -> ProviderSettings:
    """Return the provider of an address; raises Http404 where there is none that speaks its protocol."""
    provider = settings.SIGN_IN.provider(provider_id)
    if provider is None or bool(provider.saml) != speaks_saml:
        raise Http404
    return provider
