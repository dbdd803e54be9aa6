"""The sections on what happened and who reacted: incidents, runs with their gates, and what people decided."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count, Prefetch, Q, QuerySet

from driftline.base.accounts.models import AuditEntry
from driftline.base.state_words import state_word
from inference.registry.models import Model
from monitors.alerts.channels import KINDS
from monitors.alerts.models import Delivery, Incident, IncidentEvent
from monitors.alerts.story import describe_cause
from monitors.alerts.wording import sentence_of_run, shortened
from monitors.incident_runs import runs_of_each
from monitors.metrics.catalogue import is_drift
from monitors.reports.evidence.rows import deployment_changes_of
from monitors.reports.evidence.sections import (
    MAX_TABLE_ROWS,
    Cell,
    EvidenceSection,
    EvidenceSubject,
    EvidenceTable,
    table,
)
from monitors.reports.run_ends import RunEnd, ends_of
from monitors.workflows.judging.verdict_text import reasons_of_validation, reasons_of_verdict
from monitors.workflows.models import Run, Step

MAX_CAUSES = 5
RUNS_AT_ONCE = 500
_PARTS_OF_CAUSE = ("kind", "feature", "segment", "score", "evidence")
_OF_VALIDATION = Prefetch("steps", Step.objects.filter(name="validate"))


def incidents(subject: EvidenceSubject) -> EvidenceSection:
    """List the incidents that were open in the period with their causes, and how people and Driftline reacted."""
    found = incidents_of(subject)
    total = found.count()
    listed = list(found.prefetch_related("alerts__rule")[:MAX_TABLE_ROWS])
    runs_of_incidents = runs_of_each(listed)
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
                    "causes": "Causes in the API", "likely_causes": f"Likely causes, up to {MAX_CAUSES}",
                    "runs": "Runs", "close_reason": "Closed by hand because",
                },
                (_incident(one, runs_of_incidents[one.pk]) for one in listed),
                total=total,
                only_json=("acknowledged_at", "causes"),  # the timeline has when
            ),
            _timeline(found, runs_of_incidents),
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
        .select_related("acknowledged_by", "lead__rule", "lead__model")
        .order_by("opened_at", "pk")
    )


def _timeline(found: QuerySet[Incident], runs_of_incidents: Mapping[int, Sequence[Run]]) -> EvidenceTable:
    """List what happened to each incident, with the runs that it started or that opened it."""
    events = IncidentEvent.objects.filter(incident__in=_keys(found)).order_by("incident", "at", "pk")
    lines: list[tuple[int, datetime, tuple[Cell, ...]]] = [
        (one.incident_id, one.at, (one.event_time, one.kind, one.text, one.actor or None))
        for one in events[:MAX_TABLE_ROWS]
    ]
    started = [(pk, run) for pk, runs in runs_of_incidents.items() for run in runs]
    ends = ends_of(run for _, run in started)
    of_runs = [
        (pk, at, cells)
        for (pk, _), end in zip(started, ends, strict=True)
        for at, cells in _lines_of_run(end)
    ]
    ordered = sorted([*lines, *of_runs], key=lambda line: line[:2])
    return table(
        "Timeline of the incidents",
        {
            "incident": "Incident", "at": "At", "event_time": "Event time", "kind": "Kind", "text": "What",
            "actor": "By",
        },
        ((f"INC-{pk}", at, *cells) for pk, at, cells in ordered[:MAX_TABLE_ROWS]),
        total=events.count() + len(of_runs),
    )  # fmt: skip


def _lines_of_run(end: RunEnd) -> Iterator[tuple[datetime, tuple[Cell, ...]]]:
    run = end.run
    yield run.created_at, (
        run.data_until, "run_started", f"Run {run.pk} was started by {run.trigger}", None,
    )  # fmt: skip
    if run.finished_at:
        yield run.finished_at, (None, f"run_{run.state}", str(end), end.actor or None)


def _incident(one: Incident, runs: Sequence[Run]) -> tuple[Cell, ...]:
    by = one.acknowledged_by.email if one.acknowledged_by else None
    causes = [
        {name: cause[name] for name in _PARTS_OF_CAUSE if cause.get(name) is not None}
        for cause in one.causes[:MAX_CAUSES]
    ]
    return (
        f"INC-{one.pk}", one.title, one.severity, one.status, one.since, one.opened_at, one.resolved_at, by,
        one.acknowledged_at, one.get_judgement_display() or None, causes, _likely_causes(one),
        "\n".join(f"Run {run.pk}: {state_word(run.state)}" for run in runs), one.close_reason or None,
    )  # fmt: skip


def _likely_causes(one: Incident) -> str:
    """Write the causes a line each; where none was found, what that says, as the incident's page does."""
    if one.causes:
        return "\n".join(describe_cause(cause) for cause in one.causes[:MAX_CAUSES])
    if one.lead is None:
        return ""
    if one.causes_due_at:
        return "They are still being ranked."
    opening = one.opening
    if sentence_of_run(opening):
        return "The version that its rollout rolled back."
    lesson = (
        "The rule has a limit of its own."
        if is_drift(opening.deciding.metric)
        else "The relation between features and labels may have changed (concept drift)."
    )
    return f"No monitored feature was beyond the limit of its reference around that time. {lesson}"


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
            "kind": "Kind in the API",
            "channel_kind": "Kind",
            "state": "State",
            "count": "Messages",
        },
        (
            (f"INC-{pk}", name, kind, KINDS[kind].title if kind in KINDS else kind, state, messages)
            for pk, name, kind, state, messages in counts.order_by(
                "incident", "channel__name", "channel__kind", "state"
            )
        ),
        only_json=("kind",),
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
                {"run": "Run", "comparison": "Comparison", "decision": "Verdict", "reason": "Reason"},
                _reasons(found.prefetch_related(_OF_VALIDATION).iterator(chunk_size=RUNS_AT_ONCE)),
            ),
            table(
                "What followed from the verdicts",
                {
                    "run": "Run", "decision": "Verdict of the gate", "state": "The run is", "at": "Since",
                    "actor": "By", "reason": "Because",
                },
                (
                    (
                        end.run.pk, (end.run.verdict or {}).get("decision"), end.run.state, end.run.finished_at,
                        end.actor or None, end.reason or None,
                    )
                    for end in ends_of(found[:MAX_TABLE_ROWS])
                ),
                total=total,
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
    return found.select_related("model", "champion", "challenger").order_by("pk")


def entries_of_runs(model: Model) -> Q:
    """Select the audit entries on the runs of a model by their subject: a run is deleted with its version."""
    return Q(action__startswith="run.", subject__regex=rf"^run [0-9]+ of {re.escape(str(model))}$")


def _error(step: Step) -> str | None:
    return shortened(step.error, 500) or None


def _reasons(runs: Iterable[Run]) -> Iterator[tuple[Cell, ...]]:
    """List why each run was judged as it was; held-out rows alone decide nothing, unless they are clearly worse."""
    for run in runs:
        for reason in reasons_of_validation(run):
            yield run.pk, reason.comparison, None, reason.sentence
        verdict: dict[str, Any] = run.verdict or {}
        for reason in reasons_of_verdict(verdict):
            yield run.pk, reason.comparison, verdict.get("decision"), reason.sentence


def approvals(subject: EvidenceSubject) -> EvidenceSection:
    """List what people decided: on runs, and on what is deployed."""
    of_period = Q(
        subject__in=[f"run {pk} of {subject.model}" for pk in runs_of(subject).values_list("pk", flat=True)]
    ) | Q(at__gte=subject.period.start, at__lt=subject.period.end)
    decided = AuditEntry.objects.filter(
        of_period, entries_of_runs(subject.model), project=subject.model.project
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
