"""Writes who signed in, who failed to, and what changed of passwords and second factors into the audit trail."""

from typing import Any

from allauth.account import signals as account_signals
from allauth.mfa import signals as mfa_signals
from allauth.mfa.models import Authenticator
from django.contrib.auth.signals import user_logged_out
from django.core.cache import cache
from django.dispatch import receiver
from django.http import HttpRequest

from driftline.base.accounts.access.known_browsers import remember_browser
from driftline.base.accounts.models import ApiToken, DirectoryToken, RotatedToken, User, digest_of
from driftline.base.accounts.services import record_audit

ANYBODY = "somebody"  # who is not signed in; the entry has the address
THROTTLED_SECONDS = 900  # one row for an account in this time: refused tries would fill the trail


def failed(*, email: str, factor: str) -> None:
    """Record a wrong password or code."""
    _record("sign_in.failed", actor=ANYBODY, subject=email, after={"factor": factor})


def throttled(*, email: str) -> None:
    """Record that tries for an account are refused, once for a while."""
    if cache.add(f"audit:throttled:{digest_of(email)}", True, THROTTLED_SECONDS):
        _record("sign_in.throttled", actor=ANYBODY, subject=email)


def password_refused(*, email: str) -> None:
    """Record that somebody tried a password where they may use none, once for a while."""
    if cache.add(f"audit:password_refused:{digest_of(email)}", True, THROTTLED_SECONDS):
        _record("sign_in.refused", actor=ANYBODY, subject=email, after={"code": "passwords_off"})


def token_refused(token: ApiToken, *, code: str) -> None:
    """Record that a valid token was refused for where it was used, once for a while: somebody may have copied it."""
    if _is_first_refusal(token):
        record_audit(
            project=token.project,
            actor=f"token {token.prefix}…",
            action="token.refused",
            subject=f"{token.prefix} {token.name}",
            after={"code": code},
        )


def directory_token_refused(token: DirectoryToken, *, code: str) -> None:
    """Record the same of a token of a provider."""
    if _is_first_refusal(token):
        actor = f"SCIM token {token.prefix}…"
        record_audit(
            project=None, actor=actor, action="scim_token.refused", subject=token.prefix, after={"code": code}
        )


def _is_first_refusal(token: RotatedToken) -> bool:
    """Return whether a token was not refused for a while, and note that it is now."""
    kind = "token" if isinstance(token, ApiToken) else "scim_token"
    return bool(cache.add(f"audit:{kind}_refused:{token.pk}", True, THROTTLED_SECONDS))


def reset_requested(*, email: str) -> None:
    """Record that somebody asked for a link to a new password, for an account that may not exist."""
    _record("password.reset_requested", actor=ANYBODY, subject=email)


def sessions_ended(*, user: User, count: int) -> None:
    """Record that somebody ended their other sessions."""
    _record_of(user, "sessions.end", count=count)


@receiver(account_signals.user_logged_in)
def _signed_in(request: HttpRequest, user: User, **_: Any) -> None:
    remember_browser(request, user.email)
    methods = [
        step.get("provider") or step["method"]
        for step in request.session.get("account_authentication_methods", [])
    ]
    _record_of(user, "sign_in", methods=methods)


@receiver(user_logged_out)
def _signed_out(user: User | None, **_: Any) -> None:
    if user is not None:
        _record_of(user, "sign_out")


@receiver(mfa_signals.authentication_failed)
def _code_failed(user: User, **_: Any) -> None:
    failed(email=user.email, factor="code")


@receiver(account_signals.password_reset)
def _password_reset(request: HttpRequest, user: User, **_: Any) -> None:
    remember_browser(request, user.email)  # whoever reads their mail is no stranger
    _record_of(user, "password.reset")


@receiver([account_signals.password_changed, account_signals.password_set])
def _password_changed(user: User, **_: Any) -> None:
    _record_of(user, "password.change")


@receiver(mfa_signals.authenticator_added)
def _factor_added(user: User, authenticator: Authenticator, **_: Any) -> None:
    _record_of(user, "mfa.add", factor=authenticator.type)


@receiver(mfa_signals.authenticator_removed)
def _factor_removed(user: User, authenticator: Authenticator, **_: Any) -> None:
    _record_of(user, "mfa.remove", factor=authenticator.type)


@receiver(mfa_signals.authenticator_reset)
def _factor_reset(user: User, authenticator: Authenticator, **_: Any) -> None:
    _record_of(user, "mfa.renew", factor=authenticator.type)


@receiver(account_signals.email_added)
def _email_added(user: User, email_address: Any, **_: Any) -> None:
    _record_of(user, "email.add", email=email_address.email)


@receiver(account_signals.email_removed)
def _email_removed(user: User, email_address: Any, **_: Any) -> None:
    _record_of(user, "email.remove", email=email_address.email)


@receiver(account_signals.email_changed)
def _email_changed(user: User, to_email_address: Any, **_: Any) -> None:
    _record_of(user, "email.change", email=to_email_address.email)


def _record_of(user: User, action: str, **after: Any) -> None:
    _record(action, actor=user.email, subject=user.email, after=after or None)


def _record(action: str, *, actor: str, subject: str, after: Any = None) -> None:
    record_audit(project=None, actor=actor, action=action, subject=subject, after=after)
