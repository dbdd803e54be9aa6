"""The app's models, each defined in the stage that owns it: one app label, one migration history."""

from monitors.alerts.models import (
    Alert,
    Channel,
    ChannelTimer,
    Delivery,
    DeliveryAttempt,
    Incident,
    IncidentEvent,
    Silence,
    StoredRouting,
)
from monitors.annotations.models import Annotation
from monitors.definitions.models import (
    CustomMetric,
    Expectation,
    FeatureProfile,
    Monitor,
    Reference,
    ReferenceDay,
    Segment,
    SegmentFeature,
)
from monitors.digests.models import Digest
from monitors.feed.models import FeedEvent
from monitors.metrics.models import (
    ChangePoint,
    DetectorState,
    ExpectedErrors,
    JointNullDraws,
    MetricPoint,
    NullDraws,
    PackedPoints,
    PendingEvaluation,
    PointLimits,
    PointName,
    SegmentSearch,
    UnreadDay,
)
from monitors.optimiser.models import Optimisation, Variant
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.sinks.models import Sink, SinkStream, UnsentPoints
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.uploads.models import SummaryBatch
from monitors.workflows.mlflow.models import MlflowConnection, MlflowDelivery, MlflowReport, MlflowVersion
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from monitors.workflows.models import RemoteTraining, Rollout, Run, Step, Workflow
from monitors.workflows.pulls.models import Pull

__all__ = [
    "Alert",
    "Annotation",
    "ChangePoint",
    "Channel",
    "ChannelTimer",
    "CustomMetric",
    "Delivery",
    "DeliveryAttempt",
    "DetectorState",
    "Digest",
    "Expectation",
    "ExpectedErrors",
    "FeatureProfile",
    "FeedEvent",
    "ImportedModel",
    "ImportedVersion",
    "Incident",
    "IncidentEvent",
    "JointNullDraws",
    "MetricPoint",
    "MlflowConnection",
    "MlflowDelivery",
    "MlflowReport",
    "MlflowVersion",
    "Monitor",
    "NullDraws",
    "Optimisation",
    "PackedPoints",
    "PendingEvaluation",
    "PointLimits",
    "PointName",
    "Pull",
    "Reference",
    "ReferenceDay",
    "RegistryImport",
    "RemoteTraining",
    "Report",
    "Rollout",
    "Rule",
    "RuleState",
    "Run",
    "Segment",
    "SegmentFeature",
    "SegmentSearch",
    "Silence",
    "Sink",
    "SinkStream",
    "StaleWindow",
    "Step",
    "StoredRouting",
    "Summary",
    "SummaryBatch",
    "Transition",
    "UnreadDay",
    "UnsentPoints",
    "Variant",
    "Workflow",
]
