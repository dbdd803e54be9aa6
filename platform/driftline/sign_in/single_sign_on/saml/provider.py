"""How allauth starts a sign-in at a SAML provider."""

from typing import Any

from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.providers.saml.provider import SAMLProvider
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.provider import ProviderOfFile
from driftline.sign_in.single_sign_on.refusals import SignInRefused


class SamlProvider(ProviderOfFile, SAMLProvider):
    """A provider of the operator's file that speaks SAML 2.0."""

    def get_login_url(self, request: HttpRequest, **query: Any) -> str:
        provider: ProviderSettings = self.app.settings["driftline"]
        return reverse(provider.login_route, kwargs={"provider_id": provider.id})

    def redirect(self, request: HttpRequest, process: Any, next_url: Any = None, **_: Any) -> HttpResponse:
        """Lead to the provider, and keep in the session which request its answer must belong to."""
        from driftline.sign_in.single_sign_on.saml.messages import sign_in_address

        try:
            address, request_id = sign_in_address(self.app.settings["driftline"])
        except SignInRefused as refusal:
            return render_authentication_error(request, self, exception=refusal)
        self.stash_redirect_state(request, process, next_url, state_id=request_id)
        return HttpResponseRedirect(address)
