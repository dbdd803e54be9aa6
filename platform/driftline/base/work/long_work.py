"""A kind of long background work: rows of a table that wait for a worker, one project after another."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from driftline.base.work.leased_work import LeasedWork


@dataclass(frozen=True)
class LongWorkKind:
    """One kind of long work: which rows wait, which are worked on, and how one is continued."""

    name: str
    project: str  # the path from a row to its project
    since: str  # the field by which the oldest row is found
    waiting: Callable[[], QuerySet[Any]]
    running: Callable[[], QuerySet[Any]]
    work: Callable[[int], object]
    model: type[LeasedWork] | None = None  # None where attempts are counted elsewhere
    while_archived: bool = False  # goes on in an archived project; the rest stands still until it is restored
    patience: timedelta = timedelta(0)  # for so long it waits while any other work does, of whatever project

    def startable(self) -> QuerySet[Any]:
        """Select the rows that a worker may begin with now."""
        return (
            self.waiting()
            if self.while_archived
            else self.waiting().filter(**{f"{self.project}__archived_at": None})
        )


def leased_kind(
    model: type[LeasedWork],
    work: Callable[[int], object],
    *,
    project: str = "model__project",
    waiting: Callable[[], QuerySet[Any]] | None = None,
    since: str = "touched_at",
    while_archived: bool = False,
    patience: timedelta = timedelta(0),
) -> LongWorkKind:
    """Return the kind of work whose rows are leased, and named as their table is."""
    rows = model._default_manager.all
    return LongWorkKind(
        name=str(model._meta.verbose_name),
        project=project,
        since=since,
        waiting=waiting or (lambda: rows().waiting()),  # type: ignore[attr-defined]
        running=lambda: rows().running(),  # type: ignore[attr-defined]
        work=work,
        model=model,
        while_archived=while_archived,
        patience=patience,
    )
