"""Writes of digests: a person's choice, and its end by a link."""

from django.core import signing

from driftline.base.accounts.models import User
from driftline.base.errors import invalid, not_found
from inference.data_files.times import time_zones
from monitors.digests.letter import SALT
from monitors.digests.models import Digest


def choose_digest(*, user: User, every: str, hour: int, zone: str, weekday: int = 0) -> Digest | None:
    """Set the digests that a person gets, or none where `every` is empty; a change keeps what the last one covered.

    Raises Problem.
    """
    if not every:
        Digest.objects.filter(user=user).delete()
        return None
    if every not in Digest.Every.values:
        raise invalid("/every", f"{every[:20]!r} is not one of {', '.join(Digest.Every.values)}.")
    if hour not in range(24):
        raise invalid("/hour", f"The hour is {hour}; use 0 to 23.")
    if weekday not in Digest.Weekday.values:
        raise invalid("/weekday", f"The weekday is {weekday}; use 0, Monday, to 6, Sunday.")
    if zone not in time_zones():
        raise invalid("/zone", f"{zone[:64]!r} is no time zone; use a name such as Europe/Berlin.")
    choice = {"every": every, "hour": hour, "zone": zone, "weekday": weekday}
    digest, _ = Digest.objects.update_or_create(user=user, defaults=choice)
    return digest


def check_token(token: str) -> int:
    """Return the person that a link unsubscribes; raises a 404 Problem for a token that was not made here."""
    try:
        user_id = signing.loads(token, salt=SALT)
    except signing.BadSignature as error:
        raise not_found("digest") from error
    return int(user_id)


def unsubscribe(token: str) -> None:
    """End the digests of the person of a link; doing it twice changes nothing. Raises a 404 Problem."""
    Digest.objects.filter(user_id=check_token(token)).delete()
