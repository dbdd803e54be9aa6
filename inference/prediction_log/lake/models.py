"""Where a project's lake is, and which files are in it."""

from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.keys.sealed_field import SealedField
from driftline.base.periods import start_of_day
from driftline.base.work.leased_work import LeasedQuerySet, LeasedWork
from inference.registry.models import Model

SECONDS_OF_DAY = 86_400


class Lake(models.Model):
    """The bucket or folder that the days of all models of a project are written to."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="lake")
    settings = models.JSONField(help_text="bucket or folder, and the prefix within it; without the secret")
    secret = SealedField(default=b"", blank=True, help_text="encrypted; empty where none is set")
    token = models.UUIDField(db_default=RandomUUID(), editable=False, help_text="what its marker holds")
    marked_at = models.DateTimeField(
        null=True, blank=True, help_text="when its marker was put where it is; nothing is there before"
    )
    error = models.CharField(
        max_length=500, blank=True, default="", db_default="", help_text="why it could not be written to"
    )
    failing_since = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True, help_text="nothing is written to it before")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"lake of {self.project}"


class LakeFiles(LeasedQuerySet["LakeFile"]):
    """Files of lakes."""

    def written(self) -> Self:
        """Narrow to those that are in their place."""
        return self.exclude(written_at=None)

    def begun(self) -> Self:
        """Narrow to those that may be in their place: a worker can be killed before it notes that."""
        return self.exclude(written_at=None, draft="")

    def given_up(self) -> Self:
        """Narrow to all that failed, however often they were tried: retention waits for each."""
        return self.failed()


class LakeFile(LeasedWork):
    """One file of a lake: rows of one model and event day or a part of it, and the work of writing them."""

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    UNFINISHED: ClassVar[tuple[str, ...]] = (State.WAITING,)

    model = models.ForeignKey(Model, models.CASCADE, related_name="lake_files", db_index=False)
    day = models.DateField()
    number = models.PositiveIntegerField(help_text="counts the files of a model and day")
    start_second = models.PositiveIntegerField(default=0, db_default=0, help_text="of the day")
    end_second = models.PositiveIntegerField(
        default=SECONDS_OF_DAY,
        db_default=SECONDS_OF_DAY,
        help_text="of the day; what comes later is in other files",
    )
    path = models.CharField(max_length=500, help_text="within the lake")
    is_open = models.BooleanField(
        default=True, db_default=True, help_text="whether the log still holds the rows"
    )
    due_at = models.DateTimeField(help_text="not written before")
    written_at = models.DateTimeField(null=True, blank=True)
    rows = models.BigIntegerField(default=0, db_default=0)
    unreadable_rows = models.BigIntegerField(default=0, db_default=0, help_text="of damaged chunks, left out")
    size_bytes = models.BigIntegerField(default=0, db_default=0)
    draft = models.CharField(
        max_length=2_000,
        blank=True,
        default="",
        db_default="",
        help_text="what an attempt has begun to write",
    )

    objects = LakeFiles.as_manager()

    class Meta:
        verbose_name = "lake file"
        constraints = [
            models.UniqueConstraint(fields=["model", "day", "number"], name="one_lake_file_a_number"),
            models.UniqueConstraint(
                fields=["model", "day", "start_second"],
                condition=Q(is_open=True),
                name="one_open_lake_file_a_part",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="waiting"), name="lake_files_to_write"),
        ]

    def __str__(self) -> str:
        return f"{self.day}{self._part()} of {self.model}"

    def _part(self) -> str:
        """Name the time of the day that it is of; empty where it is of all."""
        if (self.start_second, self.end_second) == (0, SECONDS_OF_DAY):
            return ""
        return f" {_time(self.start_second)} to {_time(self.end_second)}"

    @property
    def start(self) -> datetime:
        """The event time from which on rows are in it."""
        return start_of_day(self.day) + timedelta(seconds=self.start_second)

    @property
    def end(self) -> datetime:
        """The event time before which rows are in it."""
        return start_of_day(self.day) + timedelta(seconds=self.end_second)


def _time(second: int) -> str:
    """Write a time of a day, of which the end is 24:00:00."""
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
