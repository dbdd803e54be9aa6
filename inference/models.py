"""The app's models, each defined in the stage that owns it: one app label, one migration history."""

from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.models import (
    Label,
    LabelChange,
    LogKey,
    PackedDay,
    PredictionChunk,
    PredictionRow,
    RequestCount,
    RequestWait,
    SpoolCursor,
    SummedDay,
    TouchedPeriod,
    UnpackedDay,
)
from inference.registry.models import (
    Alias,
    Dataset,
    Deployment,
    DeploymentChange,
    Model,
    PlanGeneration,
    Version,
)

__all__ = [
    "Alias",
    "Dataset",
    "Deployment",
    "DeploymentChange",
    "Erasure",
    "EventHalf",
    "Import",
    "Label",
    "LabelChange",
    "LogKey",
    "Model",
    "PackedDay",
    "PlanGeneration",
    "PredictionChunk",
    "PredictionRow",
    "RequestCount",
    "RequestWait",
    "SpoolCursor",
    "SummedDay",
    "TouchedPeriod",
    "UnpackedDay",
    "UploadedFile",
    "Version",
]
