"""How allauth speaks to a provider here: the sign-in starts with a nonce and PKCE, and its answer is checked."""

import secrets
import time
from typing import Any

import requests
from allauth.account.utils import get_next_redirect_url
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialToken
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from driftline.sign_in.single_sign_on.claims import PersonClaims, read_claims
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.discovery import discover
from driftline.sign_in.single_sign_on.refusals import SignInRefused


class Conversation(OAuth2Adapter):
    """One sign-in at one provider."""

    nonce = ""

    def __init__(self, request: HttpRequest, provider_id: str) -> None:
        self.provider_id = provider_id
        super().__init__(request)

    @property
    def provider_settings(self) -> ProviderSettings:
        """What the operator's file says of the provider."""
        provider: ProviderSettings = self.get_provider().app.settings["driftline"]
        return provider

    @property
    def basic_auth(self) -> bool:
        """How the client names itself to the provider; both ways carry the same secret."""
        return (
            "client_secret_post" not in discover(self.provider_settings).token_endpoint_auth_methods_supported
        )

    @property
    def access_token_url(self) -> str:
        return discover(self.provider_settings).token_endpoint

    @property
    def authorize_url(self) -> str:
        return discover(self.provider_settings).authorization_endpoint

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return settings.PUBLIC_URL + reverse(
            "openid_connect_callback", kwargs={"provider_id": self.provider_id}
        )

    def get_client(self, request: HttpRequest, app: Any) -> Any:
        """Make the client that exchanges the code; where the provider cannot be asked how, a page says so."""
        try:
            return super().get_client(request, app)
        except SignInRefused as refusal:
            page = render_authentication_error(request, self.get_provider(), exception=refusal)
            raise ImmediateHttpResponse(page) from refusal

    def get_access_token_data(self, *arguments: Any, **options: Any) -> Any:
        """Exchange the code; what the provider answers to a wrong one is no text for a page."""
        try:
            return super().get_access_token_data(*arguments, **options)
        except SignInRefused:
            raise
        except (Exception, requests.RequestException) as error:
            raise SignInRefused(
                "code_refused",
                f"{self.provider_settings.name} did not take the code of this sign-in; start again.",
            ) from error

    def complete_login(self, request: HttpRequest, app: Any, token: SocialToken, **options: Any) -> Any:
        """Check who signed in; raises `SignInRefused`."""
        id_token = options["response"].get("id_token")
        claims = read_claims(
            self.provider_settings, id_token, access_token=token.token, nonce=self.nonce, now=time.time()
        )
        login = self.get_provider().sociallogin_from_response(request, claims)
        login.claims, login.logout_hint = claims, {"id_token": id_token}
        return login


class ProviderOfFile:
    """What allauth asks a provider of the operator's file, whichever protocol it speaks."""

    app: Any

    def serialize(self) -> dict[str, Any]:
        """Name the provider for the time of a second factor, by its id: two may know Driftline by the same name."""
        return {"id": self.app.provider_id}

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Take from the address only where to return to: nobody else adds scopes, or links another account."""
        next_url = get_next_redirect_url(request)
        return {"process": AuthProcess.LOGIN} | ({"next_url": next_url} if next_url else {})

    def extract_uid(self, data: PersonClaims) -> str:
        return data.subject

    def extract_extra_data(self, data: PersonClaims) -> dict[str, Any]:
        """Keep what shows an operator who this is."""
        return {"email": data.email, "name": data.name}

    def extract_common_fields(self, data: PersonClaims) -> dict[str, Any]:
        return {"email": data.email, "name": data.name}

    def extract_email_addresses(self, data: PersonClaims) -> list[Any]:
        return []


class Provider(ProviderOfFile, OpenIDConnectProvider):
    """A provider of the operator's file that speaks OpenID Connect."""

    oauth2_adapter_class = Conversation
    pkce_enabled_default = True

    def get_scope(self) -> list[str]:
        return list(self.app.settings["driftline"].scopes)

    def redirect(self, request: HttpRequest, process: Any, next_url: Any = None, **_: Any) -> HttpResponse:
        """Lead to the provider, with a nonce that its answer must carry."""
        nonce = secrets.token_urlsafe(24)
        try:
            return super().redirect(
                request, process, next_url, auth_params={"nonce": nonce}, scope=self.get_scope(), nonce=nonce
            )
        except SignInRefused as refusal:
            return render_authentication_error(request, self, exception=refusal)
