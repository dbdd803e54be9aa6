"""Long background work of all kinds: whose turn it is, and that a worker keeps processes free for what is short.

Each row waits in its own table. A message only says that something waits: the worker that gets it finds out which
project is next and works on its oldest row, so that a message that is lost, late or doubled changes nothing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.dispatch import receiver

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.accounts.turns import in_turn, take_turn
from driftline.common.clock import now
from driftline.common.leased_work import LeasedWork
from driftline.common.signals import work_failed
from inference.prediction_log.erasure import services as erasures
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.imports import services as imports
from inference.prediction_log.imports.models import Import
from inference.prediction_log.lake.days import files_to_write
from inference.prediction_log.lake.models import LakeFile
from inference.prediction_log.lake.writing import write_lake_file
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.models import SegmentSearch, UnreadDay
from monitors.metrics.rows.ended_days import all_days_to_read, read_days_beside
from monitors.metrics.rows.segment_search import do_search
from monitors.optimiser import work as optimiser
from monitors.optimiser.models import Optimisation
from monitors.reports.building import build, reports_to_build
from monitors.reports.models import Report
from monitors.workflows import engine
from monitors.workflows.mlflow.models import MlflowReport, MlflowVersion
from monitors.workflows.mlflow.registry_imports.importing import import_model
from monitors.workflows.mlflow.registry_imports.listing import list_registry
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport
from monitors.workflows.mlflow.reporting import send_report
from monitors.workflows.mlflow.taking import take_version
from monitors.workflows.models import ACTIVE_STATES, Run
from monitors.workflows.pulls.models import Pull
from monitors.workflows.pulls.pulling import do_pull

LANE = "long"


@dataclass(frozen=True)
class LongWorkKind:
    """One kind of long work: which rows wait, which are worked on, and how one is gone on with."""

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


def _kind(
    model: type[LeasedWork],
    work: Callable[[int], object],
    *,
    project: str = "model__project",
    waiting: Callable[[], QuerySet[Any]] | None = None,
    since: str = "touched_at",
    while_archived: bool = False,
    patience: timedelta = timedelta(0),
) -> LongWorkKind:
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


KINDS: tuple[LongWorkKind, ...] = (
    _kind(Reference, build_reference),
    _kind(Import, imports.resume_import, waiting=imports.resumable_imports),
    _kind(
        Erasure,
        erasures.resume_erasure,
        project="project",
        waiting=erasures.resumable_erasures,
        while_archived=True,
    ),
    LongWorkKind(
        name="ended day",
        project="model__project",
        since="touched_at",
        waiting=lambda: all_days_to_read(now()),
        running=lambda: UnreadDay.objects.filter(lease_until__gt=now(), lease_token__isnull=False),
        work=read_days_beside,
        patience=timedelta(minutes=10),  # a classifier for each day of each model, which nobody watches
    ),
    _kind(
        LakeFile,
        write_lake_file,
        waiting=files_to_write,
        since="due_at",
        while_archived=True,
        patience=timedelta(days=1),  # a new lake is filled with the days of years
    ),
    _kind(SegmentSearch, do_search),
    _kind(Report, build, waiting=reports_to_build),
    _kind(Optimisation, optimiser.resume_optimisation, project="version__model__project"),
    _kind(MlflowVersion, take_version),
    _kind(Pull, do_pull),
    _kind(RegistryImport, list_registry, project="project"),
    _kind(ImportedModel, import_model, project="registry_import__project"),
    _kind(MlflowReport, send_report, project="taken__model__project"),
    LongWorkKind(
        name="run",
        project="model__project",
        since="created_at",
        waiting=engine.runs_before_a_long_step,
        running=lambda: Run.objects.filter(state__in=ACTIVE_STATES, lease_until__gt=now()),
        work=lambda pk: engine.advance(run_id=pk),
    ),
)


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
    return any(kind.startable().exists() for kind in KINDS)


def _oldest_rows() -> list[tuple[int, _Waiting]]:
    found = []
    for kind in KINDS:
        path = f"{kind.project}_id"
        rows = kind.startable().order_by(path, kind.since, "pk").distinct(path)
        found += [
            (project_id, _Waiting(since, kind, pk))
            for project_id, since, pk in rows.values_list(path, kind.since, "pk")
        ]
    return found


def _count_running() -> Counter[int]:
    running: Counter[int] = Counter()
    for kind in KINDS:
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
    kind = next(kind for kind in KINDS if kind.name == name)
    waiting = kind.waiting().filter(pk=row.pk).values_list(kind.since, f"{kind.project}_id").first()
    if waiting is None:
        return None
    since, project_id = waiting
    before, running = Counter[str](), Counter[str]()
    for other in KINDS:
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
    kind = next(kind for kind in KINDS if kind.model is type(row))
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
