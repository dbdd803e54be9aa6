"""Reads of pulls."""

from django.db.models import QuerySet

from inference.registry.models import Model
from monitors.workflows.pulls.models import Pull


def pulls_of(model: Model) -> QuerySet[Pull]:
    """List a model's pulls, newest first, ready to be described."""
    return Pull.objects.filter(model=model).select_related("version", "run").order_by("-pk")
