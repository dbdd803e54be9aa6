"""What may have to happen before rows leave the log by age; the lake provides it."""

from collections.abc import Collection, Set
from datetime import date

from driftline.base.accounts.models import Project
from driftline.base.hooks import Hook

type ModelDay = tuple[int, date]
"""The id of a model, and one of its event days."""


def _none_of_them(days: Set[ModelDay], partly: Set[ModelDay]) -> Set[ModelDay]:
    return frozenset()


unwritten_days = Hook(_none_of_them)
"""Returns those of `days`, of which rows expired, that have to stay; of `partly` expired ones other rows are kept."""


def _nothing_to_write(day: date, models: Collection[int]) -> None:
    """Do nothing."""


write_soon = Hook(_nothing_to_write)
"""Hears that a day of these models would leave the log, and has to stay."""


def _nothing_to_close(day: date, models: Collection[int]) -> bool:
    return True


close_expired = Hook(_nothing_to_close)
"""Notes, in the transaction that deletes it, that a day leaves the log; False where it has to stay."""


def _at_once(project: Project) -> bool:
    return False


leave_by_lake = Hook(_at_once)
"""Returns whether rows of a project leave the log once they are in its lake."""
