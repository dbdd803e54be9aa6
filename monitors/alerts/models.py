"""Incidents that people resolve, their alerts, and the outbox that tells them."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project, User
from driftline.base.keys.sealed_field import SealedField
from driftline.base.work.lease import Leasable
from driftline.base.work.work_rows import WorkQuerySet
from inference.registry.models import Model
from monitors.feed.kinds import default_of_channels
from monitors.rules.models import Rule, Severity, Transition


class Incident(models.Model):
    """One problem of one model, from the first window beyond the threshold until it is resolved."""

    class Status(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"

    class Judgement(models.TextChoices):
        REAL = "real", "Real"
        EXPECTED = "expected", "Expected"
        FALSE_ALARM = "false_alarm", "False alarm"

    project = models.ForeignKey(Project, models.CASCADE, related_name="incidents")
    model = models.ForeignKey(Model, models.CASCADE, related_name="incidents")
    lead = models.ForeignKey(
        "Alert",
        models.SET_NULL,
        null=True,
        related_name="+",
        help_text="the most causal alert, which names it",
    )
    title = models.CharField(max_length=200)
    status = models.CharField(max_length=12, choices=Status, default=Status.OPEN)
    severity = models.CharField(max_length=8, choices=Severity)
    since = models.DateTimeField(help_text="event time: the onset of what names it")
    opened_at = models.DateTimeField(help_text="event time: end of the first window that fired")
    resolved_at = models.DateTimeField(null=True, blank=True, help_text="event time")
    closed_at = models.DateTimeField(null=True, blank=True, help_text="when somebody closed it by hand")
    closed_by = models.CharField(max_length=200, blank=True)
    close_reason = models.CharField(max_length=500, blank=True, help_text="of one closed by hand")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    assignee = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", help_text="the member who works on it"
    )
    snoozed_until = models.DateTimeField(
        null=True, blank=True, help_text="by the wall clock; until then nobody is notified unless it changes"
    )
    judgement = models.CharField(
        max_length=12, choices=Judgement, blank=True, help_text="what people say that it was"
    )
    judged_by = models.CharField(max_length=200, blank=True)
    causes = models.JSONField(
        default=list, help_text="[{feature|segment, score, evidence}], most likely first"
    )
    causes_due_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="when its causes are ranked again, which took too long; null: they are there",
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["project", "-opened_at"], name="incidents_newest"),
            models.Index(
                fields=["causes_due_at"],
                condition=Q(causes_due_at__isnull=False),
                name="incidents_without_causes",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def detected(self) -> datetime:
        """When a rule fired first, in event time: the end of the window that opened the incident."""
        return self.opened_at

    @property
    def rule(self) -> Rule:
        """The rule of the alert that names it: see `Alert.condition`."""
        return self._leading.condition

    @property
    def opening(self) -> Transition:
        """The window in which the alert that names it fired."""
        return self._leading.opening

    @property
    def _leading(self) -> "Alert":
        if self.lead is None:
            raise ValueError(f"INC-{self.pk} has no alert")
        return self.lead


class Alert(models.Model):
    """One rule that fires, or fired, for one model, feature and segment: a part of an incident.

    What it says of its first window and of its rule is copied, because a rule may be deleted with its transitions.
    """

    class State(models.TextChoices):
        FIRING = "firing"
        RESOLVED = "resolved"

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="alerts")
    model = models.ForeignKey(Model, models.CASCADE, related_name="alerts")
    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, blank=True, related_name="alerts")
    opened_by = models.ForeignKey(Transition, models.SET_NULL, null=True, blank=True, related_name="+")
    title = models.CharField(max_length=200)
    metric = models.CharField(max_length=40)
    feature = models.CharField(max_length=200, blank=True)
    segment = models.CharField(max_length=200, blank=True)
    severity = models.CharField(max_length=8, choices=Severity)
    labels = models.JSONField(
        default=dict, help_text="what it is of, by name: rule, model, metric, kind, ..."
    )
    definition = models.JSONField(help_text="its rule when it fired")
    state = models.CharField(max_length=8, choices=State, default=State.FIRING)
    since = models.DateTimeField(help_text="event time: its onset")
    window_start = models.DateTimeField(help_text="event time: of the window in which it fired")
    window_end = models.DateTimeField(help_text="event time")
    value = models.FloatField(null=True)
    n = models.BigIntegerField()
    threshold = models.FloatField()
    detail = models.JSONField(default=dict, help_text="what was known when it fired")
    last_window_end = models.DateTimeField(help_text="event time: of the newest window noted")
    resolved_at = models.DateTimeField(null=True, blank=True, help_text="event time")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rule"], condition=Q(state="firing"), name="one_firing_alert_a_rule"
            )
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def condition(self) -> Rule:
        """Its rule, as it was when it fired where it was deleted; of one with a condition as if it had the comparison
        alone that decided."""
        return self.opening.deciding

    @property
    def rule_name(self) -> str:
        """The name of its rule, also of one that was deleted."""
        return self.rule.name if self.rule else str(self.definition["name"])

    @property
    def run_id(self) -> int | None:
        """The run that opened it, as it rolled its challenger back; None where a rule fired."""
        return self.detail.get("run")

    @property
    def opening(self) -> Transition:
        """The window in which it fired, as a transition that is not stored."""
        return Transition(
            rule=self.rule or Rule.of_snapshot(self.definition, self.model),
            model=self.model,
            kind=Transition.Kind.OPENED,
            window_start=self.window_start,
            window_end=self.window_end,
            value=self.value,
            n=self.n,
            threshold=self.threshold,
            detail=self.detail,
        )


class IncidentEvent(models.Model):
    """One line of an incident's timeline."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="events")
    at = models.DateTimeField(db_default=Now())
    event_time = models.DateTimeField(null=True, blank=True)
    kind = models.CharField(
        max_length=20,
        help_text="opened, joined, worsened, still_firing, alert_resolved, resolved, reopened, causes; of people: "
        "acknowledged, assigned, commented, snoozed, snooze_ended, silenced, judged, rolled_back",
    )
    text = models.CharField(max_length=2000)
    actor = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.text


