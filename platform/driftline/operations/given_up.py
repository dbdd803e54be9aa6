"""Long work that was given up or is not gone on with: what the page, the doctor and the invariants say of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, not_found
from driftline.base.work.leased_work import LeasedWork
from driftline.base.work.long_work import LongWorkKind
from driftline.base.work.task_queue import Task, enqueue
from driftline.operations.long_work import kinds

LATE_AFTER = timedelta(hours=1)
SHOWN = 100


@dataclass(frozen=True)
class Piece:
    """One piece of long work, as people see it."""

    kind: str
    id: int
    subject: str
    project: str
    since: datetime
    attempts: int
    reason: str


def given_up(project: Project | None = None) -> list[Piece]:
    """List the work of which all attempts were used up, of one project or of all, newest first."""
    found = [
        _piece(kind, row, row.finished_at)
        for kind, rows in _rows(project)
        for row in rows.given_up().order_by("-finished_at")[:SHOWN]
    ]
    return sorted(found, key=lambda piece: piece.since, reverse=True)[:SHOWN]


def late(project: Project | None = None) -> list[Piece]:
    """List the work that has waited for a worker for longer than an hour, the longest first."""
    since = now() - LATE_AFTER
    found = []
    for kind, rows in _rows(project):
        waiting = rows.filter(pk__in=kind.startable().values("pk"), **{f"{kind.since}__lt": since})
        found += [_piece(kind, row, getattr(row, kind.since)) for row in waiting.order_by(kind.since)[:SHOWN]]
    return sorted(found, key=lambda piece: piece.since)[:SHOWN]


def count_open(project: Project) -> list[tuple[str, int, int]]:
    """Count what waits and what is worked on, by kind."""
    return [
        (
            kind.name,
            kind.waiting().filter(**{kind.project: project}).count(),
            kind.running().filter(**{kind.project: project}).count(),
        )
        for kind in kinds()
    ]


def retry(*, kind: str, id: int, actor: str, project: Project | None = None) -> None:
    """Queue given-up work again; raises Problem 404 where there is none like that."""
    with transaction.atomic():
        row, owner = _given_up_row(kind, id, project)
        type(row)._default_manager.filter(pk=row.pk).begin_again()  # type: ignore[attr-defined]
        _record("work.retry", row, owner, actor)
        enqueue(Task.LONG_WORK)


def dismiss(*, kind: str, id: int, actor: str, project: Project | None = None) -> None:
    """Stop telling of given-up work, which stays failed where it was asked for; raises Problem 404.

    Raises Problem 409 for work that other work waits for.
    """
    with transaction.atomic():
        row, owner = _given_up_row(kind, id, project)
        rows = type(row)._default_manager.filter(pk=row.pk)
        rows.update(attempts=0)
        if rows.given_up().exists():  # type: ignore[attr-defined]
            raise Problem(409, "work_needed", f"Other work waits for the {kind} {row}: have it tried again.")
        _record("work.dismiss", row, owner, actor)


def _given_up_row(name: str, id: int, project: Project | None) -> tuple[LeasedWork, Project]:
    kind = next((kind for kind in kinds() if kind.name == name and kind.model is not None), None)
    if kind is None or kind.model is None:
        raise not_found("work")
    rows = _of(kind.model._default_manager.all(), kind, project)
    row = rows.given_up().select_for_update(of=("self",)).filter(pk=id).first()
    if row is None:
        raise not_found("work")
    owner = rows.filter(pk=id).values_list(kind.project, flat=True)[0]
    return row, Project.objects.get(pk=owner)


def _record(action: str, row: LeasedWork, project: Project, actor: str) -> None:
    record_audit(project=project, actor=actor, action=action, subject=str(row)[:200])


def _rows(project: Project | None) -> Iterator[tuple[LongWorkKind, Any]]:
    for kind in kinds():
        if kind.model is not None:
            rows = _of(kind.model._default_manager.all(), kind, project)
            yield kind, rows.select_related(kind.project)


def _of(rows: QuerySet[Any], kind: LongWorkKind, project: Project | None) -> Any:
    return rows if project is None else rows.filter(**{kind.project: project})


def _piece(kind: LongWorkKind, row: Any, since: datetime) -> Piece:
    owner = row
    for name in kind.project.split("__"):
        owner = getattr(owner, name)
    return Piece(kind.name, row.pk, str(row), owner.slug, since, row.attempts, row.error)
