"""Work of models that failed: which windows, rules and days it is about, and why. No stage below sees all kinds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from driftline.base.accounts.services import record_audit
from driftline.base.periods import named
from driftline.base.work.attempts import MAX_ATTEMPTS, AttemptedQuerySet, AttemptedWorkRow
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from monitors.metrics.store.models import PendingEvaluation, UnreadDay
from monitors.summaries.models import StaleWindow

_TASKS: dict[type[AttemptedWorkRow], Task] = {
    TouchedPeriod: Task.SUMMARISE,
    StaleWindow: Task.MEASURE,
    UnreadDay: Task.LONG_WORK,
    PendingEvaluation: Task.JUDGE,
}
SHOWN = 20  # of a kind


@dataclass(frozen=True)
class StuckWork:
    """Work that failed at least once: `is_failed` where it is not tried again."""

    model: Model
    what: str
    start: datetime | None
    reason: str
    attempts: int

    @property
    def is_failed(self) -> bool:
        return self.attempts >= MAX_ATTEMPTS


def is_stuck() -> Q:
    """Return the condition, in a question about models, that work of the model failed and is not done."""
    stuck = Q()
    for kind in _TASKS:
        stuck |= Q(Exists(_rows(kind).troubled().filter(model=OuterRef("pk"))))
    return stuck


def stuck_work(models: Sequence[Model] | None = None) -> list[StuckWork]:
    """List the work of these models, or of all, that failed and is not done, the oldest windows of each kind first."""
    return [found for kind in _TASKS for found in _of_kind(kind, models)]


def stuck_work_of_each(models: Sequence[Model]) -> dict[int, list[StuckWork]]:
    """List the same by the id of each of these models, in as many questions as for one."""
    found: dict[int, list[StuckWork]] = {model.pk: [] for model in models}
    for one in stuck_work(models):
        found[one.model.pk].append(one)
    return found


def failed_work() -> list[QuerySet[Any]]:
    """Select the work rows that are not tried any more, of each kind."""
    return [_rows(kind).failed() for kind in _TASKS]


def count_failed() -> int:
    """Count the work rows that are not tried any more."""
    return sum(rows.count() for rows in failed_work())


def retry(*, model: Model, actor: str) -> int:
    """Retry everything of a model that failed; returns how many work rows that are."""
    with transaction.atomic():
        retried = 0
        for kind, task in _TASKS.items():
            if found := _rows(kind).filter(model=model).troubled().retry():
                enqueue(task, model_id=model.pk)
                retried += found
        if retried:
            record_audit(
                project=model.project,
                actor=actor,
                action="model.retry",
                subject=model.name,
                after={"work": retried},
            )
    return retried


def _rows(kind: type[AttemptedWorkRow]) -> AttemptedQuerySet[Any]:
    rows: AttemptedQuerySet[Any] = kind._default_manager.all()  # type: ignore[assignment]
    return rows


def _of_kind(kind: type[AttemptedWorkRow], models: Sequence[Model] | None) -> Iterator[StuckWork]:
    related = ("model__project", "version") if kind is TouchedPeriod else ("model__project",)
    rows = _rows(kind).troubled().select_related(*related).order_by("pk")
    if models is not None:
        rows = rows.filter(model__in=models)
    for row in rows[: SHOWN * max(len(models or ()), 1)]:
        what, start = _described(row)
        yield StuckWork(row.model, what, start, row.reason, row.attempts)


def _described(row: AttemptedWorkRow) -> tuple[str, datetime | None]:
    match row:
        case TouchedPeriod():
            return f"Summary of an hour ({row.role} {row.version.version})", row.hour
        case StaleWindow():
            return f"Metrics of {'an' if row.span == 'hour' else 'a'} {named(row.span)}", row.start
        case UnreadDay():
            return "Metrics from the rows of a day", row.start
    return "Rules", None
