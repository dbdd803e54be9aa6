"""Incidents that people resolve, and the outbox that tells them."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.accounts.models import Project, User
from driftline.common.lease import Leasable
from driftline.common.work import WorkQuerySet
from inference.registry.models import Model
from monitors.rules.models import Rule, Severity, Transition


class Incident(models.Model):
    """One problem of one model, from the first window beyond the threshold until it is resolved."""

    class Status(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        RESOLVED = "resolved"

    project = models.ForeignKey(Project, models.CASCADE, related_name="incidents")
    model = models.ForeignKey(Model, models.CASCADE, related_name="incidents")
    rule = models.ForeignKey(Rule, models.CASCADE, related_name="incidents")
    opened_by = models.ForeignKey(Transition, models.RESTRICT, related_name="+")
    title = models.CharField(max_length=200)
    status = models.CharField(max_length=12, choices=Status, default=Status.OPEN)
    severity = models.CharField(max_length=8, choices=Severity)
    opened_at = models.DateTimeField(help_text="event time: end of the first window that fired")
    resolved_at = models.DateTimeField(null=True, blank=True, help_text="event time")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    causes = models.JSONField(
        default=list, help_text="[{feature|segment, score, evidence}], most likely first"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "model"],
                condition=~Q(status="resolved"),
                name="one_unresolved_incident_a_rule",
            )
        ]
        indexes = [models.Index(fields=["project", "-opened_at"], name="incidents_newest")]

    def __str__(self) -> str:
        return self.title


class IncidentEvent(models.Model):
    """One line of an incident's timeline."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="events")
    at = models.DateTimeField(db_default=Now())
    event_time = models.DateTimeField(null=True, blank=True)
    kind = models.CharField(max_length=20, help_text="opened, still_firing, acknowledged, resolved, comment")
    text = models.CharField(max_length=500)
    actor = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.text


class Silence(models.Model):
    """Mutes notifications, never the state: incidents still open and resolve. Judged in event time."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="silences")
    model = models.ForeignKey(Model, models.CASCADE, null=True, blank=True, related_name="silences")
    start = models.DateTimeField()
    end = models.DateTimeField()
    reason = models.CharField(max_length=200)
    created_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(end__gt=models.F("start")), name="silence_ends_after_start")
        ]

    def __str__(self) -> str:
        return self.reason


class Channel(models.Model):
    """A way to tell people or programs."""

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"
        CALLBACK = "callback", "Callback of jobs"

    project = models.ForeignKey(Project, models.CASCADE, related_name="channels")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=100)
    target = models.CharField(max_length=500, help_text="an e-mail address or an https URL")
    secret = models.BinaryField(default=b"", blank=True, help_text="webhook signing secret, encrypted")
    min_severity = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="channel_name_once_a_project")
        ]

    def __str__(self) -> str:
        return self.name


class Delivery(Leasable):
    """One message to one channel: written with the change that caused it, sent and retried afterwards."""

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        FAILED = "failed"
        SUPPRESSED = "suppressed"

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="deliveries")
    incident = models.ForeignKey(Incident, models.CASCADE, null=True, blank=True, related_name="deliveries")
    event = models.CharField(max_length=30, help_text="incident.opened, job.succeeded, test, ...")
    event_id = models.CharField(max_length=60, help_text="stable over retries and replays")
    subject = models.CharField(max_length=200, blank=True)
    body = models.TextField(help_text="the exact text that is sent: JSON for webhooks, plain text for e-mail")
    html = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    reason = models.CharField(max_length=500, blank=True, help_text="why it was suppressed or failed")
    attempts_made = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = WorkQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["channel", "event_id"], name="one_delivery_an_event")]

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
