"""An import: one file of predictions or labels, and how far it has been brought into the log."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.common.leased_work import LeasedQuerySet, LeasedWork
from inference.registry.models import Model


class Import(LeasedWork):
    """A file that is being imported. Position and counts move in the transaction that stores a block's rows."""

    class Kind(models.TextChoices):
        PREDICTIONS = "predictions"
        LABELS = "labels"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNFINISHED = (State.QUEUED, State.RUNNING)

    model = models.ForeignKey(Model, models.CASCADE, related_name="imports")
    kind = models.CharField(max_length=12, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    file_name = models.CharField(max_length=200, help_text="as the sender called it")
    path = models.CharField(
        max_length=1000, help_text="relative to the home, or absolute where it stays its owner's"
    )
    is_upload = models.BooleanField(
        help_text="an upload is Driftline's own: workers go on with it and remove it"
    )
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="in bytes")
    format = models.CharField(max_length=8, help_text="csv or parquet")
    layout = models.JSONField(help_text="what each column means")
    version = models.CharField(max_length=64, blank=True, help_text="of rows that name none")
    total = models.BigIntegerField(help_text="where the file ends: bytes of a CSV, rows of a Parquet file")
    offset = models.BigIntegerField(default=0, help_text="how far the file is imported, in the same unit")
    rows = models.BigIntegerField(default=0, help_text="rows before the offset")
    lines = models.BigIntegerField(default=0, help_text="lines of a CSV before the offset")
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    labels = models.BigIntegerField(default=0, help_text="labels told by a file of predictions")
    bad_rows = models.BigIntegerField(default=0, help_text="rows in the file of bad rows")
    bad_bytes = models.BigIntegerField(
        default=0, help_text="length of that file; what lies behind it was not committed"
    )
    created_by = models.CharField(max_length=200)
    source = models.CharField(max_length=16, blank=True, help_text="prefix of the token that sent it")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)

    objects = LeasedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "kind", "sha256"],
                condition=Q(state__in=["queued", "running"]),
                name="one_unfinished_import_a_file",
            )
        ]

    def __str__(self) -> str:
        return f"import {self.pk} of {self.file_name}"

    @property
    def share(self) -> float:
        """How much of the file is done, from 0 to 1."""
        return self.offset / self.total if self.total else 1.0


UNFINISHED = Import.UNFINISHED
