"""Long background work of all kinds: whose turn it is, and that a worker keeps processes free for what is short.

Each row waits in its own table. A message only says that something waits: the worker that gets it finds out which
project is next and works on its oldest row, so that a message that is lost, late or doubled changes nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.dispatch import receiver

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.accounts.turns import in_turn, take_turn
from driftline.base.clock import now
from driftline.base.feature import features
from driftline.base.signals import work_failed
from driftline.base.work.leased_work import LeasedWork
from driftline.base.work.long_work import LongWorkKind, leased_kind
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.rows.ended_days import all_days_to_read, read_days_beside
from monitors.metrics.rows.segment_search import do_search
from monitors.metrics.store.models import SegmentSearch, UnreadDay
from monitors.workflows import engine
from monitors.workflows.models import ACTIVE_STATES, Run

LANE = "long"


def kinds() -> Sequence[LongWorkKind]:
    """Return all kinds of long work, those of features included."""
    return (*KINDS, *chain.from_iterable(feature.long_work for feature in features()))


KINDS: tuple[LongWorkKind, ...] = (
    leased_kind(Reference, build_reference),
    LongWorkKind(
        name="ended day",
        project="model__project",
        since="touched_at",
        waiting=lambda: all_days_to_read(now()),
        running=lambda: UnreadDay.objects.filter(lease_until__gt=now(), lease_token__isnull=False),
        work=read_days_beside,
        patience=timedelta(minutes=10),  # a classifier for each day of each model, which nobody watches
    ),
    leased_kind(SegmentSearch, do_search),
    LongWorkKind(
        name="run",
        project="model__project",
        since="created_at",
        waiting=engine.runs_before_a_long_step,
        running=lambda: Run.objects.filter(state__in=ACTIVE_STATES, lease_until__gt=now()),
        work=lambda pk: engine.advance(run_id=pk),
    ),
)
"""Those of what every installation does."""


@dataclass(frozen=True)
class _Waiting:
    """The oldest row of one project and kind that waits."""

    since: datetime
    kind: LongWorkKind
    pk: int

    @property
    def urgent_at(self) -> datetime:
        """Return until when it lets other work pass, by which the rows of one project are ordered."""
        return self.since + self.kind.patience


def run_next() -> bool:
    """Work on the row that is next; returns whether one waited."""
    oldest: dict[int, _Waiting] = {}
    for project_id, found in _oldest_rows():
        if project_id not in oldest or found.urgent_at < oldest[project_id].urgent_at:
            oldest[project_id] = found
    if not oldest:
        return False
    moment = now()
    urgent = {project: found for project, found in oldest.items() if found.urgent_at <= moment} or oldest
    order = in_turn(LANE, {project: found.since for project, found in urgent.items()}, _count_running())
    take_turn(LANE, order[0])
    found = urgent[order[0]]
    found.kind.work(found.pk)
    return True


def something_waits() -> bool:
    """Return whether there is long work for a worker."""
    return any(kind.startable().exists() for kind in kinds())


def _oldest_rows() -> list[tuple[int, _Waiting]]:
    found = []
    for kind in kinds():
        path = f"{kind.project}_id"
        rows = kind.startable().order_by(path, kind.since, "pk").distinct(path)
        found += [
            (project_id, _Waiting(since, kind, pk))
            for project_id, since, pk in rows.values_list(path, kind.since, "pk")
        ]
    return found


def _count_running() -> Counter[int]:
    running: Counter[int] = Counter()
    for kind in kinds():
        running.update(kind.running().values_list(f"{kind.project}_id", flat=True))
    return running


# -- what waits --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class QueuePlace:
    """What a row waits for: the work of its project that comes before it, and what workers are at, by kind."""

    since: datetime
    before: Counter[str]
    running: Counter[str]

    def __str__(self) -> str:
        parts = []
        if self.before:
            parts.append(f"behind {_pieces(self.before)} of this project")
        if self.running:
            parts.append(f"while workers are at {_pieces(self.running)}")
        return ", ".join(parts) or "and is next"


def wait_of(row: Any) -> QueuePlace | None:
    """Return what this row of long work waits for; None while a worker is at it, and where it is done."""
    name = str(row._meta.verbose_name)
    kind = next(kind for kind in kinds() if kind.name == name)
    waiting = kind.waiting().filter(pk=row.pk).values_list(kind.since, f"{kind.project}_id").first()
    if waiting is None:
        return None
    since, project_id = waiting
    before, running = Counter[str](), Counter[str]()
    for other in kinds():
        earlier = {other.project: project_id, f"{other.since}__lt": since + kind.patience - other.patience}
        before[other.name] = (
            other.startable().filter(**earlier).exclude(pk=row.pk if other is kind else None).count()
        )
        mine = other.running().filter(**{other.project: project_id}).count()
        running[other.name] += mine
        running["work of other projects"] += other.running().count() - mine
    return QueuePlace(since, +before, +running)


def _pieces(counts: Counter[str]) -> str:
    return f"{counts.total():,} {'piece' if counts.total() == 1 else 'pieces'} of work ({', '.join(counts)})"


# -- what failed -------------------------------------------------------------------------------------------------------
@receiver(work_failed)
def audit_failure(*, row: LeasedWork, **_: Any) -> None:
    """Leave an audit row for work that failed for good."""
    kind = next(kind for kind in kinds() if kind.model is type(row))
    project = Project.objects.get(
        pk=type(row)._default_manager.filter(pk=row.pk).values_list(f"{kind.project}_id", flat=True)[0]
    )
    record_audit(
        project=project,
        actor="worker",
        action="work.failed",
        subject=str(row)[:200],
        after={"work": kind.name, "id": row.pk, "attempts": row.attempts, "reason": row.error},
    )
