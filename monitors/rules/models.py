"""Rules over metric points, where each stands, and the transitions that alerts and workflows read."""

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now

from driftline.accounts.models import Project
from inference.registry.models import Model


class Severity(models.TextChoices):
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class Rule(models.Model):
    """When a metric of a model is beyond a threshold for some windows: open an incident, maybe start a run."""

    class Operator(models.TextChoices):
        ABOVE = "above"
        BELOW = "below"

    class Action(models.TextChoices):
        NOTIFY = "notify", "Open an incident and notify"
        RETRAIN = "retrain", "Also start a retrain run"

    project = models.ForeignKey(Project, models.CASCADE, related_name="rules")
    model = models.ForeignKey(Model, models.CASCADE, related_name="rules")
    name = models.CharField(max_length=120)
    metric = models.CharField(max_length=40)
    feature = models.CharField(max_length=200, blank=True)
    segment = models.CharField(max_length=200, blank=True)
    span = models.CharField(max_length=4, choices=[("hour", "Hour"), ("day", "Day")], default="day")
    operator = models.CharField(max_length=5, choices=Operator, default=Operator.ABOVE)
    threshold = models.FloatField()
    for_windows = models.IntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="windows in a row beyond the threshold"
    )
    recover_windows = models.IntegerField(
        default=2, validators=[MinValueValidator(1)], help_text="good windows in a row that resolve"
    )
    min_rows = models.IntegerField(default=200, validators=[MinValueValidator(1)])
    cooldown = models.DurationField(help_text="event time after which a rule that still fires acts again")
    notify_within = models.DurationField(help_text="a window that ended longer ago opens incidents silently")
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    action = models.CharField(max_length=8, choices=Action, default=Action.NOTIFY)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="rule_name_once_a_model")]

    def __str__(self) -> str:
        return self.name

    def is_breached_by(self, value: float) -> bool:
        return value > self.threshold if self.operator == self.Operator.ABOVE else value < self.threshold


class RuleState(models.Model):
    """Where a rule stands, in event time."""

    class Standing(models.TextChoices):
        NORMAL = "normal"
        PENDING = "pending"
        FIRING = "firing"

    rule = models.OneToOneField(Rule, models.CASCADE, related_name="state")
    standing = models.CharField(max_length=8, choices=Standing, default=Standing.NORMAL)
    streak = models.IntegerField(default=0, help_text="windows in a row that speak for a change of standing")
    judged_until = models.DateTimeField(null=True, blank=True, help_text="end of the newest window judged")
    acted_until = models.DateTimeField(null=True, blank=True, help_text="end of the window that last acted")

    def __str__(self) -> str:
        return f"{self.rule}: {self.standing}"


class Transition(models.Model):
    """A rule changed its standing, or still fires when its cooldown ended. Alerts and workflows read this row."""

    class Kind(models.TextChoices):
        OPENED = "opened"
        STILL_FIRING = "still_firing"
        RESOLVED = "resolved"

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="transitions")
    model = models.ForeignKey(Model, models.CASCADE, related_name="transitions")
    kind = models.CharField(max_length=12, choices=Kind)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    value = models.FloatField(null=True)
    n = models.IntegerField()
    threshold = models.FloatField()
    detail = models.JSONField(default=dict, help_text="what was known when it happened")
    at = models.DateTimeField(db_default=Now())
    alerts_done_at = models.DateTimeField(null=True, blank=True)
    workflows_done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "kind", "window_end"], name="one_transition_a_window")
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.kind} at {self.window_end:%Y-%m-%d %H}h"
