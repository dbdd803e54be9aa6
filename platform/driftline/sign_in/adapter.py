"""How allauth signs people in here: whom it lets try, where its links lead, how it keeps secrets."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

from driftline.base.accounts.access.known_browsers import known_browser
from driftline.base.accounts.access.mfa import needs_mfa
from driftline.base.accounts.audit import sign_ins as sign_in_audit
from driftline.base.http.client_address import address_of
from driftline.base.http.networks import parse_address
from driftline.base.keys import secrets_at_rest
from driftline.sign_in.single_sign_on.people import refuse_password
from driftline.sign_in.single_sign_on.sessions import SIGNED_OUT_OF, keep_note
from driftline.sign_in.unlisted_sessions import end_other_sessions

NO_ADDRESS = "0.0.0.0"


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by an admin; failed sign-ins are counted by account, by address and by known browser."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the client's address; sessions are kept with one, so there is one for a peer without, too."""
        address = address_of(request)
        return address if parse_address(address) else NO_ADDRESS

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count this try, and refuse it where there were too many; `authenticate` takes it back if it succeeds.

        Who may not use a password is refused before it is looked at, which shows nobody whether an account exists.
        """
        key = self._get_login_attempts_cache_key(request, **credentials)
        if reason := refuse_password(key):
            sign_in_audit.password_refused(email=key)
            raise ValidationError(reason)
        browser = known_browser(request, key)
        self._login_failed_rl_usage = ratelimit.consume(
            request,
            app="allauth.account",
            action="login_failed_known_browser" if browser else "login_failed",
            key=f"{key} {browser.nonce}" if browser else key,
        )
        if not self._login_failed_rl_usage:
            sign_in_audit.throttled(email=key)
            raise self.validation_error("too_many_login_attempts")

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        email = self._get_login_attempts_cache_key(request, **credentials)
        sign_in_audit.failed(email=email, factor="password")

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Name the account alone: allauth's own key has the request's Host in it, which a guesser chooses."""
        return str(credentials.get("email", "")).strip().lower()

    def logout(self, request: HttpRequest) -> None:
        """End the session here, and keep what the provider that opened it wants to see."""
        note = keep_note(request)
        super().logout(request)
        if note:
            request.session[SIGNED_OUT_OF] = note

    def get_logout_redirect_url(self, request: HttpRequest) -> str:
        return reverse("signed_out") if keep_note(request) else super().get_logout_redirect_url(request)

    def get_reset_password_from_key_url(self, key: str) -> str:
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return settings.PUBLIC_URL + path.replace("UID-KEY", key)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Name this installation in a letter as its settings do, not as the request's Host header does."""
        site = SimpleNamespace(name="Driftline", domain=urlsplit(settings.PUBLIC_URL).netloc)
        super().send_mail(
            template_prefix, email, {"current_site": site, "public_url": settings.PUBLIC_URL, **context}
        )

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return settings.PUBLIC_URL + reverse("account_confirm_email", args=[emailconfirmation.key])


class SessionsAdapter(DefaultUserSessionsAdapter):
    """Signs somebody out everywhere else, also where no list has the session, and records it."""

    def end_sessions(self, sessions: Sequence[Any]) -> None:
        super().end_sessions(sessions)
        user, here = self.request.user, self.request.session.session_key
        if count := len(sessions) + end_other_sessions(user, but=here):
            sign_in_audit.sessions_ended(user=user, count=count)


class SecretOutOfReach(ValidationError):
    """A second factor cannot be read; forms show it as an error, pages leave out what needs it."""

    silent_variable_failure = True


class MfaAdapter(DefaultMFAAdapter):
    """Seals TOTP secrets and the seeds of recovery codes under the installation's key."""

    def encrypt(self, text: str) -> str:
        return secrets_at_rest.encrypt(text).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Open a sealed secret; one from before secrets were sealed comes back as it is."""
        if not secrets_at_rest.is_sealed(encrypted_text):
            return encrypted_text
        try:
            return secrets_at_rest.decrypt(encrypted_text.encode())
        except secrets_at_rest.SecretUnreadable as error:
            raise SecretOutOfReach(str(error)) from error

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        return not needs_mfa(authenticator.user)
