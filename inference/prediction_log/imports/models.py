"""An import: one file of predictions or labels, and how far it has been brought into the log; and files before that."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork
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
        REMOVED = "removed"

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
    reading = models.JSONField(
        null=True, blank=True, help_text="its format and the roles of its columns; empty where names say all"
    )
    version = models.CharField(max_length=64, blank=True, help_text="of rows that name none")
    total = models.BigIntegerField(help_text="where the file ends: bytes of a CSV, rows of a Parquet file")
    offset = models.BigIntegerField(default=0, help_text="how far the file is imported, in the same unit")
    rows = models.BigIntegerField(default=0, help_text="rows before the offset")
    lines = models.BigIntegerField(default=0, help_text="lines of a CSV before the offset")
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    labels = models.BigIntegerField(default=0, help_text="labels in a file of predictions")
    bad_rows = models.BigIntegerField(default=0, help_text="rows in the file of bad rows")
    bad_bytes = models.BigIntegerField(
        default=0, help_text="length of that file; what lies behind it was not committed"
    )
    row_bytes = models.BigIntegerField(
        default=0, help_text="length of the list of rows that it brought, by which it can be undone"
    )
    removed_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="how far that list is done, if its rows are removed again"
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
    def is_being_removed(self) -> bool:
        """Whether a worker takes its rows out of the log again."""
        return self.is_unfinished and self.removed_bytes is not None

    @property
    def share(self) -> float:
        """How much of the file is done, or of the list of its rows where these are removed, from 0 to 1."""
        if self.is_being_removed:
            return (self.removed_bytes or 0) / self.row_bytes if self.row_bytes else 1.0
        return self.offset / self.total if self.total else 1.0


UNFINISHED = Import.UNFINISHED


class UploadedFile(models.Model):
    """A file that somebody looks at before it is stored. Once confirmed it is kept without content, as a memory of how
    the model's files are read.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="uploaded_files")
    file_name = models.CharField(max_length=200, help_text="as the sender called it")
    path = models.CharField(
        max_length=200, blank=True, help_text="relative to the home; empty once confirmed"
    )
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="in bytes")
    kind = models.CharField(max_length=12, blank=True, help_text="as confirmed")
    reading = models.JSONField(null=True, blank=True, help_text="as confirmed")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["model", "-confirmed_at"], name="uploaded_files_confirmed")]

    def __str__(self) -> str:
        return f"file {self.pk}, {self.file_name}"
