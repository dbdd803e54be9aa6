"""What the API answers about models, incidents and the audit trail."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, TypedDict

from driftline.accounts.models import AuditEntry
from driftline.common.responses import ResponseBody, Time, one_of
from driftline.progress import STATUSES, Progress
from driftline.stuck_work import StuckWork
from inference.registry.models import Autonomy, Model, ModelTask, RowsKept, SchemaPolicy
from monitors.alerts.models import Alert, Incident, IncidentEvent
from monitors.alerts.schemas import DeliveryOut
from monitors.rules.models import Severity
from monitors.workflows.models import Run, RunState, Workflow
from monitors.workflows.schemas import WorkflowOut


# -- models ------------------------------------------------------------------------------------------------------------
class StuckWorkOut(ResponseBody, frozen=True):
    """Work that could not be done; `failed` where it is not tried any more."""

    what: str
    start: Time | None
    reason: str
    attempts: int
    failed: bool

    @classmethod
    def of(cls, work: StuckWork) -> Self:
        return cls(
            what=work.what,
            start=work.start,
            reason=work.reason,
            attempts=work.attempts,
            failed=work.is_failed,
        )


class ModelOut(ResponseBody, frozen=True):
    """A model; `computed_until` says up to which event time everything is computed and acted on.

    It is `ok` only where something was judged in the last window of its span, `learning` where nothing was, and
    `not_monitored` without data, or without both a reference and a rule: `missing` names which of these it lacks.
    """

    id: int
    name: str
    task: Annotated[str, one_of(ModelTask)]
    description: str
    owner: str
    tags: list[str]
    status: Annotated[str, one_of(STATUSES)]
    missing: list[str]
    stuck: list[StuckWorkOut]
    autonomy: Annotated[str, one_of(Autonomy)]
    objectives: dict[str, Any]
    retention_days: int | None
    summary_retention_days: int | None
    privacy: dict[str, str]
    schema_policy: Annotated[str, one_of(SchemaPolicy)]
    rows_kept: Annotated[str, one_of(RowsKept)]
    segments: list[str]
    champion: str | None
    generation: int
    computed_until: Time | None
    newest_event: Time | None
    created_at: Time
    archived_at: Time | None
    workflow: WorkflowOut

    @classmethod
    def of(cls, model: Model, progress: Progress, stuck: Sequence[StuckWork], workflow: Workflow) -> Self:
        """Write a model; `stuck` lists what could not be summarised, measured or judged."""
        champion = model.deployment.champion
        return cls(
            id=model.pk,
            name=model.name,
            task=model.task,
            description=model.description,
            owner=model.owner,
            tags=model.tags,
            status=progress.status,
            missing=list(progress.missing),
            stuck=[StuckWorkOut.of(work) for work in stuck],
            autonomy=model.autonomy,
            objectives=model.objectives,
            retention_days=model.retention_days,
            summary_retention_days=model.summary_retention_days,
            privacy=model.privacy,
            schema_policy=model.schema_policy,
            rows_kept=model.rows_kept,
            segments=sorted(segment.feature for segment in model.segment_features.all()),
            champion=champion.version if champion else None,
            generation=model.deployment.generation,
            computed_until=progress.computed_until,
            newest_event=progress.newest,
            created_at=model.created_at,
            archived_at=model.archived_at,
            workflow=WorkflowOut.of(workflow),
        )


class RetriedOut(ResponseBody, frozen=True):
    """How much failed work is tried anew."""

    retried: int


# -- incidents ---------------------------------------------------------------------------------------------------------
class CauseOut(TypedDict, total=False):
    """What explains an incident: a feature or a segment, how much of it, and why it is named.

    Of a broken feature `segment` is where nearly all broken rows are, and `since` the hour in which they began.
    """

    kind: str
    feature: str
    segment: str
    since: str
    score: float
    evidence: str


class NamedRuleOut(ResponseBody, frozen=True):
    """The rule that fired; `id` is null once it was deleted."""

    id: int | None
    name: str


class AlertOut(ResponseBody, frozen=True):
    """One rule that fires, or fired, for one model, feature and segment, in event times.

    `detected` is the end of the window in which it fired, and `last_window_end` that of the newest one noted.
    """

    id: int
    title: str
    rule: NamedRuleOut
    metric: str
    feature: str | None
    segment: str | None
    severity: Annotated[str, one_of(Severity)]
    labels: dict[str, str]
    state: Annotated[str, one_of(Alert.State)]
    since: Time
    detected: Time
    last_window_end: Time
    resolved_at: Time | None

    @classmethod
    def of(cls, alert: Alert) -> Self:
        return cls(
            id=alert.pk,
            title=alert.title,
            rule=NamedRuleOut(id=alert.rule_id, name=alert.rule_name),
            metric=alert.metric,
            feature=alert.feature or None,
            segment=alert.segment or None,
            severity=alert.severity,
            labels=alert.labels,
            state=alert.state,
            since=alert.since,
            detected=alert.window_end,
            last_window_end=alert.last_window_end,
            resolved_at=alert.resolved_at,
        )


class StartedRunOut(ResponseBody, frozen=True):
    """A run that an incident started."""

    id: int
    state: Annotated[str, one_of(RunState)]
    trigger: str


class IncidentOut(ResponseBody, frozen=True):
    """One problem of one model, with its alerts, in event times.

    `since` is when it began, the start of the first window of the run beyond the limit, and `detected` (also
    `opened_at`) when a rule fired: the end of the window that opened the incident. `rule` is that of the most causal
    alert, which gives the title. `closed_at` is when somebody closed it by hand, by the wall clock.
    """

    id: int
    title: str
    status: Annotated[str, one_of(Incident.Status)]
    severity: Annotated[str, one_of(Severity)]
    model: str
    rule: NamedRuleOut
    since: Time
    detected: Time
    opened_at: Time
    resolved_at: Time | None
    closed_at: Time | None
    closed_by: str | None
    close_reason: str | None
    acknowledged_at: Time | None
    acknowledged_by: str | None
    causes: list[CauseOut]
    alerts: list[AlertOut]
    runs: list[StartedRunOut]

    @classmethod
    def of(cls, incident: Incident, runs: Iterable[Run], **more: Any) -> Self:
        """Write an incident with the runs that it started, and `more` fields of a subclass."""
        return cls(
            id=incident.pk,
            title=incident.title,
            status=incident.status,
            severity=incident.severity,
            model=incident.model.name,
            rule=NamedRuleOut(id=incident.rule.pk, name=incident.rule.name),
            since=incident.since,
            detected=incident.detected,
            opened_at=incident.opened_at,
            resolved_at=incident.resolved_at,
            closed_at=incident.closed_at,
            closed_by=incident.closed_by or None,
            close_reason=incident.close_reason or None,
            acknowledged_at=incident.acknowledged_at,
            acknowledged_by=str(incident.acknowledged_by) if incident.acknowledged_by else None,
            causes=incident.causes,
            alerts=[AlertOut.of(alert) for alert in incident.alerts.all()],
            runs=[StartedRunOut(id=run.pk, state=run.state, trigger=run.trigger) for run in runs],
            **more,
        )


class IncidentEventOut(ResponseBody, frozen=True):
    """Something that happened to an incident; `event_time` is that of the window that caused it."""

    at: Time
    event_time: Time | None
    kind: str
    text: str
    actor: str | None

    @classmethod
    def of(cls, event: IncidentEvent) -> Self:
        return cls(
            at=event.at,
            event_time=event.event_time,
            kind=event.kind,
            text=event.text,
            actor=event.actor or None,
        )


class IncidentDetailOut(IncidentOut, frozen=True):
    """An incident with all that happened to it and was sent about it, oldest first."""

    timeline: list[IncidentEventOut]
    deliveries: list[DeliveryOut]


# -- the audit trail ---------------------------------------------------------------------------------------------------
class NamedTokenOut(ResponseBody, frozen=True):
    """The token with which something was done."""

    id: int
    name: str


class AuditEntryOut(ResponseBody, frozen=True):
    """Who did what; `number` and `hash` are its place in the hash chain, null until it has one."""

    id: int
    at: Time
    actor: str
    action: str
    subject: str
    before: Any
    after: Any
    address: str | None
    token: NamedTokenOut | None
    correlation: str | None
    number: int | None
    hash: str | None
    redacted: bool

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        return cls(
            id=entry.pk,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            before=entry.before,
            after=entry.after,
            address=entry.address or None,
            token=None if entry.token_id is None else NamedTokenOut(id=entry.token_id, name=entry.token_name),
            correlation=entry.correlation or None,
            number=entry.number,
            hash=entry.hash or None,
            redacted=entry.redaction_id is not None,
        )


class GrafanaAnnotationOut(ResponseBody, frozen=True, rename={"time_end": "timeEnd"}):
    """An annotation as Grafana shows it: times are milliseconds since 1970, and without a length both are the same."""

    time: int
    time_end: int
    title: str
    text: str
    tags: list[str]

    @classmethod
    def of(
        cls, start: datetime, end: datetime | None = None, *, title: str, text: str, tags: list[str]
    ) -> Self:
        return cls(
            time=_milliseconds(start), time_end=_milliseconds(end or start), title=title, text=text, tags=tags
        )


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
