"""How allauth signs people in here: whom it lets try, where its links lead, how it keeps secrets."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

from driftline.accounts import sign_in_audit
from driftline.accounts.known_browsers import known_browser
from driftline.accounts.mfa import needs_mfa
from driftline.common import secrets_at_rest
from driftline.common.client_address import address_of


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by an admin; failed sign-ins are counted by account, by address and by known browser."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count this try, and refuse it where there were too many; `authenticate` takes it back if it succeeds."""
        key = self._get_login_attempts_cache_key(request, **credentials)
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

    def get_reset_password_from_key_url(self, key: str) -> str:
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return settings.PUBLIC_URL + path.replace("UID-KEY", key)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Name this installation in a letter as its settings do, not as the request's Host header does."""
        site = SimpleNamespace(name="Driftline", domain=urlsplit(settings.PUBLIC_URL).netloc)
        super().send_mail(template_prefix, email, {"current_site": site, **context})

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return settings.PUBLIC_URL + reverse("account_confirm_email", args=[emailconfirmation.key])


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
