"""Reading the clock happens here and at the edges only; everything else takes `now` as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time, with its zone."""
    return datetime.now(UTC)
