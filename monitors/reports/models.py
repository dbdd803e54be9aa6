"""Reports that are built in a task and downloaded."""

from django.db import models
from django.db.models.functions import Now

from inference.registry.models import Model


class Report(models.Model):
    """One Evidently report over a window, as a self-contained HTML file under the home."""

    class State(models.TextChoices):
        QUEUED = "queued"
        READY = "ready"
        FAILED = "failed"

    model = models.ForeignKey(Model, models.CASCADE, related_name="reports")
    start = models.DateTimeField()
    end = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    path = models.CharField(max_length=200, blank=True, help_text="relative to the home")
    size = models.BigIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"report of {self.model}, {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"
