"""The table of events."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from inference.registry.models import Model

TEXT_LENGTH = 300


class FeedEvent(models.Model):
    """One thing that happened in a project. It is written with its cause and never changed but for its `number`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="events", db_index=False)
    model = models.ForeignKey(Model, models.CASCADE, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=40, help_text="run.failed, incident.opened, ...")
    event_id = models.CharField(max_length=60, unique=True, help_text="also of its messages")
    subject = models.CharField(
        max_length=40, help_text="what it is about, such as run-7: messages are threads of it"
    )
    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200, blank=True)
    text = models.CharField(max_length=TEXT_LENGTH, help_text="a sentence")
    path = models.CharField(max_length=300, blank=True, help_text="of its page, within the project")
    facts = models.JSONField(default=list, help_text="[[name, value]] in reading order, for people")
    data = models.JSONField(default=dict, help_text="for programs")
    number = models.BigIntegerField(
        null=True, unique=True, help_text="its place in the feed; see services.py"
    )

    class Meta:
        indexes = [
            models.Index(fields=["project", "number"], name="events_in_order"),
            models.Index(fields=["id"], condition=Q(number=None), name="events_without_a_number"),
            models.Index(fields=["kind", "subject"], name="events_of_a_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}"

    @property
    def url(self) -> str:
        """The address of its page, for links in messages."""
        return f"{self.project.url}{self.path or '/'}"