class Silence(models.Model):
    """Mutes notifications, never the state: incidents still open and resolve. Judged in event time."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="silences")
    model = models.ForeignKey(Model, models.CASCADE, null=True, blank=True, related_name="silences")
    matchers = models.JSONField(
        default=dict, blank=True, help_text="what labels an alert must have to be muted; empty: any"
    )
    start = models.DateTimeField()
    end = models.DateTimeField()
    reason = models.CharField(max_length=200)
    created_by = models.CharField(max_length=200)
    ended_by = models.CharField(max_length=200, blank=True, help_text="who ended it before its time")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(end__gt=models.F("start")), name="silence_ends_after_start")
        ]

    def __str__(self) -> str:
        return self.reason

    @property
    def matchers_text(self) -> str:
        """The labels that it asks for in one line; empty where it asks for none."""
        return ", ".join(f"{name}={value}" for name, value in self.matchers.items())


class Channel(models.Model):
    """A way to notify people or programs. A deleted one keeps its deliveries, and nothing that it could send with."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="channels")
    kind = models.CharField(max_length=20, help_text="a name in monitors.alerts.channels.KINDS")
    name = models.CharField(max_length=100)
    target = models.CharField(max_length=500, help_text="where it sends to, such as an e-mail address")
    secret = SealedField(default=b"", blank=True, help_text="webhook signing secret, encrypted")
    previous_secret = SealedField(default=b"", blank=True, help_text="the secret before, encrypted")
    previous_secret_until = models.DateTimeField(
        null=True, blank=True, help_text="until when messages are signed with the secret before too"
    )
    payload_format = models.CharField(
        max_length=20,
        default="driftline",
        help_text="of a webhook's body: a name in monitors.alerts.channels.webhook.formats.FORMATS",
    )
    template = models.JSONField(
        null=True, blank=True, help_text="of a webhook's body, where its format is template"
    )
    min_severity = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    events = models.JSONField(
        default=default_of_channels, help_text="the events that it takes; see monitors.feed.kinds"
    )
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="since when it is not listed")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(deleted_at=None),
                name="channel_name_once_a_project",
            )
        ]

    def __str__(self) -> str:
        return self.name


