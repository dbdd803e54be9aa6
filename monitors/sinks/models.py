"""Where a project sends what is stored, how much of it, and which metric points are still to be sent."""

from django.db import models
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.keys.sealed_field import SealedField
from inference.registry.models import Model


class StreamKind(models.TextChoices):
    """What may be sent; also the end of the topic's name."""

    PREDICTIONS = "predictions", "Predictions"
    LABELS = "labels", "Labels"
    METRICS = "metrics", "Metric points"
    EVENTS = "events", "Events"


class Sink(models.Model):
    """The Kafka cluster that a project's rows and events are sent to."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="sink")
    settings = models.JSONField(help_text="brokers, streams and the prefix of topics; without the secret")
    secret = SealedField(default=b"", blank=True, help_text="encrypted; empty where none is set")
    generation = models.IntegerField(
        default=1, db_default=1, help_text="counts changes; its sender begins anew at each"
    )
    sender = models.UUIDField(null=True, blank=True, help_text="the process that sends, by a random number")
    sender_until = models.DateTimeField(null=True, blank=True, help_text="when another may send")
    error = models.CharField(
        max_length=500, blank=True, default="", db_default="", help_text="why not everything can be sent"
    )
    failing_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"sink of {self.project}"


class SinkStream(models.Model):
    """One stream of a sink: how much of it was sent, and what could not be."""

    sink = models.ForeignKey(Sink, models.CASCADE, related_name="streams", db_index=False)
    kind = models.CharField(max_length=11, choices=StreamKind)
    position = models.BigIntegerField(
        default=0, db_default=0, help_text="of events: the number of the last one that was sent"
    )
    sent = models.BigIntegerField(default=0, db_default=0, help_text="messages that were acknowledged")
    sent_at = models.DateTimeField(null=True, blank=True)
    lost = models.BigIntegerField(
        default=0, db_default=0, help_text="rows that were damaged or dropped before they were sent"
    )
    rows_per_second = models.FloatField(default=0, db_default=0)
    rated_at = models.DateTimeField(null=True, blank=True, help_text="when the rate was measured")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sink", "kind"], name="one_sink_stream_a_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.sink}"


def is_sent_by_sink(model_id: int, kind: str) -> bool:
    """Return whether a sink sends what is stored of a model of this kind."""
    return SinkStream.objects.filter(kind=kind, sink__project__models=model_id).exists()


class UnsentPoints(models.Model):
    """A row of metric points that was stored and is still to be sent, written in the commit that stores it."""

    model = models.ForeignKey(Model, models.CASCADE, related_name="+")
    row = models.BigIntegerField(help_text="of PackedPoints, which may be deleted since")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "unsent points"

    def __str__(self) -> str:
        return f"points {self.row}"
