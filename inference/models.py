"""The app's models, each defined in the stage that owns it: one app label, one migration history."""

from inference.edge.models import Device, DeviceGroup, Release, ReleaseTarget
from inference.hosts.models import ServingHost
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.lake.models import Lake, LakeFile
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
    UnsentChunk,
    UnsentLabel,
)
from inference.prediction_log.sources.models import (
    DeadLetter,
    Source,
    SourceConsumer,
    SourceObject,
    SourcePosition,
    SourceReader,
)
from inference.registry.models import (
    Alias,
    Dataset,
    Deployment,
    DeploymentChange,
    Model,
    PlanGeneration,
    UnpublishedChange,
    Version,
)

__all__ = [
    "Alias",
    "Dataset",
    "DeadLetter",
    "Deployment",
    "DeploymentChange",
    "Device",
    "DeviceGroup",
    "Erasure",
    "EventHalf",
    "Import",
    "Label",
    "LabelChange",
    "Lake",
    "LakeFile",
    "LogKey",
    "Model",
    "PackedDay",
    "PlanGeneration",
    "PredictionChunk",
    "PredictionRow",
    "Release",
    "ReleaseTarget",
    "RequestCount",
    "RequestWait",
    "ServingHost",
    "Source",
    "SourceConsumer",
    "SourceObject",
    "SourcePosition",
    "SourceReader",
    "SpoolCursor",
    "SummedDay",
    "TouchedPeriod",
    "UnpackedDay",
    "UnpublishedChange",
    "UnsentChunk",
    "UnsentLabel",
    "UploadedFile",
    "Version",
]
