"""The tables of `driftline` itself: heartbeats, and the configurations that were applied."""

from django.db import models

from driftline.accounts.models import Project


class Heartbeat(models.Model):
    """Proof that scheduler, broker and worker pass work on: the newest tick that a worker consumed."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%H:%M:%S}"


class AppliedConfiguration(models.Model):
    """The document that a project was last configured by, without secrets: what it names may be edited, and then
    differs from it."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="applied_configuration")
    document = models.JSONField()
    applied_at = models.DateTimeField()
    applied_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"of {self.project}, {self.applied_at:%Y-%m-%d %H:%M}"
