"""What the API answers about models and incidents."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, TypedDict

from driftline.base.http.responses import ResponseBody, Time, one_of
from driftline.base.http.settings_schema import stored_settings, with_settings
from driftline.base.periods import start_of_day
from driftline.operations.progress import STATUSES, Progress
from driftline.operations.stuck_work import StuckWork
from inference.registry.models import Model, ModelTask
from inference.registry.settings import ModelSettings
from monitors.alerts.models import Alert, Incident, IncidentEvent
from monitors.alerts.schemas import DeliveryOut
from monitors.retention_preview import RetentionPreview
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


@with_settings(ModelSettings)
class ModelOut(ResponseBody, frozen=True):
    """A model; `computed_until` says up to which event time everything is computed and acted on.

    It is `ok` only where something was judged in the last window of its span, `learning` where nothing was, and
    `not_monitored` without data, or without both a reference and a rule: `missing` names which of these it lacks.
    """

    id: int
    name: str
    task: Annotated[str, one_of(ModelTask)]
    status: Annotated[str, one_of(STATUSES)]
    missing: list[str]
    stuck: list[StuckWorkOut]
    segments: list[str]
    champion: str | None
    positive_class: str | None
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
            status=progress.status,
            missing=list(progress.missing),
            stuck=[StuckWorkOut.of(work) for work in stuck],
            segments=sorted(segment.feature for segment in model.segment_features.all()),
            champion=champion.version if champion else None,
            positive_class=(champion.signature or {}).get("positive_class") if champion else None,
            generation=model.deployment.generation,
            computed_until=progress.computed_until,
            newest_event=progress.newest,
            created_at=model.created_at,
            archived_at=model.archived_at,
            workflow=WorkflowOut.of(workflow),
            **stored_settings(ModelSettings, model),
        )


class RetriedOut(ResponseBody, frozen=True):
    """How much failed work is tried anew."""

    retried: int


class RetentionPreviewOut(ResponseBody, frozen=True):
    """What a changed retention deletes: rows, the event days they are of, and summaries, each with their bytes.

    `rows_before` and `summaries_before` are the first days that are kept; null where nothing goes, or all rows do.
    `rows_later` are those of `rows` that go once their ids need not be refused any more; the others go within an hour.
    """

    sentence: str
    bytes: int
    rows: int
    rows_bytes: int
    rows_days: int
    rows_before: Time | None
    rows_later: int
    summaries: int
    summaries_bytes: int
    summaries_before: Time | None

    @classmethod
    def of(cls, preview: RetentionPreview) -> Self:
        rows, summaries = preview.rows, preview.summaries
        return cls(
            sentence=preview.sentence,
            bytes=preview.bytes,
            rows=rows.rows,
            rows_bytes=rows.bytes,
            rows_days=rows.days,
            rows_before=start_of_day(rows.before) if rows.before else None,
            rows_later=rows.later,
            summaries=summaries.count,
            summaries_bytes=summaries.bytes,
            summaries_before=start_of_day(summaries.before) if summaries.before else None,
        )


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
    """The rule that fired; `id` is null once it was deleted, and of `Rollout`, for which a run speaks."""

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
    alert, which gives the title. `closed_at` is when somebody closed it by hand, and `snoozed_until` until when nobody
    is notified unless it changes, both by the wall clock. `judgement` is what people say that it was.
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
    assignee: str | None
    snoozed_until: Time | None
    judgement: Annotated[str, one_of(Incident.Judgement)] | None
    judged_by: str | None
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
            assignee=incident.assignee.email if incident.assignee else None,
            snoozed_until=incident.snoozed_until,
            judgement=incident.judgement or None,
            judged_by=incident.judged_by or None,
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
    """An incident with all that happened to it and was sent about it, oldest first.

    `change_since` says what the last roll-back or promotion since it was opened did, when it may end, and the first
    figures since; null without one.
    """

    change_since: str | None
    timeline: list[IncidentEventOut]
    deliveries: list[DeliveryOut]


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
