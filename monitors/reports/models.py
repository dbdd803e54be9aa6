"""Reports by Evidently and evidence packs, which a worker leases, builds and keeps as files."""

from django.db import models
from django.db.models.functions import Now

from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork
from inference.registry.models import Model, Version
from monitors.definitions.models import Reference


class Preset(models.TextChoices):
    DATA_DRIFT = "data_drift", "Data drift"
    DATA_SUMMARY = "data_summary", "Data summary"
    CLASSIFICATION = "classification", "Classification"
    REGRESSION = "regression", "Regression"
    EVIDENCE = "evidence", "Evidence pack"


class Report(LeasedWork):
    """One report over a window, beside a reference where it has one, as self-contained HTML and as JSON."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"

    UNFINISHED = (State.QUEUED, State.RUNNING)

    class Stage(models.TextChoices):
        READING = "reading", "reading rows"
        COMPUTING = "computing", "computing"
        STORING = "storing", "storing"

    model = models.ForeignKey(Model, models.CASCADE, related_name="reports")
    preset = models.CharField(max_length=14, choices=Preset, default=Preset.DATA_DRIFT)
    start = models.DateTimeField()
    end = models.DateTimeField()
    version = models.ForeignKey(
        Version, models.CASCADE, null=True, blank=True, related_name="+", help_text="empty: all that answered"
    )
    segment = models.CharField(max_length=300, blank=True, help_text="feature:value, empty for all rows")
    has_reference = models.BooleanField(default=True)
    reference = models.ForeignKey(
        Reference, models.SET_NULL, null=True, blank=True, related_name="+", help_text="empty: the one in use"
    )
    reference_start = models.DateTimeField(
        null=True, blank=True, help_text="of the log's rows, where they are the reference"
    )
    reference_end = models.DateTimeField(null=True, blank=True)
    reference_sha256 = models.CharField(
        max_length=64, blank=True, help_text="of the reference's file when it was read"
    )
    num_method = models.CharField(max_length=30, blank=True, help_text="of Evidently; empty: its choice")
    cat_method = models.CharField(max_length=30, blank=True)
    text_method = models.CharField(max_length=30, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    stage = models.CharField(max_length=9, choices=Stage, blank=True)
    progress = models.FloatField(default=0, help_text="0 to 1")
    rows = models.BigIntegerField(null=True, blank=True, help_text="that the window has")
    rows_used = models.IntegerField(null=True, blank=True, help_text="a sample where there were more")
    reference_rows = models.BigIntegerField(null=True, blank=True)
    reference_rows_used = models.IntegerField(null=True, blank=True)
    left_out = models.JSONField(default=list, blank=True, help_text="sentences: what is missing and why")
    path = models.CharField(
        max_length=200, blank=True, help_text="of the HTML, relative to the home; the JSON lies beside it"
    )
    size = models.BigIntegerField(default=0, help_text="of the HTML, in bytes")
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)

    objects = LeasedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.get_preset_display().lower()} of {self.model}, {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"

    @property
    def is_evidence(self) -> bool:
        """Whether it is an evidence pack, which is made of stored results instead of rows, and by Driftline itself."""
        return self.preset == Preset.EVIDENCE


UNFINISHED = Report.UNFINISHED
