"""Segments that got worse or grew: searches that are asked for and done by a worker, and what they found.

By a loss, rows are compared with those of the weeks before, so that a segment that was always harder is no news (the
kernel is `monitors.stats.segments.search`); by drift, their shares with those of the reference (`segment_growth`). What
was found is kept until the log holds other rows or labels of the period, or by drift there is another reference.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, transaction
from django.db.models import F
from django.db.models.functions import Now

from driftline.base.errors import Problem, invalid
from driftline.base.periods import Period
from driftline.base.processes.machine_paths import without_folders
from driftline.base.work.leased_work import WorkFailed, WorkLease, attempt
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.models import Model, ModelTask
from monitors.metrics.rows.segment_growth import Growth, compared_with, find_growth
from monitors.metrics.rows.segment_rows import held_rows, scored_rows
from monitors.metrics.store.models import RowLoss, SegmentSearch
from monitors.stats.segments.search import SegmentFindings, search_segments

log = logging.getLogger(__name__)

BEFORE = timedelta(days=28)  # a period is compared with
MIN_EARLIER_ROWS = 500  # labelled rows, or the rest of the period itself has to do
_OF_CLASSES = (RowLoss.LOG_LOSS, RowLoss.WRONG_SHARE, RowLoss.BRIER)
LOSSES: dict[str, tuple[RowLoss, ...]] = {
    ModelTask.BINARY: _OF_CLASSES,
    ModelTask.MULTICLASS: _OF_CLASSES,
    ModelTask.REGRESSION: (RowLoss.MAE, RowLoss.MSE),
    ModelTask.RANKING: (),
}
"""What can be searched by, of each task, the usual one first."""
LOSS_OF_METRIC = {
    "accuracy": RowLoss.WRONG_SHARE, "precision": RowLoss.WRONG_SHARE, "recall": RowLoss.WRONG_SHARE,
    "f1": RowLoss.WRONG_SHARE, "weighted_precision": RowLoss.WRONG_SHARE, "weighted_f1": RowLoss.WRONG_SHARE,
    "roc_auc": RowLoss.LOG_LOSS, "average_precision": RowLoss.LOG_LOSS, "log_loss": RowLoss.LOG_LOSS,
    "weighted_roc_auc": RowLoss.LOG_LOSS, "weighted_average_precision": RowLoss.LOG_LOSS,
    "brier": RowLoss.BRIER, "ece": RowLoss.BRIER,
    "mae": RowLoss.MAE, "median_absolute_error": RowLoss.MAE, "mape": RowLoss.MAE, "pinball_loss": RowLoss.MAE,
    "bias": RowLoss.MAE, "rmse": RowLoss.MSE, "r2": RowLoss.MSE,
}  # fmt: skip
"""Which loss of a row stands for a metric of performance."""


@dataclass(frozen=True)
class LossFindings:
    """What a search found; `n_before` rows of the weeks before were what it compared with, none if 0."""

    found: SegmentFindings
    n_before: int
    columns: int


def loss_of(model: Model, asked: str) -> RowLoss:
    """Choose by what rows of a model are judged: what was asked for, else the usual loss of its task.

    Raises Problem `invalid_request` for a loss that the task has not, and `no_row_loss` (409).
    """
    losses = LOSSES[model.task]
    if not losses:
        raise Problem(
            409, "no_row_loss", "What a ranked row loses depends on its query, so rows are not judged."
        )
    if asked and asked not in losses:
        raise invalid("/loss", f"A {model.task} model has no {asked[:64]!r}; use one of {', '.join(losses)}.")
    return RowLoss(asked) if asked else losses[0]


def findings_of(search: SegmentSearch) -> LossFindings | None:
    """Read what a search by a loss found; None while it is under way or when it failed."""
    return (
        msgspec.convert(search.findings, LossFindings)
        if search.loss and search.findings is not None
        else None
    )


def growth_of(search: SegmentSearch) -> Growth | None:
    """Read what a search by drift found; None while it is under way or when it failed."""
    is_there = not search.loss and search.findings is not None
    return msgspec.convert(search.findings, Growth) if is_there else None


# -- asked for ---------------------------------------------------------------------------------------------------------
def request_search(*, model: Model, window: Period, loss: str, actor: str) -> SegmentSearch:
    """Ask a worker to search a window; where that was done with the same rows and labels, return what was found.

    By drift where `loss` is empty. Raises Problem `invalid_request` for a window that ends before it starts or a loss
    that the task has not, and `rows_not_kept` (409).
    """
    if not window.start < window.end:
        raise invalid("/to", "The end must lie after the start.")
    if loss:
        loss_of(model, loss)
    refuse_without_rows(model, "A search for segments")
    with transaction.atomic():
        search, _ = SegmentSearch.objects.select_for_update().get_or_create(
            model=model, start=window.start, end=window.end, loss=loss, defaults={"requested_by": actor}
        )
        if _is_done(search):
            return search
        _begin_again(search, actor)
        enqueue(Task.LONG_WORK)
    search.refresh_from_db()
    return search


def _is_done(search: SegmentSearch) -> bool:
    held = held_rows(search.model, Period(search.start, search.end))
    growth = growth_of(search)
    return (
        search.state == SegmentSearch.State.READY
        and held == (search.rows, search.labelled)
        and (growth is None or growth.usual == compared_with(search.model))
    )


def _begin_again(search: SegmentSearch, actor: str) -> None:
    SegmentSearch.objects.filter(pk=search.pk).begin_again(
        findings=None, requested_by=actor, requested_at=Now()
    )


# -- done by a worker --------------------------------------------------------------------------------------------------
def do_search(search_id: int) -> bool:
    """Do a search that was asked for; returns whether it was still to be done."""
    return attempt(SegmentSearch.objects.filter(pk=search_id), _search)


def _search(lease: WorkLease[SegmentSearch]) -> None:
    search = SegmentSearch.objects.select_related("model").get(pk=lease.pk)
    window = Period(search.start, search.end)
    rows, labelled = held_rows(search.model, window)
    try:
        findings = (
            find_segments(model=search.model, window=window, loss=search.loss)
            if search.loss
            else find_growth(model=search.model, window=window)
        )
    except (DatabaseError, SoftTimeLimitExceeded):
        raise
    except Exception as error:  # what the rows hold stays as it is: the person who asked must see it at once
        log.exception("a segment search failed", extra={"search": search.pk})
        raise WorkFailed(without_folders(f"{type(error).__name__}: {error}")) from error
    lease.finish(**_ready(findings, rows, labelled))


def _ready(findings: LossFindings | Growth, rows: int, labelled: int) -> dict[str, Any]:
    return {
        "state": SegmentSearch.State.READY,
        "rows": rows,
        "labelled": labelled,
        "findings": msgspec.to_builtins(findings),
    }


def findings_for(*, model: Model, window: Period, loss: str, actor: str) -> LossFindings:
    """Search a window now and keep what is found; where that was done with the same rows and labels, give that."""
    search = SegmentSearch.objects.filter(model=model, start=window.start, end=window.end, loss=loss).first()
    known = findings_of(search) if search is not None and _is_done(search) else None
    if known is not None:
        return known
    rows, labelled = held_rows(model, window)
    findings = find_segments(model=model, window=window, loss=loss)
    SegmentSearch.objects.update_or_create(
        model=model, start=window.start, end=window.end, loss=loss,
        create_defaults={"requested_by": actor, **_ready(findings, rows, labelled)},
        defaults={"generation": F("generation") + 1, **_ready(findings, rows, labelled)},
    )  # fmt: skip
    return findings


def find_segments(*, model: Model, window: Period, loss: str) -> LossFindings:
    """Search a window now, against the four weeks before it where they have enough labels."""
    rows = scored_rows(model, window, loss)
    before = scored_rows(model, Period(window.start - BEFORE, window.start), loss)
    usual = before if len(before) >= MIN_EARLIER_ROWS else None
    found = search_segments(rows, usual)
    return LossFindings(found, len(before) if usual else 0, len(rows.columns))
