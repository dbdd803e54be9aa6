"""Connects training in pipelines of others to the end of a run: the service is asked to end its own."""

from typing import Any

from django.dispatch import receiver

from monitors.workflows.models import Run
from monitors.workflows.remote.snapshot_store import remove_later
from monitors.workflows.remote.stopping import stop_later
from monitors.workflows.signals import run_ended


@receiver(run_ended)
def end_training(*, run: Run, **_: Any) -> None:
    stop_later(run)
    remove_later(run)
