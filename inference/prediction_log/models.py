"""Where predictions and labels are kept, and which hours they touched."""

import uuid
from functools import reduce
from operator import add

from django.db import models
from django.db.models import Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now

from driftline.base.work.attempts import AttemptedQuerySet, AttemptedWorkRow
from driftline.base.work.work_rows import WorkQuerySet, WorkRow
from inference.registry.models import Model, Version


class PredictionRole(models.TextChoices):
    """In which role a version made a row; `direct` is a call to an explicit version that is not the champion."""

    CHAMPION = "champion"
    SHADOW = "shadow"
    CANARY = "canary"
    DIRECT = "direct"


ANSWERING_ROLES = (PredictionRole.CHAMPION, PredictionRole.CANARY)
"""The roles in which callers of a model without a version are answered."""


class PredictionChunk(models.Model):
    """Rows of one version, role and event day, as an Arrow IPC stream, perhaps sealed (see `sealed_chunks`).

    What was just stored is fresh and lies in a small partition of its own; it is soon packed into large chunks, which
    lie in the partition of their day. The migration makes the indexes, each partition only those that it needs, and
    has PostgreSQL number the rows. A question over all days asks `PackedDay` and the fresh chunks: it would have to
    open every day's partition.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(Version, models.CASCADE, related_name="+", db_index=False)
    role = models.CharField(max_length=10, choices=PredictionRole)
    day = models.DateField()
    week = models.DateField(help_text="the Monday of the week in which its rows arrived")
    is_packed = models.BooleanField(default=False, db_default=False)
    is_summarised = models.BooleanField(
        default=False, db_default=False, help_text="whether the summaries count its rows"
    )
    is_sent = models.BooleanField(
        default=False, db_default=False, help_text="whether no sink has to send its rows any more"
    )
    rows = models.IntegerField()
    start = models.DateTimeField(help_text="event time of the earliest row")
    end = models.DateTimeField(help_text="event time of the latest row")
    payload = models.BinaryField()
    id_hashes = models.BinaryField(null=True, help_text="of ids and client ids, sorted; when packed")
    labels = models.BinaryField(
        null=True, help_text="of its rows, folded into it when their narrow rows went"
    )
    created_at = models.DateTimeField(db_default=Now(), help_text="when the last of its rows was stored")
    end_stored_at = models.DateTimeField(db_default=Now(), help_text="when the row at `end` was stored")
    damage = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="why a worker could not open it"
    )

    def __str__(self) -> str:
        return f"{self.rows} {self.role} rows of {self.day}"


def size_of(*fields: str) -> Combinable:
    """Ask for the length of fields of bytes together, which PostgreSQL knows without reading them."""
    lengths = (models.Func(field, function="octet_length") for field in fields)
    return reduce(add, (Coalesce(length, 0, output_field=models.BigIntegerField()) for length in lengths))


class DayOfRows(models.Model):
    """What rows of one version, role, event day and week of arrival are together."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(Version, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=PredictionRole)
    day = models.DateField()
    week = models.DateField(help_text="the Monday of the week in which the rows arrived")
    rows = models.BigIntegerField()
    start = models.DateTimeField(help_text="event time of the earliest row")
    end = models.DateTimeField(help_text="event time of the latest row")
    created_at = models.DateTimeField(help_text="when the last of its rows was stored")
    end_stored_at = models.DateTimeField(help_text="when the row at `end` was stored")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.rows} {self.role} rows of {self.day}"


class PackedDay(DayOfRows):
    """What the packed chunks of one version, role, event day and week of arrival hold together.

    Whoever packs them keeps it in step, in the same commit.
    """

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "day", "version", "role", "week"], name="one_packed_day")
        ]
        indexes = [
            models.Index(fields=["model", "-end"], name="newest_packed_day"),
            models.Index(fields=["day"], name="packed_days_by_day"),
        ]


class SummedDay(DayOfRows):
    """The rows of a day that only summaries hold: of a model that keeps none, or summarised elsewhere. The event clock
    goes on from here.

    Whoever deletes their chunks keeps it in step, in the commit that adds the rows to their summaries.
    """

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "day", "version", "role", "week"], name="one_summed_day")
        ]
        indexes = [models.Index(fields=["model", "-end"], name="newest_summed_day")]


class UnsentChunk(models.Model):
    """A packed chunk that a sink has yet to send: those that are fresh are found by their own index.

    Whoever packs rows that are not sent makes it in the same commit. Its chunk may be packed into another since, which
    has a row of its own.
    """

    chunk = models.BigIntegerField(primary_key=True)
    model = models.ForeignKey(Model, models.CASCADE, related_name="+")
    day = models.DateField(help_text="its partition")
    rows = models.IntegerField()
    created_at = models.DateTimeField(help_text="when the last of its rows was stored")
    is_dropped = models.BooleanField(
        default=False, db_default=False, help_text="whether retention dropped it before it was sent"
    )

    def __str__(self) -> str:
        return f"chunk {self.chunk}"


class UnsentLabel(models.Model):
    """A revision of a label that a sink has yet to send, written in the commit of the label.

    Until it was sent, the label stays in rows of its own.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    given_id = models.CharField(max_length=210, db_collation="C")
    revision = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["model", "given_id", "revision"], name="unsent_labels_by_id")]

    def __str__(self) -> str:
        return f"revision {self.revision} of {self.given_id}"


class UnpackedDay(WorkRow):
    """Fresh chunks of one version, role and event day that are many or old enough to be packed."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    version = models.ForeignKey(Version, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=PredictionRole)
    day = models.DateField()

    objects = WorkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "version", "role", "day"], name="one_unpacked_day")
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.role} {self.day}"


