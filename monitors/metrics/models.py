"""Metric points: what every page, rule and export reads."""

from django.db import models

from driftline.common.work import WorkQuerySet, WorkRow
from inference.registry.models import Model


class PointStatus(models.TextChoices):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    INSUFFICIENT = "insufficient", "too few rows"
    UNRIPE = "unripe", "labels are still coming"
    NO_DATA = "no_data"
    ERROR = "error"


class MetricPoint(models.Model):
    """The value of one metric in one window. `version` is empty for the champion's role across versions."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    role = models.CharField(max_length=10)
    version = models.CharField(max_length=64, blank=True)
    span = models.CharField(max_length=4)
    start = models.DateTimeField()
    end = models.DateTimeField()
    metric = models.CharField(max_length=40)
    feature = models.CharField(max_length=100, blank=True)
    segment = models.CharField(max_length=200, blank=True)
    value = models.FloatField(null=True)
    n = models.IntegerField()
    lower = models.FloatField(null=True)
    upper = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    status = models.CharField(max_length=12, choices=PointStatus)
    detail = models.JSONField(null=True, help_text="p-value, reason of the threshold, coverage")
    revision = models.IntegerField(default=1, help_text="grows when late data changed the point")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "span", "metric", "feature", "segment", "role", "version", "start"],
                name="one_point_a_window",
            )
        ]
        indexes = [models.Index(fields=["model", "span", "start"], name="points_of_a_window")]

    def __str__(self) -> str:
        return f"{self.metric} {self.feature} {self.start:%Y-%m-%d %H}h"


class PendingEvaluation(WorkRow):
    """A model whose points changed and whose rules must be judged."""

    model = models.OneToOneField(Model, models.CASCADE, related_name="pending_evaluation")

    objects = WorkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"rules of {self.model}"
