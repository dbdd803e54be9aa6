"""The app's models, each defined in the stage that owns it: one app label, one migration history."""

from inference.prediction_log.models import Label, PredictionChunk, PredictionRow, SpoolCursor, TouchedPeriod
from inference.registry.models import Dataset, Deployment, DeploymentChange, Model, PlanGeneration, Version

__all__ = [
    "Dataset",
    "Deployment",
    "DeploymentChange",
    "Label",
    "Model",
    "PlanGeneration",
    "PredictionChunk",
    "PredictionRow",
    "SpoolCursor",
    "TouchedPeriod",
    "Version",
]
