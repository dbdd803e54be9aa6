"""Which alerts are one problem: they overlap in event time and share a cause.

Pure functions over what is known of two alerts. Broken inputs explain drift of these inputs and what it does to
performance; missing predictions and labels explain performance that cannot be measured well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import METRICS, SubjectKind

MAX_CAUSES = 3
"""Causes of an alert that may join it to others: those that messages name."""
_TRAFFIC = ("count", "throughput", "volume_ratio", "freshness", "silence", "ingest_lag")
_OF_INPUTS = (SubjectKind.FEATURE, SubjectKind.ANSWER)


class Family(IntEnum):
    """Kinds of problems, the most causal first: the alert of the lowest number names its incident."""

    QUALITY = 0
    TRAFFIC = 1
    LABELS = 2
    DRIFT = 3
    PERFORMANCE = 4
    SERVICE = 5


_ABSENCES = (Family.TRAFFIC, Family.LABELS)


def family_of(metric: str) -> Family:
    """Return what kind of problem a metric shows."""
    if metric.startswith("label_"):
        return Family.LABELS
    if metric in _TRAFFIC:
        return Family.TRAFFIC
    kind = METRICS[metric].kind if metric in METRICS else MonitorKind.SERVICE
    return {
        MonitorKind.QUALITY: Family.QUALITY,
        MonitorKind.DRIFT: Family.DRIFT,
        MonitorKind.PERFORMANCE: Family.PERFORMANCE,
    }.get(MonitorKind(kind), Family.SERVICE)


@dataclass(frozen=True)
class KnownAlert:
    """What is known of one alert: the time it lasts, `end` None while it fires, and the names among its causes."""

    metric: str
    feature: str
    segment: str
    start: datetime
    end: datetime | None
    names: frozenset[str]

    @property
    def family(self) -> Family:
        return family_of(self.metric)


def names_among_causes(metric: str, feature: str, detail: Mapping[str, Any]) -> frozenset[str]:
    """Return the features that an alert is about, or else the features and segments that explain it.

    Both are in the detail of its transition. What else was odd when a feature broke or drifted is no cause of that.
    """
    return _subjects(metric, feature, detail) or names_of(detail.get("causes") or [])


def _subjects(metric: str, feature: str, detail: Mapping[str, Any]) -> frozenset[str]:
    if family_of(metric) not in (Family.QUALITY, Family.DRIFT):
        return frozenset()
    names = set((detail.get("point") or {}).get("counted") or ())
    if feature and METRICS[metric].subject in _OF_INPUTS:
        names.add(feature)
    return frozenset(names)


def names_of(causes: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the features and segments that the first causes name."""
    named = (cause.get("feature") or cause.get("segment") for cause in causes[:MAX_CAUSES])
    return frozenset(str(name) for name in named if name)


def is_one_problem(one: KnownAlert, other: KnownAlert) -> bool:
    """Return whether two alerts of a model belong to one incident."""
    return _overlap(one, other) and _share_a_cause(one, other)


def _overlap(one: KnownAlert, other: KnownAlert) -> bool:
    return (other.end is None or one.start < other.end) and (one.end is None or other.start < one.end)


def _share_a_cause(one: KnownAlert, other: KnownAlert) -> bool:
    if (one.metric, one.feature, one.segment) == (other.metric, other.feature, other.segment):
        return True
    families = {one.family, other.family}
    if Family.SERVICE in families:
        return False  # neither inputs nor labels make requests slow or fail
    if one.names & other.names:
        return True
    if not families.isdisjoint(_ABSENCES):
        return families <= {*_ABSENCES, Family.PERFORMANCE}
    return families == {Family.PERFORMANCE} and (
        one.segment == other.segment or "" in (one.segment, other.segment)
    )
