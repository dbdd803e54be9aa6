"""Versions that are to be pulled from an address, and what became of each."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.keys.sealed_field import SealedField
from driftline.base.work.leased_work import LeasedQuerySet
from inference.registry.models import Model, Version
from monitors.workflows.models import Run
from monitors.workflows.starting.patience import PatientWork


class Pull(PatientWork):
    """A file elsewhere that becomes a version, once."""

    class Source(models.TextChoices):
        URL = "url", "Web address"
        HUGGING_FACE = "hugging_face", "Hugging Face"

    class State(models.TextChoices):
        WAITING = "waiting"
        REGISTERED = "registered", "it is a version"
        COMPARED = "compared", "a run compares it"
        CHAMPION = "champion", "it was or became the champion without a run"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNFINISHED = (State.WAITING,)

    model = models.ForeignKey(Model, models.CASCADE, related_name="pulls")
    source = models.CharField(max_length=12, choices=Source)
    url = models.CharField(max_length=700, help_text="of the file, without a query")
    query = SealedField(default=b"", blank=True, help_text="of the address; encrypted, as it may sign it")
    repository = models.CharField(max_length=200, blank=True)
    revision = models.CharField(max_length=100, blank=True)
    file = models.CharField(max_length=200, blank=True, help_text="its path in the repository")
    commit = models.CharField(max_length=64, blank=True, help_text="what the revision stood for")
    secret = SealedField(
        default=b"", blank=True, help_text="encrypted; empty where none is set, and at the end"
    )
    sha256 = models.CharField(max_length=64, blank=True, help_text="what the file must have; empty: any")
    name = models.CharField(max_length=64, blank=True, help_text="of the version; empty: the next number")
    metadata = models.JSONField(
        default=dict, blank=True, help_text="as with an upload; empty: the champion's"
    )
    starts_run = models.BooleanField(default=False, help_text="compare it with the champion")
    request_key = models.CharField(max_length=255, blank=True, help_text="the Idempotency-Key of who asked")
    received_bytes = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    version = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True, related_name="pulls")
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="pulls")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    class Meta:
        verbose_name = "pull"
        constraints = [
            models.UniqueConstraint(
                fields=["model", "request_key"], condition=~Q(request_key=""), name="pull_once_per_key"
            )
        ]

    def __str__(self) -> str:
        return f"pull of {self.place}"

    @property
    def place(self) -> str:
        """Where the file is, as people call it."""
        if self.source == self.Source.HUGGING_FACE:
            return f"{self.repository}@{self.revision}: {self.file}"
        return self.url
