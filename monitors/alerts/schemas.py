"""What the API answers about channels, silences and deliveries."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from driftline.base.yaml_text import write_yaml
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.webhook.formats import FORMATS
from monitors.alerts.incidents.precision import Precision
from monitors.alerts.models import Channel, Delivery, DeliveryAttempt, Silence
from monitors.alerts.sending.recipients import RouteTaken
from monitors.alerts.stored_routing import ProjectRouting
from monitors.feed.kinds import INCIDENTS
from monitors.feed.kinds import KINDS as EVENTS
from monitors.rules.judging.better_limit import BetterLimit
from monitors.rules.models import Severity


class ChannelOut(ResponseBody, frozen=True):
    """A channel, without its secret. `target` is masked, as URLs and keys are secrets too, and with `template` null for
    callers that may not change channels; the answer that creates a channel has it in full.
    """

    id: int
    name: str
    kind: Annotated[str, one_of(KINDS)]
    target: str | None
    payload_format: Annotated[str, one_of(FORMATS)]
    template: dict[str, Any] | list[Any] | None
    min_severity: Annotated[str, one_of(Severity)]
    events: list[Annotated[str, one_of((INCIDENTS, *EVENTS))]]
    enabled: bool
    disabled_reason: str | None
    created_at: Time

    @classmethod
    def of(cls, channel: Channel, *, target: str | None, template: Any, **more: Any) -> Self:
        """Write a channel with what the caller may see of its target and its template, and `more` fields of a
        subclass."""
        return cls(
            id=channel.pk,
            name=channel.name,
            kind=channel.kind,
            target=target,
            payload_format=channel.payload_format,
            template=template,
            min_severity=channel.min_severity,
            events=channel.events,
            enabled=channel.enabled,
            disabled_reason=channel.disabled_reason or None,
            created_at=channel.created_at,
            **more,
        )


class CreatedChannelOut(ChannelOut, frozen=True):
    """A new channel with the secret that signs its messages, which is shown once; null where the kind has none."""

    secret: str | None


class PayloadPreviewOut(ResponseBody, frozen=True):
    """The JSON text of a webhook's body, indented, of a made-up incident."""

    body: str


class RotatedSecretOut(ResponseBody, frozen=True):
    """A channel's new signing secret, which is shown once, and until when the one before signs messages too."""

    secret: str
    previous_valid_until: Time


class SilenceOut(ResponseBody, frozen=True):
    """A time in which notifications are muted; of every model where `model` is null, and of alerts with all labels of
    `matchers`. `ended_by` is null unless somebody ended it early.
    """

    id: int
    model: str | None
    matchers: dict[str, str]
    start: Time
    end: Time
    reason: str
    created_by: str
    ended_by: str | None

    @classmethod
    def of(cls, silence: Silence) -> Self:
        return cls(
            id=silence.pk,
            model=silence.model.name if silence.model else None,
            matchers=silence.matchers,
            start=silence.start,
            end=silence.end,
            reason=silence.reason,
            created_by=silence.created_by,
            ended_by=silence.ended_by or None,
        )


class RoutingOut(ResponseBody, frozen=True):
    """The routing tree of a project, as JSON and as YAML; nobody changed the default one."""

    document: dict[str, Any]
    yaml: str
    is_default: bool
    changed_at: Time | None
    changed_by: str | None

    @classmethod
    def of(cls, routing: ProjectRouting) -> Self:
        document = routing.document.plain()
        return cls(
            document=document,
            yaml=write_yaml(document),
            is_default=routing.is_default,
            changed_at=routing.changed_at,
            changed_by=routing.changed_by or None,
        )


class SkippedChannelOut(ResponseBody, frozen=True):
    """A channel that a route names and that does not take the incident."""

    channel: str
    reason: str


