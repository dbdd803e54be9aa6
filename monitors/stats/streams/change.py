"""What a detector says of a stream of numbers whose mean changed."""

from __future__ import annotations

from dataclasses import dataclass


class UnreadableState(ValueError):
    """Stored bytes are not the state of this detector."""


@dataclass(frozen=True, slots=True)
class Change:
    """Where a stream's mean changed, as far as the values up to now tell.

    `since` is the mark of the first value after the change; the means and counts are those of the values that the
    detector held on either side of it.
    """

    since: int
    before: float
    after: float
    n_before: int
    n_after: int