class StoredRouting(models.Model):
    """The routing tree of a project, as `monitors.alerts.routing` reads it; without one the default tree holds."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="routing")
    document = models.JSONField(help_text="see monitors.alerts.routing.document")
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"Routing of {self.project}"


class ChannelTimer(models.Model):
    """What a channel is still to hear of an unresolved incident: written with the change, looked at when it is due."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="timers")
    channel = models.ForeignKey(Channel, models.CASCADE, related_name="timers")
    notified_at = models.DateTimeField(null=True, blank=True, help_text="of the newest message")
    opening_since = models.DateTimeField(null=True, blank=True, help_text="since when the opening waits")
    change_since = models.DateTimeField(null=True, blank=True, help_text="since when a change waits")
    withheld = models.CharField(max_length=500, blank=True, help_text="why what is due is not sent")
    due_at = models.DateTimeField(null=True, blank=True, help_text="when to look again; never by time alone")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["incident", "channel"], name="one_timer_a_channel_of_an_incident")
        ]
        indexes = [models.Index(fields=["due_at"], name="timers_due")]

    def __str__(self) -> str:
        return f"{self.channel} on {self.incident}"


MUTED_UNTIL = "Muted until "
"""How the reason of a delivery starts that waits for the end of muted hours."""


class Delivery(Leasable):
    """One message to one channel: written with the change that caused it, sent and retried afterwards."""

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        FAILED = "failed"
        SUPPRESSED = "suppressed"
        GROUPED = "grouped"

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="deliveries")
    incident = models.ForeignKey(Incident, models.CASCADE, null=True, blank=True, related_name="deliveries")
    event = models.CharField(max_length=40, help_text="incident.opened, run.failed, job.succeeded, test, ...")
    event_id = models.CharField(max_length=60, help_text="stable over retries and replays")
    subject = models.CharField(max_length=200, blank=True)
    thread = models.CharField(
        max_length=40, blank=True, help_text="what its message is about, where that is no incident"
    )
    body = models.TextField(help_text="the exact text that is sent: JSON for webhooks, plain text for e-mail")
    html = models.TextField(blank=True)
    remote_id = models.CharField(
        max_length=200,
        blank=True,
        help_text="of the message that shows it at the receiver, where it can be edited",
    )
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    reason = models.CharField(max_length=500, blank=True, help_text="why it was suppressed or failed")
    group = models.CharField(
        max_length=500,
        blank=True,
        help_text="labels in words; what is due of one group is sent as one message",
    )
    group_seconds = models.PositiveIntegerField(
        default=0, help_text="the least time between two messages of the group"
    )
    sent_with = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="members",
        help_text="of a grouped one: the message that says it",
    )
    attempts_made = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = WorkQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["channel", "event_id"], name="one_delivery_an_event")]
        indexes = [
            models.Index(
                fields=["channel", "group", "-sent_at"], condition=~Q(group=""), name="deliveries_of_groups"
            ),
            models.Index(
                fields=["channel", "group"],
                condition=~Q(group="") & Q(state="pending"),
                name="deliveries_waiting_of_groups",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.channel}"


class DeliveryAttempt(models.Model):
    """What happened when a delivery was tried."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="attempts")
    at = models.DateTimeField(db_default=Now())
    succeeded = models.BooleanField()
    status = models.IntegerField(null=True, blank=True)
    duration_ms = models.IntegerField()
    answer = models.CharField(max_length=1024, blank=True)

    def __str__(self) -> str:
        return f"{self.delivery}: {'sent' if self.succeeded else self.answer}"