class PredictionRow(models.Model):
    """The narrow row that finds a prediction by id, refuses duplicates and joins labels.

    One index does all three. `slot` is 0 for the row that answered and the version for a shadow's copy. The database
    checks no foreign key a row: the chunk that is stored in the same commit has them. It keeps the keys in four bytes,
    and a row without a null, which saves the bitmap. Rows lie in a partition of the week in which they arrived, which
    is dropped when its ids need not be refused and no label is awaited any more.
    """

    pk = models.CompositePrimaryKey("model", "prediction_id", "slot", "week")
    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    version = models.ForeignKey(
        Version, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    slot = models.IntegerField()
    week = models.DateField(help_text="the Monday of the week in which it arrived")
    role = models.CharField(max_length=10, choices=PredictionRole)
    prediction_id = models.CharField(max_length=210, db_collation="C")
    client_id = models.CharField(max_length=200, blank=True, db_collation="C")
    event_time = models.DateTimeField()
    body_hash = models.BigIntegerField(help_text="tells a repeated row from a conflicting one")

    class Meta:
        indexes = [
            models.Index(fields=["model", "client_id"], condition=~Q(client_id=""), name="rows_by_client_id"),
        ]

    def __str__(self) -> str:
        return self.prediction_id


class Label(models.Model):
    """What really happened, as sent under `given_id`; a correction is a new revision and the old one is kept.

    A label waits, without a `prediction_time`, until its prediction arrives. `prediction_id` is empty where `given_id`
    is the prediction's id, and names it where that is its client id. When the narrow row of its prediction goes, all
    revisions are folded into the chunk that holds the prediction; one that is sent later lies here until then. As
    among narrow rows the keys have four bytes and the database checks none of them.
    """

    pk = models.CompositePrimaryKey("model", "given_id", "revision")
    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    given_id = models.CharField(max_length=210, db_collation="C")
    revision = models.IntegerField()
    is_current = models.BooleanField()
    value = models.CharField(max_length=200)
    labelled_at = models.DateTimeField(null=True, blank=True, help_text="when it happened, as sent")
    received_at = models.DateTimeField()
    source = models.CharField(max_length=16, blank=True, help_text="prefix of the token that sent it")
    prediction_id = models.CharField(max_length=210, blank=True, db_collation="C")
    prediction_time = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["model", "prediction_time"],
                condition=Q(is_current=True, prediction_time__isnull=False),
                name="labels_in_prediction_time",
            ),
            models.Index(
                fields=["model", "given_id"], condition=Q(prediction_time=None), name="labels_that_wait"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.given_id}: {self.value}"


class LabelChange(models.Model):
    """A label change that the summaries do not count yet, with the label that they still count for the prediction.

    The summariser deletes it in the transaction that applies it.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    prediction_id = models.CharField(max_length=210, db_collation="C")
    prediction_time = models.DateTimeField()
    value = models.CharField(max_length=200, blank=True, help_text="the label before the change")
    known_us = models.BigIntegerField(
        default=0, help_text="when that label became known; 0 if there was none"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "prediction_time", "prediction_id"], name="one_label_change_a_prediction"
            )
        ]

    def __str__(self) -> str:
        return self.prediction_id


class TouchedPeriod(AttemptedWorkRow):
    """An hour of event time with rows or labels that the summaries do not count yet.

    If `rebuild` is set, its summaries are computed again from all its rows, for instance for a new segment.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="touched_periods")
    version = models.ForeignKey(Version, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=PredictionRole)
    hour = models.DateTimeField()
    rebuild = models.BooleanField(default=False, db_default=False)

    objects = AttemptedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "version", "role", "hour"], name="one_touched_period_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.role} {self.hour:%Y-%m-%d %H}h"


class RequestCount(models.Model):
    """How many requests that arrived within one hour ended one way: `answered`, or why they were not.

    Of a shadow the rows that were copied to it: `answered` or `dropped`.
    """

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    version = models.CharField(max_length=64)
    role = models.CharField(max_length=10, choices=PredictionRole)
    outcome = models.CharField(
        max_length=12, help_text="answered, or the fault: invalid, model, overloaded, late"
    )
    requests = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "hour", "version", "role", "outcome"], name="one_request_count_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.requests} {self.outcome} in {self.hour:%Y-%m-%d %H}h"


class RequestWait(models.Model):
    """How long the answered requests that arrived within one hour waited for a run."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    version = models.CharField(max_length=64)
    role = models.CharField(max_length=10, choices=PredictionRole)
    counts = models.JSONField(help_text="requests by the limits of WAIT_SECONDS")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["model", "hour", "version", "role"], name="one_request_wait_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{sum(self.counts)} requests in {self.hour:%Y-%m-%d %H}h"


class LogKey(models.Model):
    """A key under which chunks are sealed for a day at most, wrapped by a master key of the home.

    The sealed bytes begin with its id. It is deleted once all chunks are gone that were stored while it was in use.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wrapped = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.id)


class SpoolCursor(models.Model):
    """How far a spool has been drained; moved in the transaction that stores what was read."""

    name = models.CharField(max_length=100, unique=True)
    segment = models.BigIntegerField(default=0)
    offset = models.BigIntegerField(default=0)
    torn = models.BigIntegerField(default=0, help_text="records skipped because a crash cut them off")
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.segment}:{self.offset}"
