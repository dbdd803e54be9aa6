"""What allauth asks about sign-ins by a provider: which there are, over what to call them, and who gets in."""

from typing import Any

from allauth.account.signals import user_logged_in
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from django.conf import settings
from django.db import IntegrityError, transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from driftline.base.accounts.models import User
from driftline.base.clock import now
from driftline.base.outbound.session import GuardedSession
from driftline.sign_in.single_sign_on.claims import PersonClaims
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.people import admit
from driftline.sign_in.single_sign_on.refusals import SignInRefused, record_refusal
from driftline.sign_in.single_sign_on.sessions import bound_session

_STATE = "driftline"


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """Takes providers from the operator's file alone, and lets in whom `people.py` admits."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """List the providers of the file, as allauth knows them; rows of the database do not count."""
        return [
            SocialApp(
                provider=_kind(one),
                provider_id=one.id,
                name=one.name,
                client_id=one.client_id,
                secret=one.secret,
                settings={"server_url": one.issuer, "driftline": one},
            )
            for one in settings.SIGN_IN.providers
            if provider in (None, one.id, _kind(one)) and client_id in (None, one.client_id)
        ]

    def get_requests_session(self) -> GuardedSession:
        return GuardedSession()

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find or make the account of who signed in at the provider; raises `SignInRefused`."""
        provider = sociallogin.provider.app.settings["driftline"]
        claims: PersonClaims = sociallogin.claims
        known = sociallogin.user if sociallogin.is_existing else None
        try:
            with transaction.atomic():
                user = admit(provider, claims, known=known)
                if known is None:
                    sociallogin.user = sociallogin.account.user = user
                    sociallogin.account.save()
        except IntegrityError as error:
            raise SignInRefused(
                "twice_at_once", "You signed in twice at the same moment; start again.", subject=claims.email
            ) from error
        sociallogin.state[_STATE] = {
            "sid": claims.session,
            "expires": claims.session_expires,
            **sociallogin.logout_hint,
        }

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, **_: Any
    ) -> None:
        """Show why nobody is signed in, and record it."""
        refusal = exception if isinstance(exception, SignInRefused) else _refusal(provider.name, error)
        record_refusal(provider.app.provider_id, refusal)
        raise ImmediateHttpResponse(render_refusal(request, provider.name, refusal))


def _kind(provider: ProviderSettings) -> str:
    """Return how allauth calls the protocol that a provider speaks."""
    return "saml" if provider.saml else "openid_connect"


def render_refusal(request: HttpRequest, name: str, refusal: SignInRefused) -> HttpResponse:
    """Render why a sign-in did not happen."""
    context = {"name": name, "reason": refusal.detail}
    return render(request, "account/sign_in_refused.html", context, status=403)


def _refusal(name: str, error: Any) -> SignInRefused:
    if error == "cancelled":
        return SignInRefused("cancelled", f"The sign-in at {name} was cancelled, there or by you.")
    return SignInRefused(
        "unknown_state",
        f"This answer of {name} belongs to no sign-in that this browser started in the last ten minutes, or {name} "
        "refused it; start again.",
    )


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, user: User, sociallogin: Any = None, **_: Any) -> None:
    """Bound the session once the person is in, which may be after their second factor."""
    if sociallogin is None:
        return
    provider = settings.SIGN_IN.provider(sociallogin.account.provider)
    if provider is not None:
        bound_session(request, provider, sociallogin.state.get(_STATE, {}), now())
