"""What may have to happen before rows leave the log by age; `inference.prediction_log.lake` provides it."""

from collections.abc import Collection, Sequence
from datetime import date

from driftline.common.hooks import Hook
from inference.prediction_log.models import PackedDay


def _all_of_them(
    day: date, stored: Sequence[PackedDay], expired: Sequence[PackedDay]
) -> tuple[PackedDay, ...]:
    return tuple(expired)


leave_unwritten = Hook(_all_of_them)
"""Returns those of a day's expired rows that may leave now, of all that are stored."""


def _nothing_to_write(day: date, models: Collection[int]) -> None:
    """Do nothing."""


write_soon = Hook(_nothing_to_write)
"""Hears that a day of these models would leave the log, and has to stay."""


def _nothing_to_close(day: date, models: Collection[int]) -> bool:
    return True


close_expired = Hook(_nothing_to_close)
"""Notes, in the transaction that deletes it, that a day leaves the log; False where it has to stay."""
