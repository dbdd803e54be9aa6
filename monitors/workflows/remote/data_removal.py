"""How rows that runs hand out go: with a subject that is erased, and with the runs."""

from collections.abc import Callable
from functools import partial

from django.db.models import QuerySet

from driftline.base.feature import DataRemoval
from inference.prediction_log.erasure.work import Blocked
from monitors.workflows.context import run_folder
from monitors.workflows.models import Run
from monitors.workflows.remote.snapshot_file import DRAFT_FILE, snapshot_path
from monitors.workflows.remote.snapshot_store import StoreFailed, describe_again, parts_of, remove_folders


def erase_from_run(run: Run) -> None:
    """Describe a run's rows as they are now, in the order and in the store; raises Blocked where that is away."""
    for path in run_folder(run.pk).rglob(DRAFT_FILE):
        path.unlink()
    if snapshot_path(run.pk).exists():
        try:
            describe_again(run)
        except StoreFailed as error:
            raise Blocked(str(error)) from error


def _delete_of_runs(runs: QuerySet[Run]) -> Callable[[], None]:
    return partial(remove_folders, parts_of(runs))


DATA_REMOVAL = DataRemoval(erase_from_run=erase_from_run, delete_of_runs=_delete_of_runs)
