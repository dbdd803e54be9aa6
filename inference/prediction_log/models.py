"""Where predictions and labels are kept, and which hours they touched."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.common.work import WorkQuerySet, WorkRow
from inference.registry.models import Model, Version


class PredictionRole(models.TextChoices):
    """In which role a version made a row; `direct` is a call to an explicit version that is not the champion."""

    CHAMPION = "champion"
    SHADOW = "shadow"
    CANARY = "canary"
    DIRECT = "direct"


class PredictionChunk(models.Model):
    """Rows of one version, role and event day, as an Arrow IPC stream."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+")
    version = models.ForeignKey(Version, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=PredictionRole)
    day = models.DateField()
    rows = models.IntegerField()
    start = models.DateTimeField(help_text="event time of the earliest row")
    end = models.DateTimeField(help_text="event time of the latest row")
    payload = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["model", "day", "role"], name="chunks_of_a_day"),
            models.Index(fields=["model", "-end"], name="newest_chunk"),
        ]

    def __str__(self) -> str:
        return f"{self.rows} {self.role} rows of {self.day}"


class PredictionRow(models.Model):
    """The narrow row that finds a prediction by id, refuses duplicates and joins labels."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(Version, models.CASCADE, related_name="+", db_index=False)
    role = models.CharField(max_length=10, choices=PredictionRole)
    prediction_id = models.CharField(max_length=210)
    client_id = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  null keeps it out of the index
    event_time = models.DateTimeField()
    body_hash = models.BigIntegerField(help_text="tells a repeated row from a conflicting one")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "prediction_id"], condition=~Q(role="shadow"), name="answered_once"
            ),
            models.UniqueConstraint(
                fields=["model", "prediction_id", "version"],
                condition=Q(role="shadow"),
                name="shadowed_once_a_version",
            ),
        ]
        indexes = [
            models.Index(
                fields=["model", "client_id"], condition=~Q(client_id=None), name="rows_by_client_id"
            ),
            models.Index(fields=["model", "event_time"], name="rows_in_time"),
        ]

    def __str__(self) -> str:
        return self.prediction_id


class Label(models.Model):
    """What really happened, as told under `given_id`; a correction is a new revision and the old one is kept.

    `prediction_id` and `prediction_time` are empty until the prediction it belongs to arrives.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    given_id = models.CharField(max_length=210)
    revision = models.IntegerField(default=1)
    is_current = models.BooleanField(default=True)
    value = models.CharField(max_length=200)
    labelled_at = models.DateTimeField(null=True, blank=True, help_text="when it happened, as told")
    received_at = models.DateTimeField(db_default=Now())
    source = models.CharField(max_length=16, blank=True, help_text="prefix of the token that told it")
    prediction_id = models.CharField(max_length=210, blank=True)
    prediction_time = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "given_id", "revision"], name="label_revision_once"),
            models.UniqueConstraint(
                fields=["model", "given_id"], condition=Q(is_current=True), name="one_current_label_an_id"
            ),
        ]
        indexes = [
            models.Index(
                fields=["model", "prediction_time"],
                condition=Q(is_current=True),
                name="labels_in_prediction_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.given_id}: {self.value}"


class TouchedPeriod(WorkRow):
    """An hour of event time whose rows or labels changed and whose summaries must be made again."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="touched_periods")
    version = models.ForeignKey(Version, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=PredictionRole)
    hour = models.DateTimeField()

    objects = WorkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "version", "role", "hour"], name="one_touched_period_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.role} {self.hour:%Y-%m-%d %H}h"


class SpoolCursor(models.Model):
    """How far a spool has been drained; moved in the transaction that stores what was read."""

    name = models.CharField(max_length=100, unique=True)
    segment = models.BigIntegerField(default=0)
    offset = models.BigIntegerField(default=0)
    torn = models.BigIntegerField(default=0, help_text="records skipped because a crash cut them off")
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.segment}:{self.offset}"
