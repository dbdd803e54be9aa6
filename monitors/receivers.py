"""Rings the first doorbell when predictions or labels arrive, and watches models and references from their start."""

from typing import Any

from django.dispatch import receiver

from driftline.common.doorbell import ring
from inference.prediction_log.signals import periods_touched
from inference.registry.models import Dataset, Model
from inference.registry.signals import model_created, reference_stored
from monitors.definitions.models import Reference
from monitors.definitions.services import adopt_reference, ensure_monitors
from monitors.definitions.signals import reference_ready
from monitors.rules.signals import model_judged
from monitors.summaries.services import measure_again
from monitors.workflows.services import wake_runs


@receiver(periods_touched)
def summarise_touched(*, model_id: int, **_: Any) -> None:
    ring("monitors.summarise", model_id=model_id)


@receiver(model_created)
def watch_model(*, model: Model, **_: Any) -> None:
    ensure_monitors(model)


@receiver(reference_stored)
def use_reference(*, dataset: Dataset, **_: Any) -> None:
    adopt_reference(dataset=dataset)


@receiver(reference_ready)
def compare_again(*, reference: Reference, **_: Any) -> None:
    measure_again(version_id=reference.version_id)


@receiver(model_judged)
def wake_waiting_runs(*, model: Model, **_: Any) -> None:
    wake_runs(model)
