"""The sections on what happened and who reacted: incidents, runs with their gates, and what people decided."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Count, Q, QuerySet

from driftline.accounts.models import AuditEntry
from monitors.alerts.models import Delivery, Incident, IncidentEvent
from monitors.alerts.wording import shortened
from monitors.reports.evidence.rows import deployment_changes_of
from monitors.reports.evidence.sections import (
    MAX_TABLE_ROWS,
    Cell,
    EvidenceSection,
    EvidenceSubject,
    EvidenceTable,
    table,
)
from monitors.workflows.models import Run, Step

MAX_CAUSES = 5


def incidents(subject: EvidenceSubject) -> EvidenceSection:
    """List the incidents that were open in the period with their causes, and how people and Driftline reacted."""
    found = incidents_of(subject)
    total = found.count()
    events = IncidentEvent.objects.filter(incident__in=_keys(found)).order_by("incident", "at", "pk")
    return EvidenceSection(
        "incidents",
        "Incidents, their causes and the reactions",
        [] if total else ["No incident was open in the period."],
        [
            table(
                "Incidents",
                {
                    "id": "Incident", "title": "What", "severity": "Severity", "status": "Status", "since": "Since",
                    "opened_at": "Opened", "resolved_at": "Resolved", "acknowledged_by": "Acknowledged by",
                    "acknowledged_at": "Acknowledged", "judgement": "People say",
                    "causes": f"Likely causes, up to {MAX_CAUSES}",
                    "close_reason": "Closed by hand because",
                },
                map(_incident, found[:MAX_TABLE_ROWS]),
                total=total,
            ),
            table(
                "Timeline of the incidents",
                {
                    "incident": "Incident", "at": "At", "event_time": "Event time", "kind": "Kind", "text": "What",
                    "actor": "By",
                },
                (
                    (f"INC-{one.incident_id}", one.at, one.event_time, one.kind, one.text, one.actor or None)
                    for one in events[:MAX_TABLE_ROWS]
                ),
                total=events.count(),
            ),
            _notifications(found),
        ],
    )  # fmt: skip


def _keys(found: QuerySet[Any]) -> QuerySet[Any]:
    """Select the keys of all rows, for what belongs to them: those that no table has room for are counted too."""
    return found.order_by().values("pk")


def incidents_of(subject: EvidenceSubject) -> QuerySet[Incident]:
    """Select the incidents that were open in the period, by event time."""
    return (
        Incident.objects.filter(
            Q(resolved_at=None) | Q(resolved_at__gte=subject.period.start),
            model=subject.model,
            opened_at__lt=subject.period.end,
        )
        .select_related("acknowledged_by")
        .order_by("opened_at", "pk")
    )


def _incident(one: Incident) -> tuple[Cell, ...]:
    by = one.acknowledged_by.email if one.acknowledged_by else None
    causes = [
        {name: cause.get(name) for name in ("feature", "segment", "score") if cause.get(name) is not None}
        for cause in one.causes[:MAX_CAUSES]
    ]
    return (
        f"INC-{one.pk}", one.title, one.severity, one.status, one.since, one.opened_at, one.resolved_at, by,
        one.acknowledged_at, one.get_judgement_display() or None, causes, one.close_reason or None,
    )  # fmt: skip


def _notifications(found: QuerySet[Incident]) -> EvidenceTable:
    of_incidents = Delivery.objects.filter(incident__in=_keys(found)).order_by()
    counts = of_incidents.values_list("incident", "channel__name", "channel__kind", "state").annotate(
        messages=Count("pk")
    )
    return table(
        "Notifications of the incidents",
        {
            "incident": "Incident",
            "channel": "Channel",
            "kind": "Kind",
            "state": "State",
            "count": "Messages",
        },
        (
            (f"INC-{pk}", name, kind, state, messages)
            for pk, name, kind, state, messages in counts.order_by(
                "incident", "channel__name", "channel__kind", "state"
            )
        ),
    )


def runs(subject: EvidenceSubject) -> EvidenceSection:
    """List the runs that were under way in the period, each step, and why the gate decided as it did."""
    found = runs_of(subject)
    total = found.count()
    steps = Step.objects.filter(run__in=_keys(found)).order_by("run", "position")
    return EvidenceSection(
        "runs",
        "Runs and gates",
        [] if total else ["No run was under way in the period."],
        [
            table(
                "Runs",
                {
                    "id": "Run", "trigger": "Started by", "state": "State", "champion": "Champion",
                    "challenger": "Challenger", "data_until": "Data until", "created_at": "Started",
                    "finished_at": "Finished", "approved_by": "Approved by", "decision": "Verdict of the gate",
                },
                (
                    (
                        one.pk, one.trigger, one.state, one.champion.version,
                        one.challenger.version if one.challenger else None, one.data_until, one.created_at,
                        one.finished_at, one.approved_by or None, (one.verdict or {}).get("decision"),
                    )
                    for one in found[:MAX_TABLE_ROWS]
                ),
                total=total,
            ),
            table(
                "Reasons of the verdicts",
                {"run": "Run", "decision": "Verdict", "reason": "Reason"},
                _reasons(found.iterator()),
            ),
            table(
                "Steps",
                {
                    "run": "Run", "step": "Step", "state": "State", "started_at": "Started", "finished_at": "Finished",
                    "error": "Error",
                },
                (
                    (one.run_id, one.name, one.state, one.started_at, one.finished_at, _error(one))
                    for one in steps[:MAX_TABLE_ROWS]
                ),
                total=steps.count(),
            ),
        ],
    )  # fmt: skip


def runs_of(subject: EvidenceSubject) -> QuerySet[Run]:
    """Select the runs of the period: by the wall clock, or by the event time up to which they looked at data."""
    period = subject.period
    by_clock = Q(created_at__lt=period.end) & (Q(finished_at=None) | Q(finished_at__gte=period.start))
    by_data = Q(data_until__gte=period.start, data_until__lt=period.end)
    found = Run.objects.filter(by_clock | by_data, model=subject.model)
    return found.select_related("champion", "challenger").order_by("pk")


def _error(step: Step) -> str | None:
    return shortened(step.error, 500) or None


def _reasons(runs: Iterable[Run]) -> Iterator[tuple[Cell, ...]]:
    for run in runs:
        verdict: dict[str, Any] = run.verdict or {}
        for reason in verdict.get("reasons", ()):
            yield run.pk, verdict.get("decision"), reason


def approvals(subject: EvidenceSubject) -> EvidenceSection:
    """List what people decided: on runs, and on what is deployed."""
    runs_of_period = list(runs_of(subject).values_list("pk", flat=True))
    decided = AuditEntry.objects.filter(
        project=subject.model.project,
        action__startswith="run.",
        subject__in=[f"run {pk} of {subject.model}" for pk in runs_of_period],
    ).order_by("pk")
    changes = deployment_changes_of(subject)
    return EvidenceSection(
        "approvals",
        "Decisions of people and of automation",
        [f"The model's autonomy is: {subject.model.get_autonomy_display()}."],
        [
            table(
                "Decisions on runs",
                {
                    "at": "At",
                    "actor": "By",
                    "action": "Decision",
                    "subject": "On",
                    "number": "Number in the audit chain",
                },
                (
                    (one.at, one.actor, one.action, one.subject, one.number)
                    for one in decided[:MAX_TABLE_ROWS]
                ),
                total=decided.count(),
            ),
            table(
                "Who changed what is deployed",
                {"at": "At", "kind": "Change", "actor": "By", "reason": "Reason"},
                ((one.at, one.kind, one.actor, one.reason or None) for one in changes[:MAX_TABLE_ROWS]),
                total=changes.count(),
            ),
        ],
    )
