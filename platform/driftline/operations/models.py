"""The tables of operations: heartbeats, sizes on disk, and the configurations that were applied."""

from django.db import models

from driftline.base.accounts.models import Project


class Heartbeat(models.Model):
    """Proof that scheduler, broker and worker pass work on: the newest tick that a worker consumed."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%H:%M:%S}"


class DiskSample(models.Model):
    """How large the database was at a moment, and how much its disk and the home's had free."""

    at = models.DateTimeField(db_index=True)
    database_bytes = models.BigIntegerField()
    log_bytes = models.BigIntegerField(help_text="of predictions, their ids and labels, with their indexes")
    summary_bytes = models.BigIntegerField(help_text="of summaries and metric points, with their indexes")
    home_free_bytes = models.BigIntegerField()
    database_free_bytes = models.BigIntegerField(
        null=True, help_text="empty where the server is not ours: its disk is not seen from here"
    )

    def __str__(self) -> str:
        return f"{self.database_bytes:,} bytes at {self.at:%Y-%m-%d %H:%M}"


class AppliedConfiguration(models.Model):
    """The document that a project was last configured by, without secrets: what it names may be edited, and then
    differs from it."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="applied_configuration")
    document = models.JSONField()
    applied_at = models.DateTimeField()
    applied_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"of {self.project}, {self.applied_at:%Y-%m-%d %H:%M}"
