"""Ends sessions that no list has: those from before sessions were listed, and those that older code began."""

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db.models.functions import Now

from driftline.base.accounts.models import User

_BATCH = 500


def end_other_sessions(user: User, *, but: str | None) -> int:
    """Delete every session of a person except the one with the key `but`, and return how many those were.

    Whom a session is of stands inside it, so that those of everybody are read, some hundred at a time.
    """
    others = Session.objects.filter(expire_date__gt=Now()).exclude(session_key=but or "")
    ended = [
        one.session_key
        for one in others.iterator(chunk_size=_BATCH)
        if one.get_decoded().get(SESSION_KEY) == str(user.pk)
    ]
    return Session.objects.filter(session_key__in=ended).delete()[0]
