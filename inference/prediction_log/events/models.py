"""Halves of events that wait for each other."""

from django.db import models

from inference.registry.models import Model


class EventHalf(models.Model):
    """A request or a response that was sent by itself, until the other half of its event comes or it expires.

    It is kept as it came, in clear: what the model's privacy hashes or drops is hashed or dropped when it is joined.
    """

    class Kind(models.TextChoices):
        REQUEST = "request"
        RESPONSE = "response"

    model = models.ForeignKey(Model, models.CASCADE, related_name="+", db_index=False)
    event_id = models.CharField(max_length=200, db_collation="C")
    kind = models.CharField(max_length=8, choices=Kind)
    version = models.CharField(max_length=64, blank=True, help_text="as sent; empty where it was not")
    time = models.DateTimeField(null=True, help_text="when it happened, as sent")
    payload = models.BinaryField(help_text="JSON of a request or answer of V1 or V2")
    received_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "event_id", "kind"], name="one_event_half_a_kind")
        ]
        verbose_name_plural = "event halves"

    def __str__(self) -> str:
        return f"{self.kind} of {self.event_id}"