class RouteTakenOut(ResponseBody, frozen=True):
    """A route that takes an incident: the `path` of routes that leads to it, each with its matchers, and whether it
    sends at the moment asked for; `opens_at` says when it does, null where not within a year. Incidents with the same
    labels `group_by` share messages; null where each has its own. Lengths are in seconds, null where there are no
    reminders or no escalation.
    """

    route: str
    path: list[str]
    channels: list[str]
    escalates_to: list[str]
    skipped: list[SkippedChannelOut]
    group_by: list[str] | None
    group_wait_seconds: float
    group_interval_seconds: float
    repeat_interval_seconds: float | None
    escalate_after_seconds: float | None
    muted_because: str | None
    opens_at: Time | None

    @classmethod
    def of(cls, taken: RouteTaken, *, at: datetime) -> Self:
        route = taken.route
        return cls(
            route=route.title,
            path=[one.described for one in taken.chain],
            channels=[one.channel.name for one in taken.recipients if not one.escalates],
            escalates_to=[one.channel.name for one in taken.recipients if one.escalates],
            skipped=[SkippedChannelOut(channel=name, reason=reason) for name, reason in taken.skipped],
            group_by=None if route.group_by is None else list(route.group_by),
            group_wait_seconds=route.group_wait.total_seconds(),
            group_interval_seconds=route.group_interval.total_seconds(),
            repeat_interval_seconds=_seconds(route.repeat_interval),
            escalate_after_seconds=_seconds(route.escalate_after),
            muted_because=route.describe_mute(at) or None,
            opens_at=route.next_open(at),
        )


class RoutingTestOut(ResponseBody, frozen=True):
    """Who gets an incident with these labels, which hold what follows from those that were sent."""

    labels: dict[str, str]
    routes: list[RouteTakenOut]


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()


class DeliveryOut(ResponseBody, frozen=True):
    """One message to one channel; `incident` is null for tests, callbacks and messages about several incidents, which
    those of each incident name as `sent_with`."""

    id: int
    channel: int
    incident: int | None
    event: str
    event_id: str
    state: Annotated[str, one_of(Delivery.State)]
    reason: str | None
    attempts_made: int
    next_attempt_at: Time | None
    created_at: Time
    sent_at: Time | None
    sent_with: int | None

    @classmethod
    def of(cls, delivery: Delivery, **more: Any) -> Self:
        """Write a delivery, and `more` fields of a subclass."""
        return cls(
            id=delivery.pk,
            channel=delivery.channel_id,
            incident=delivery.incident_id,
            event=delivery.event,
            event_id=delivery.event_id,
            state=delivery.state,
            reason=delivery.reason or None,
            attempts_made=delivery.attempts_made,
            next_attempt_at=delivery.next_attempt_at if delivery.state == Delivery.State.PENDING else None,
            created_at=delivery.created_at,
            sent_at=delivery.sent_at,
            sent_with=delivery.sent_with_id,
            **more,
        )


class AttemptOut(ResponseBody, frozen=True):
    """What one attempt of a delivery met; `status` is the receiver's of HTTP, null where none came."""

    at: Time
    succeeded: bool
    status: int | None
    duration_ms: int
    answer: str

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> Self:
        return cls(
            at=attempt.at,
            succeeded=attempt.succeeded,
            status=attempt.status,
            duration_ms=attempt.duration_ms,
            answer=attempt.answer,
        )


class DeliveryDetailOut(DeliveryOut, frozen=True):
    """A delivery with what was sent, in which links that act are masked, and its attempts, oldest first."""

    subject: str
    body: str
    html: str | None
    attempts: list[AttemptOut]


class BetterLimitOut(ResponseBody, frozen=True):
    """The nearest limit with which a rule would not have fired in any of `false_alarms`; of `others` it would still
    have fired in `kept`. Take it where these are all.
    """

    threshold: float
    false_alarms: int
    kept: int
    others: int

    @classmethod
    def of(cls, better: BetterLimit) -> Self:
        return cls(
            threshold=better.threshold,
            false_alarms=better.false_alarms,
            kept=better.kept,
            others=better.others,
        )


class PrecisionOut(ResponseBody, frozen=True):
    """How often a rule was right: `precision` is the share of its newest alerts, at most 20, that nobody called a false
    alarm; null before the first. `suggestion` is null where there is no false alarm, or no windows of it are stored.
    """

    alerts: int
    false_alarms: int
    expected: int
    precision: float | None
    suggestion: BetterLimitOut | None

    @classmethod
    def of(cls, precision: Precision) -> Self:
        return cls(
            alerts=precision.alerts,
            false_alarms=precision.false_alarms,
            expected=precision.expected,
            precision=precision.share,
            suggestion=BetterLimitOut.of(precision.better) if precision.better else None,
        )
