"""The one table of annotations; they are deleted with their model."""

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from inference.registry.models import Model

TEXT_LENGTH, LINK_LENGTH = 500, 500


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    def within(self, start: datetime | None, end: datetime | None) -> "AnnotationQuerySet":
        """Select those that touch `[start, end)`: None is no bound."""
        touching = self if start is None else self.filter(Q(start__gte=start) | Q(end__gt=start))
        return touching if end is None else touching.filter(start__lt=end)


class Annotation(models.Model):
    """A moment of event time, or an interval `[start, end)`, with what somebody says of it."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="annotations", db_index=False)
    start = models.DateTimeField(help_text="event time")
    end = models.DateTimeField(null=True, blank=True, help_text="empty: a moment")
    text = models.CharField(max_length=TEXT_LENGTH)
    link = models.CharField(max_length=LINK_LENGTH, blank=True, help_text="http or https")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["model", "start"], name="annotations_in_time")]
        constraints = [
            models.CheckConstraint(
                condition=Q(end__isnull=True) | Q(end__gt=F("start")),
                name="an_annotation_ends_after_its_start",
            )
        ]

    def __str__(self) -> str:
        return f"{self.text[:40]} ({self.model})"
