"""The app's models, each defined in the stage that owns it: one app label, one migration history."""

from monitors.alerts.models import Channel, Delivery, DeliveryAttempt, Incident, IncidentEvent, Silence
from monitors.definitions.models import FeatureProfile, Monitor, Reference, Segment
from monitors.metrics.models import MetricPoint, PendingEvaluation
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.summaries.models import StaleWindow, Summary
from monitors.workflows.models import Run, Step, Workflow

__all__ = [
    "Channel",
    "Delivery",
    "DeliveryAttempt",
    "FeatureProfile",
    "Incident",
    "IncidentEvent",
    "MetricPoint",
    "Monitor",
    "PendingEvaluation",
    "Reference",
    "Report",
    "Rule",
    "RuleState",
    "Run",
    "Segment",
    "Silence",
    "StaleWindow",
    "Step",
    "Summary",
    "Transition",
    "Workflow",
]
