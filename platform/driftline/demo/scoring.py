"""Holds incidents against the plan: which planted faults were found, how soon and why, and which alarms were false.

Pure: the page gives it what is stored.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from driftline.demo.plan import ModelPlan, PlantedFault

PATIENCE = timedelta(minutes=2)
"""A fault that could be noticed for so long and was not is missed."""


class FaultFinding(StrEnum):
    FOUND = "found"
    MISSED = "missed"
    EXPECTED = "not due yet"


@dataclass(frozen=True)
class SeenIncident:
    """What is stored of an alert of an incident: event times, the clock's time at which people heard of it, its causes.

    `id` is that of the incident, which may have several.
    """

    id: int
    title: str
    rule: str
    since: datetime
    opened_at: datetime
    resolved_at: datetime | None
    notified_at: datetime | None
    columns: Sequence[str] = ()
    segments: Collection[str] = ()

    def overlaps(self, fault: PlantedFault) -> bool:
        """Return whether the incident opened after a fault began, on windows that hold some of it."""
        return self.opened_at > fault.onset and (fault.end is None or self.since < fault.end)


@dataclass(frozen=True)
class FaultScore:
    """What became of one planted fault; `incident` is the first that noticed it, `others` came after."""

    fault: PlantedFault
    finding: FaultFinding
    incident: SeenIncident | None = None
    others: Sequence[SeenIncident] = ()

    @property
    def is_cause_right(self) -> bool | None:
        """Whether the incident names first the column that was broken, and the segment; None before it is found."""
        if self.incident is None:
            return None
        names_column = not self.fault.column or self.fault.column in self.incident.columns[:1]
        return names_column and (not self.fault.segment or self.fault.segment in self.incident.segments)

    @property
    def seconds_to_find(self) -> float | None:
        """Seconds from when the fault could be noticed to the first notification."""
        if self.incident is None or self.incident.notified_at is None or self.fault.shown_at is None:
            return None
        return max(0.0, (self.incident.notified_at - self.fault.shown_at).total_seconds())


@dataclass(frozen=True)
class ModelScore:
    """The faults of one model, and the incidents that nothing planted explains."""

    faults: Sequence[FaultScore]
    unexplained: Sequence[SeenIncident]


def score(plan: ModelPlan, incidents: Sequence[SeenIncident], *, now: datetime) -> ModelScore:
    """Assign each incident to the fault that it overlaps; what is left since `quiet_from` nothing explains."""
    in_order = sorted(incidents, key=lambda incident: (incident.opened_at, incident.id))
    scores, explained = [], set[int]()
    for fault in plan.faults:
        found = _first_of_each(incident for incident in in_order if incident.overlaps(fault))
        explained |= {incident.id for incident in found}
        first = found[0] if found else None
        scores.append(FaultScore(fault, _finding(fault, first, now), first, found[1:]))
    unexplained = _first_of_each(
        incident
        for incident in in_order
        if incident.id not in explained and incident.opened_at > plan.quiet_from
    )
    return ModelScore(scores, unexplained)


def _first_of_each(seen: Iterable[SeenIncident]) -> list[SeenIncident]:
    """Keep the first alert of each incident."""
    first: dict[int, SeenIncident] = {}
    for one in seen:
        first.setdefault(one.id, one)
    return list(first.values())


def _finding(fault: PlantedFault, incident: SeenIncident | None, now: datetime) -> FaultFinding:
    if incident is not None:
        return FaultFinding.FOUND
    is_due = fault.shown_at is not None and now > fault.shown_at + PATIENCE
    return FaultFinding.MISSED if is_due else FaultFinding.EXPECTED
