"""Reads moments that commands are given."""

from datetime import datetime

from django.core.management.base import CommandError

from driftline.base.clock import now
from driftline.base.periods import parse_moment


def read_moment(text: str | None) -> datetime | None:
    """Read RFC 3339 with a zone, or a distance back such as -7d; raises CommandError."""
    try:
        return parse_moment(text, now=now()) if text else None
    except (ValueError, OverflowError) as error:
        raise CommandError(f"{text!r} is no time; use RFC 3339 with a zone, or -7d.") from error
