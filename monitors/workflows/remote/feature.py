"""What training in pipelines of others adds to the product."""

from driftline.base.feature import DueWork, ProductFeature
from driftline.base.work.task_queue import Task
from monitors.workflows.hooks import set_pipeline, train_in_pipeline
from monitors.workflows.models import RemoteTraining
from monitors.workflows.remote import (
    receivers,  # noqa: F401  they connect pipelines to the end of a run
    settings,
    training,
)
from monitors.workflows.remote.api import router

set_pipeline.provide(settings.set_pipeline)
train_in_pipeline.provide(training.train_remotely)

FEATURE = ProductFeature(
    "remote_training",
    routers=[router],
    pages="monitors.workflows.remote.pages.urls",
    due=[
        DueWork(Task.STOP_PIPELINE, "training_id", lambda: RemoteTraining.objects.due_to_stop()),
        DueWork(Task.REMOVE_PARTS, "training_id", lambda: RemoteTraining.objects.with_parts_to_remove()),
    ],
)
