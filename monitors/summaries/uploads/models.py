"""Batches of summaries that were made elsewhere."""

from django.db import models
from django.db.models.functions import Now

from inference.registry.models import Model


class SummaryBatch(models.Model):
    """A batch that was added, so that it is not added twice."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="summary_batches")
    name = models.CharField(max_length=200, help_text="the id that the sender gave it")
    sha256 = models.CharField(max_length=64, help_text="of its windows and their numbers of rows")
    windows = models.IntegerField()
    rows = models.BigIntegerField(help_text="of its windows without a segment")
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "summary batches"
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="one_summary_batch_a_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.model}"
