"""Sources, how far each partition of them is read, who reads, and the messages that could not be stored."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.keys.sealed_field import SealedField
from driftline.base.processes.process_names import MAX_LENGTH as MAX_PROCESS_NAME
from inference.registry.models import Model


class Source(models.Model):
    """A stream outside Driftline from which predictions or labels of one model are read."""

    class Kind(models.TextChoices):
        KAFKA = "kafka", "Kafka"
        OBJECTS = "objects", "Objects"
        SQL = "sql", "SQL"
        NATS = "nats", "NATS JetStream"
        MQTT = "mqtt", "MQTT"

    class What(models.TextChoices):
        PREDICTIONS = "predictions"
        LABELS = "labels"

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=100, db_collation="C")
    kind = models.CharField(max_length=10, choices=Kind)
    model = models.ForeignKey(Model, models.CASCADE, related_name="sources")
    what = models.CharField(max_length=11, choices=What)
    settings = models.JSONField(help_text="where to read, as its kind has it, without secrets")
    secret = SealedField(default=b"", blank=True, help_text="encrypted; empty where none is set")
    registry_secret = SealedField(
        default=b"",
        db_default=b"",
        blank=True,
        help_text="of the schema registry, encrypted; empty where none is set",
    )
    mapping = models.JSONField(help_text="what of a message becomes what of a row")
    enabled = models.BooleanField(default=True)
    generation = models.IntegerField(
        default=1, db_default=1, help_text="counts changes; consumers begin anew at each"
    )
    notice = models.CharField(
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text="the last thing that a person must know",
    )
    notice_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="when a consumer last read it without trouble, to a minute, or was last to",
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="one_source_a_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_read(self) -> bool:
        """Whether consumers are to read it now."""
        return self.enabled and self.model.archived_at is None


class SourcePosition(models.Model):
    """How far a partition is stored: it moves in the transaction that stores the rows, and never back unsaid."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="positions", db_index=False)
    partition = models.CharField(max_length=300, db_collation="C", help_text="such as topic/3")
    next_offset = models.BigIntegerField(help_text="of the first message that is not stored")
    cursor = models.TextField(
        default="",
        db_default="",
        blank=True,
        help_text="the place behind the last message that is stored, where that is no offset",
    )
    end_offset = models.BigIntegerField(
        null=True, help_text="behind the last message, as the broker last said"
    )
    behind_since = models.DateTimeField(
        null=True, help_text="from when on consumers saw messages wait, each time that they looked"
    )
    messages = models.BigIntegerField(default=0, db_default=0)
    rows = models.BigIntegerField(default=0, db_default=0, help_text="that were new to the log")
    last_message_at = models.DateTimeField(null=True, help_text="when the last one was sent, by its broker")
    stored_at = models.DateTimeField(null=True, help_text="when the last one was stored")
    read_by = models.CharField(
        max_length=MAX_PROCESS_NAME,
        default="",
        db_default="",
        blank=True,
        help_text="the process that began to read on here: machine, number and start",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "partition"], name="one_position_a_partition")
        ]

    def __str__(self) -> str:
        return f"{self.partition} at {self.next_offset}"


class SourceObject(models.Model):
    """An object that was begun or read, so that it is read once, however often it is listed."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="objects_read", db_index=False)
    path = models.CharField(max_length=1_024, db_collation="C")
    etag = models.CharField(max_length=100, help_text="of the version that was read")
    finished_at = models.DateTimeField(null=True)
    is_whole = models.BooleanField(
        default=False, db_default=False, help_text="read to its end, and nothing of it was broken"
    )
    missing_since = models.DateTimeField(
        null=True, help_text="from when on its store does not list it any more"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "path"], name="one_row_an_object")]

    def __str__(self) -> str:
        return self.path


class SourceReader(models.Model):
    """The consumer that reads a source of which one consumer reads all."""

    source = models.OneToOneField(Source, models.CASCADE, related_name="reader", primary_key=True)
    token = models.UUIDField()
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"reader of source {self.source_id}"


class SourceConsumer(models.Model):
    """A process that reads a source; it renews its row every few seconds and removes it when it ends."""

    class State(models.TextChoices):
        STARTING = "starting"
        RUNNING = "running"
        WAITING = "waiting"

    id = models.UUIDField(primary_key=True)
    source = models.ForeignKey(Source, models.CASCADE, related_name="consumers")
    host = models.CharField(max_length=200, help_text="machine and process")
    state = models.CharField(max_length=8, choices=State, default=State.STARTING)
    error = models.CharField(max_length=500, blank=True, help_text="why it waits")
    partitions = models.IntegerField(default=0)
    rows_per_second = models.FloatField(default=0)
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"consumer {self.host}"


class DeadLetter(models.Model):
    """A message that could not be stored, with the reason, until somebody retries or discards it."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="dead_letters", db_index=False)
    partition = models.CharField(max_length=300, db_collation="C")
    offset = models.BigIntegerField()
    code = models.CharField(max_length=60)
    detail = models.CharField(max_length=500)
    pointer = models.CharField(max_length=300, blank=True)
    payload = SealedField(help_text="the message, encrypted")
    size_bytes = models.IntegerField(help_text="of the message as it came")
    is_cut = models.BooleanField(
        default=False, db_default=False, help_text="too long to be kept whole, so it cannot be retried"
    )
    attempts = models.IntegerField(default=1, db_default=1)
    received_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "partition", "offset"], name="one_dead_letter_a_message"
            ),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="dead_letter_has_size"),
        ]

    def __str__(self) -> str:
        return f"message {self.offset} of {self.partition}"
