"""Mergeable summaries of the prediction log, one a window and segment."""

from django.db import models

from driftline.base.work.attempts import AttemptedQuerySet, AttemptedWorkRow
from inference.prediction_log.models import PredictionRole
from inference.registry.models import Model, Version


class Summary(models.Model):
    """Everything that any metric needs of one version, role, window and segment.

    A day is the sum of its hours, and stands for them once they are dropped; a month so stands for its days. A
    window that stands for others has none of them beside it.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(Version, models.CASCADE, related_name="+", db_index=False)
    role = models.CharField(max_length=10, choices=PredictionRole)
    span = models.CharField(max_length=5, choices=[("hour", "Hour"), ("day", "Day"), ("month", "Month")])
    start = models.DateTimeField()
    segment = models.CharField(max_length=200, blank=True, help_text="feature:value, empty for all rows")
    rows = models.BigIntegerField()
    labelled = models.BigIntegerField(default=0)
    payload = models.BinaryField(help_text="encoded WindowSummary")
    blocks = models.BinaryField(
        null=True,
        help_text="the outcomes of the hours or days that it stands for, which intervals are made from",
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "summaries"
        constraints = [
            models.UniqueConstraint(
                fields=["model", "span", "start", "role", "version", "segment"], name="one_summary_a_window"
            )
        ]
        indexes = [models.Index(fields=["-start"], name="summaries_by_start")]

    def __str__(self) -> str:
        window = f"{self.model} {self.role} {self.span} {self.start:%Y-%m-%d %H:%M}"
        return f"{window}{self.segment and ' '}{self.segment} ({self.rows} rows)"


class StaleWindow(AttemptedWorkRow):
    """A window whose summaries changed and whose points must be computed again."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="stale_windows")
    span = models.CharField(max_length=8)
    start = models.DateTimeField()

    objects = AttemptedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "span", "start"], name="one_stale_window")]

    def __str__(self) -> str:
        return f"{self.model} {self.span} {self.start}"
