"""Sessions that a provider opened: how long they last, and how they end when it says so."""

from datetime import datetime, timedelta
from typing import Any

from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest

from driftline.base.accounts.models import User
from driftline.base.accounts.services import record_audit
from driftline.sign_in.single_sign_on.claims import MAX_AGE_SECONDS, EndedSession
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.refusals import SignInRefused

SESSION_NOTE = "single_sign_on"
"""Key of the session: which provider opened it, and what it wants to see when it is left: an ID token or a name."""
SIGNED_OUT_OF = "signed_out_of"
"""The same, in the session of somebody who has just signed out."""


def bound_session(
    request: HttpRequest, provider: ProviderSettings, note: dict[str, Any], now: datetime
) -> None:
    """End this session when the provider has to be asked again, whatever is done in it until then.

    That is after `session_hours`, or when the provider ends its own session, if it says that and it is earlier.
    """
    seconds = timedelta(hours=provider.session_hours).total_seconds()
    if note.get("expires") is not None:
        seconds = min(seconds, note["expires"] - now.timestamp())
    request.session.set_expiry(now + timedelta(seconds=seconds))
    request.session[SESSION_NOTE] = {"provider": provider.id, **note}
    UserSession.objects.create_from_request(request)
    data = {"provider": provider.id, "sid": note.get("sid", "")}
    UserSession.objects.filter(session_key=request.session.session_key).update(data=data)


def keep_note(request: HttpRequest) -> dict[str, Any]:
    """Return what is to be known of a session after it has ended; empty for one that no provider opened."""
    return dict(request.session.get(SESSION_NOTE, {}))


def end_sessions_at_logout(provider: ProviderSettings, ended: EndedSession) -> int:
    """End the sessions that a logout token names, and return how many; the same token a second time is refused."""
    used = f"sso:{provider.id}:logout:{ended.token_id}"[:240]
    if cache.get(used):
        raise SignInRefused("token_used", "This logout token was used already.")
    sessions = UserSession.objects.filter(data__provider=provider.id)
    if ended.sessions:
        sessions = sessions.filter(data__sid__in=ended.sessions)
    if ended.subject:
        person = SocialAccount.objects.filter(provider=provider.id, uid=ended.subject)
        sessions = sessions.filter(user__in=person.values("user"))
    count = _end(list(sessions.select_related("user")), actor=provider.actor)
    cache.set(used, True, 2 * MAX_AGE_SECONDS)  # not before: one that failed is sent again
    return count


def end_all_sessions(user: User, *, actor: str) -> int:
    """Sign a person out everywhere, and return of how many sessions."""
    return _end(list(UserSession.objects.filter(user=user).select_related("user")), actor=actor)


def _end(sessions: list[UserSession], *, actor: str) -> int:
    with transaction.atomic():
        for session in sessions:
            session.end()
        for user in {one.user for one in sessions}:
            count = sum(one.user == user for one in sessions)
            record_audit(
                project=None, actor=actor, action="sessions.end", subject=user.email, after={"count": count}
            )
    return len(sessions)
