"""The one table of `driftline` itself: heartbeats."""

from django.db import models


class Heartbeat(models.Model):
    """Proof that scheduler, broker and worker pass work on: the newest tick that a worker consumed."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%H:%M:%S}"
